"""Folders in the shape of every public source, filled with neutral placeholder text and small pictures.

    write("wildguard_train", folder, 1000)

writes what a user has after the download, 1,000 rows of it, and returns the labels that each sample must get. Real
columns, real file names, nothing of the real content. Tests read a few rows of each; the builder's benchmark writes a
whole corpus. Row i of a source is a function of the source's name and i.
"""

from collections.abc import Callable
from pathlib import Path

from source_shapes import corpora, pictures, released
from source_shapes.rows import Labels, placeholders, small_picture

SHAPES = {**corpora.SHAPES, **pictures.SHAPES, **released.SHAPES}


def write(name: str, folder: Path, rows: int, picture: Callable[[int], bytes] = small_picture) -> list[Labels]:
    """Write a source of so many samples, with `picture(i)` as the encoded picture of row i.

    Returns the samples' labels in the order in which they are read, (None, None) where a rule of the converter decides.
    """
    shape, labels = SHAPES[name]
    shape(folder, placeholders(name, rows, picture))
    return [labels(row) for row in placeholders(name, rows)]

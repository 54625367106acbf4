"""Files are read below a root and nowhere else."""

import io
import os
import threading

import pytest
from PIL import Image

from gr_vl.data import confined, images
from gr_vl.errors import DataError


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, format="PNG")
    return buffer.getvalue()


INSIDE, OUTSIDE = png("blue"), png("red")


@pytest.fixture
def root(tmp_path):
    """A root with a picture, odd things, and links of every kind; beside it a picture that nobody may read."""
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "a.png").write_bytes(INSIDE)
    (root / "inner.png").symlink_to(root / "deep" / "a.png")
    (root / "text.png").write_bytes(b"no picture")
    (tmp_path / "outside.png").write_bytes(OUTSIDE)
    (root / "outer.png").symlink_to(tmp_path / "outside.png")
    (root / "up").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize("path", ["deep/a.png", "./deep/a.png", "inner.png"])
def test_what_lies_below_the_root_is_read(root, path):
    assert images.read(path, root=root) == INSIDE


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("../outside.png", "only plain paths", id="one up"),
        pytest.param("deep/../deep/a.png", "only plain paths", id="up and down again"),
        pytest.param("/etc/passwd", "only plain paths", id="an absolute path"),
        pytest.param("outer.png", "a link leads out", id="a link to a file outside"),
        pytest.param("up/outside.png", "a link leads out", id="a link to a folder outside"),
        pytest.param("loop", "cannot be read", id="a link to itself"),
        pytest.param("none.png", "cannot be read", id="no file"),
        pytest.param("a\0.png", "cannot be read", id="a NUL"),
        pytest.param("a" * 5000, "cannot be read", id="a name without end"),
        pytest.param("deep", "no regular file", id="a folder"),
        pytest.param("", "no regular file", id="the root itself"),
        pytest.param("pipe", "no regular file", id="a pipe"),
        pytest.param("text.png", "text.png: image: no readable", id="no picture"),
        pytest.param("https://example.org/a.png", "URLs are not fetched", id="https"),
        pytest.param("file:///etc/passwd", "URLs are not fetched", id="a file URL"),
        pytest.param("data:image/png;base64,AAAA", "URLs are not fetched", id="a data URL"),
    ],
)
def test_everything_else_is_refused_with_a_reason(root, path, reason):
    with pytest.raises(DataError, match=reason) as caught:
        images.read(path, root=root)
    assert len(str(caught.value)) < 1000


def test_a_file_over_the_limit_is_not_read(root):
    with pytest.raises(DataError, match="exceed the limit of 10"):
        confined.read_bytes("deep/a.png", root, 10)


def test_nobody_gets_out_by_swapping_a_folder_for_a_link(root, tmp_path):
    """Another thread exchanges the folder without pause; a read gives what is inside, or an error."""
    folder, link, stop = root / "swapped", root / "link", threading.Event()
    (tmp_path / "a.png").write_bytes(OUTSIDE)

    def swap():
        while not stop.is_set():
            folder.mkdir()
            (folder / "a.png").write_bytes(INSIDE)
            (folder / "a.png").unlink()
            folder.rmdir()
            link.symlink_to(tmp_path)
            link.rename(folder)
            folder.unlink()

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(2000):
            try:
                seen.add(confined.read_bytes("swapped/a.png", root, 2**20))
            except DataError:
                seen.add(None)
    finally:
        stop.set()
        thread.join()
    assert OUTSIDE not in seen
    assert None in seen

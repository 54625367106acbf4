"""What a model folder says about itself, read without loading it."""

import json
import struct
from pathlib import Path

from gr_vl.errors import DataError
from gr_vl.evaluation.run_folder import read_object

FACTS = "gr_vl.json"
"""Written by `gr-vl export`: {"dialect": name}."""
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def check(folder: Path) -> Path:
    """The folder itself. Raises DataError when it holds no model."""
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder}: no model there (config.json is missing); name a model folder, as in RUN/rl/model")
    return folder


def dialect_of(folder: Path) -> str:
    """The dialect that the folder or the run around it names; the paper's when neither does.

    A run's models are RUN/STAGE/model and RUN/STAGE/checkpoints/STEP[/actor]/huggingface.
    """
    for path in (folder / FACTS, *(parent / "run.json" for parent in folder.resolve().parents[1:5])):
        if name := read_object(path).get("dialect"):
            return str(name)
    return "guardreasoner_vl"


def stored_dtype(folder: Path) -> str:
    """The type of the weights as stored, which a trainer's config.json need not tell. DataError without safetensors."""
    file = next(iter(sorted(folder.glob("*.safetensors"))), None)
    if file is None:
        raise DataError(f"{folder}: holds no .safetensors file; other formats are not loaded")
    with file.open("rb") as opened:
        header = json.loads(opened.read(struct.unpack("<Q", opened.read(8))[0]))
    kinds = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    if len(kinds) != 1 or not kinds <= set(_DTYPES):
        raise DataError(f"{file}: weights of type {', '.join(sorted(kinds))}; store all as one of {', '.join(_DTYPES)}")
    return _DTYPES[kinds.pop()]

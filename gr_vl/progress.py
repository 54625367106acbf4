"""How far a stage is, in a small file beside its output that whoever started it can watch."""

import json
from pathlib import Path

from gr_vl.data.build.files import replace_text

NAME = "progress.json"


def report(folder: Path, done: int, total: int, note: str = "") -> None:
    """Replace the progress file of a stage's folder."""
    replace_text(folder / NAME, json.dumps({"done": done, "total": total, "note": note}))

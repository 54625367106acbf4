"""How far a stage is, in a small file beside its output that whoever started it can watch."""

import json
from pathlib import Path

NAME = "progress.json"


def report(folder: Path, done: int, total: int, note: str = "") -> None:
    """Replace the progress file of a stage's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{NAME}.part"
    part.write_text(json.dumps({"done": done, "total": total, "note": note}))
    part.replace(folder / NAME)

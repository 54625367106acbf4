"""From verl's last checkpoint to an ordinary model folder that every later stage, and any other program, can load."""

import shutil
from pathlib import Path

from gr_vl.errors import StageError


def publish(checkpoints: Path, out: Path) -> None:
    """Copy the Hugging Face folder of the newest complete checkpoint to `out`, at once or not at all."""
    pointer = checkpoints / "latest_checkpointed_iteration.txt"
    if not pointer.is_file():
        raise StageError(f"{checkpoints}: training ended without a checkpoint")
    newest = checkpoints / f"global_step_{pointer.read_text().strip()}"
    exported = [path.parent for path in newest.rglob("huggingface/config.json")]
    if not exported:
        raise StageError(f"{newest}: holds no exported model; keep hf_model in checkpoint.save_contents")
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(exported[0], part)
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)

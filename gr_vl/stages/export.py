"""From a checkpoint of verl's to an ordinary model folder that every later stage, and any other program, can load."""

import shutil
from pathlib import Path

from gr_vl.errors import StageError


def publish(checkpoint: Path, out: Path) -> None:
    """Copy the Hugging Face folder of a checkpoint to `out`, at once or not at all."""
    exported = [path.parent for path in checkpoint.rglob("huggingface/config.json")]
    if not exported:
        raise StageError(f"{checkpoint}: holds no exported model; keep hf_model in checkpoint.save_contents")
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(exported[0], part)
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)

"""Cold start: reasoning SFT on verl's trainer under Ray."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import jobs
from gr_vl.stages import export, lengths


def run(config: DictConfig) -> dict[str, Any]:
    """Train, then publish the last checkpoint as a model folder."""
    kept = lengths.fit_for_training(config, Path(config.data.train_files), Path(config.gr_vl.run) / "sft", targets=True)
    jobs.start_ray(config)
    from verl.trainer.sft_trainer_ray import SFTTrainer

    config.data.train_files = str(kept.path)
    SFTTrainer(config).fit()
    export.publish(Path(config.trainer.default_local_dir), Path(config.gr_vl.out))
    return {"quarantined": kept.quarantined, "rows": kept.rows}


__all__ = ["json", "run"]

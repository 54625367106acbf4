"""Cold start: reasoning SFT on verl's trainer under Ray."""

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl.stages import lengths, processing, training


def run(config: DictConfig) -> dict[str, Any]:
    """Train, then publish the last checkpoint as a model folder."""
    folder = Path(config.trainer.default_local_dir).parent
    encoder = processing.prepare(config, config.model, folder)
    fit = partial(lengths.fit, encoder=encoder, limit=config.data.max_length, key="data.max_length", targets=True)
    train = fit(Path(config.data.train_files), folder / "train", least=config.data.train_batch_size)
    validation = fit(Path(config.data.val_files), folder / "validation", least=config.data.train_batch_size)
    config.data.train_files, config.data.val_files = str(train.path), str(validation.path)
    training.train(config, train.rows, _fit)
    return {"rows": train.rows, "quarantined": train.quarantined, "without_reasoning": train.unreasoned}


def _fit(config: DictConfig) -> None:
    training.on_ray(config)
    from gr_vl.verl_ext import entry

    entry.train_sft(config)

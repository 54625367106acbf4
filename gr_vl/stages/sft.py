"""Cold start: reasoning SFT on verl's trainer under Ray."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import limits, memory
from gr_vl.stages import Facts, Kind, lengths, processing, training


@dataclass
class Settings:
    """Of this kind alone; the rest is verl's."""

    out: str


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse batches that do not divide, and files that are not there."""
    slots = limits.slots(config)
    limits.positive(
        config,
        "data.train_batch_size",
        "data.micro_batch_size_per_gpu",
        "data.max_length",
        "gr_vl.nonfinite_limit",
    )
    if config.data.use_dynamic_bsz:
        limits.divides(config, "data.train_batch_size", slots, "slots")
        limits.holds(config, "data.max_token_len_per_gpu", "data.max_length", config.data.max_length)
    else:
        limits.divides(
            config, "data.train_batch_size", slots * config.data.micro_batch_size_per_gpu, "slots x micro-batch"
        )
    limits.model(config, "model.path", files, config.data.max_length, "data.max_length")
    limits.rows(config.data.val_files, files)
    steps = limits.steps(config, limits.rows(config.data.train_files, files))
    batch = config.data.train_batch_size
    return {"steps": steps, "sequences a step": batch, "a slot": batch // slots, "slots": slots}


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


KIND = Kind(
    name="sft",
    help="Cold-start SFT on reasoning.",
    order=2,
    settings=Settings,
    check=check,
    run=run,
    title="SFT",
    ray=True,
    memory=memory.sft,
    panels={
        "Training loss": ("train/loss",),
        "Validation loss": ("val/loss",),
        "Learning rate": ("train/lr",),
    },
)

"""HS-DPO on pairs of right and wrong answers, on verl's SFT trainer under Ray."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gr_vl import limits
from gr_vl.augment import preference
from gr_vl.data import index, quarantine
from gr_vl.encoding import Encoder
from gr_vl.errors import Broken, ConfigError, DataError
from gr_vl.stages import Facts, Kind, processing, training
from gr_vl.stages.lengths import MAX_SHARE, unfit


@dataclass
class Dpo:
    """The loss."""

    beta: float
    sft_weight: float
    reference: str


@dataclass
class Settings:
    """Of this kind alone; the rest is verl's."""

    out: str
    dpo: Dpo


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse batches that part a pair or do not divide, and files that are not there."""
    slots, micro = limits.slots(config), "data.micro_batch_size_per_gpu"
    limits.positive(config, "data.train_batch_size", micro, "data.max_length")
    limits.divides(config, micro, 2, "an answer and its rival stay together")
    pairs = slots * (config.data.micro_batch_size_per_gpu // 2)
    limits.divides(config, "data.train_batch_size", pairs, "slots x pairs of a micro-batch")
    for key in ("trainer.balance_batch", "data.use_dynamic_bsz"):
        if OmegaConf.select(config, key):
            raise ConfigError(f"{key}=true would part an answer from its rival; use false")
    for key, value in (("gr_vl.dpo.beta", settings.dpo.beta), ("gr_vl.dpo.sft_weight", settings.dpo.sft_weight)):
        if value < 0:
            raise ConfigError(f"{key}={value} must be at least 0; the paper's are 0.01 and 2")
    limits.model(config, "model.path", files, config.data.max_length, "data.max_length")
    if config.data.val_files is not None:
        limits.rows(config.data.val_files, files)
    steps = limits.steps(config, limits.rows(config.data.train_files, files))
    return {"steps": steps, "pairs a step": config.data.train_batch_size, "slots": slots}


def run(config: DictConfig) -> dict[str, Any]:
    """Train, then publish the last checkpoint as a model folder; the counts hold its margin on the held-out pairs."""
    folder = Path(config.trainer.default_local_dir).parent
    encoder = processing.prepare(config, config.model, folder)
    kept, quarantined = _fit(config, encoder, folder)
    config.data.train_files = str(folder / "kept.parquet")
    config.data.val_files, not_measured = _held_out(config, encoder, folder)
    training.train(config, len(kept), _train)
    counts: dict[str, Any] = {"pairs": preference.count(kept), "quarantined": quarantined}
    counts["held_out_quarantined"] = not_measured
    scores = folder / "held_out.json"
    if config.data.val_files is not None and scores.is_file():
        counts["held_out"] = json.loads(scores.read_text())
    return counts


def _train(config: DictConfig) -> None:
    training.on_ray(config)
    from gr_vl.verl_ext import entry

    entry.train_dpo(config)


def _fit(config: DictConfig, encoder: Encoder, folder: Path) -> tuple[list[preference.Preference], int]:
    """Leave out the pairs with a sequence over the limit or an image that cannot be read, and index the rest."""
    corpus, limit, least = config.data.train_files, config.data.max_length, config.data.train_batch_size
    kept, rejected = _parted(Path(corpus), encoder, limit, folder / "kept.parquet")
    quarantine.write(folder / "quarantine.jsonl", (bad.record() for bad in rejected))
    if len(rejected) > MAX_SHARE * (len(kept) + len(rejected)) or len(kept) < least:
        raise DataError(
            f"{corpus}: {len(kept)} of {len(kept) + len(rejected)} pairs can be used, for batches of "
            f"{least}; raise data.max_length={limit}, lower data.train_batch_size, or mine more"
        )
    return kept, len(rejected)


def _held_out(config: DictConfig, encoder: Encoder, folder: Path) -> tuple[str | None, int]:
    """The index of the pairs to measure that fit, None where there is none; and the number of those that do not."""
    if config.data.val_files is None:
        return None, 0
    path = folder / "kept_held_out.parquet"
    kept, rejected = _parted(Path(config.data.val_files), encoder, config.data.max_length, path)
    return str(path) if kept else None, len(rejected)


def _parted(corpus: Path, encoder: Encoder, limit: int, path: Path) -> tuple[list[preference.Preference], list[Broken]]:
    """The pairs that fit, which are indexed, and what is wrong with the others."""
    kept, rejected = [], []
    for row, pair in enumerate(preference.read(corpus)):
        if (reason := _reason(pair, encoder, limit)) is None:
            kept.append((row, pair))
        else:
            rejected.append(unfit(reason).at(corpus.name, row, pair.sample.id))
    index.write(path, corpus, ((row, pair.sample.id) for row, pair in kept))
    return [pair for _, pair in kept], rejected


def _reason(pair: preference.Preference, encoder: Encoder, limit: int) -> str | None:
    try:
        prompt = encoder.lengths([pair.sample], targets=False)[0]
    except DataError as error:
        return f"unusable: {error}"
    answers = encoder.tokenizer([pair.chosen, pair.rejected], add_special_tokens=False)["input_ids"]
    # One more for the end token; another may come where a control token's letters are set apart.
    length = prompt + max(map(len, answers)) + 1
    return f"too long: {length} tokens, data.max_length={limit}" if length > limit else None


KIND = Kind(
    name="dpo",
    help="DPO on those pairs, weighted by their hardness.",
    order=6,
    settings=Settings,
    check=check,
    run=run,
    title="DPO",
    ray=True,
    panels={
        "DPO loss": ("dpo/loss",),
        "Margin": ("dpo/margin",),
        "Pairs told apart (share)": ("dpo/accuracy",),
        "Learning rate": ("train/lr",),
    },
)

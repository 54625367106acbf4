"""HS-DPO on pairs of right and wrong answers, on verl's SFT trainer under Ray."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl.augment import preference
from gr_vl.data import index
from gr_vl.encoding import Encoder
from gr_vl.errors import DataError
from gr_vl.stages import processing, training
from gr_vl.stages.lengths import MAX_SHARE


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
    """Leave out the pairs with a sequence over the limit or an image that cannot be read, and write the rest."""
    pairs, limit = preference.read(Path(config.data.train_files)), config.data.max_length
    kept, rejected = [], []
    for pair in pairs:
        reason = _reason(pair, encoder, limit)
        if reason is None:
            kept.append(pair)
        else:
            rejected.append({"id": pair.sample.id, "reason": reason})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "quarantine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rejected))
    if len(rejected) > MAX_SHARE * len(pairs) or len(kept) < config.data.train_batch_size:
        raise DataError(
            f"{config.data.train_files}: {len(kept)} of {len(pairs)} pairs can be used, for batches of "
            f"{config.data.train_batch_size}; raise data.max_length={limit}, lower data.train_batch_size, or mine more"
        )
    preference.write(folder / "kept.parquet", kept)
    return kept, len(rejected)


def _held_out(config: DictConfig, encoder: Encoder, folder: Path) -> tuple[str | None, int]:
    """The file of the pairs to measure by that fit, None where there is none; and the number of those that do not."""
    pairs = [] if config.data.val_files is None else preference.read(Path(config.data.val_files))
    kept = [pair for pair in pairs if _reason(pair, encoder, config.data.max_length) is None]
    preference.write(folder / "kept_held_out.parquet", kept)
    return str(folder / "kept_held_out.parquet") if kept else None, len(pairs) - len(kept)


def _reason(pair: preference.Preference, encoder: Encoder, limit: int) -> str | None:
    try:
        prompt = encoder.lengths([pair.sample], targets=False)[0]
    except DataError as error:
        return f"unusable: {error}"
    answers = encoder.tokenizer([pair.chosen, pair.rejected], add_special_tokens=False)["input_ids"]
    # One more for the end token; another may come where a control token's letters are set apart.
    length = prompt + max(map(len, answers)) + 1
    return f"too long: {length} tokens, data.max_length={limit}" if length > limit else None

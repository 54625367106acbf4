"""Online RL: GRPO on verl's V1 trainer under Ray, with our trainer, reward manager and agent loop chosen by name."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import checks
from gr_vl.stages import lengths, processing, training


def run(config: DictConfig) -> dict[str, Any]:
    """Train, then publish the last checkpoint as a model folder."""
    folder = Path(config.trainer.default_local_dir).parent
    encoder = processing.prepare(config, config.actor_rollout_ref.model, folder)
    kept = lengths.fit(
        Path(config.data.train_files),
        folder / "train",
        encoder,
        config.data.max_prompt_length,
        "data.max_prompt_length",
        targets=False,
        least=config.data.train_batch_size,
    )
    config.data.train_files = str(kept.path)
    steps = steps_of(config, kept)
    training.train(config, kept.rows, _fit)
    return {"rows": kept.rows, "quarantined": kept.quarantined} | steps


def steps_of(config: DictConfig, kept: lengths.Kept) -> dict[str, int]:
    """The steps of the run, and those of the whole corpus where rows that were left out cost some, with a warning."""
    steps = checks.last_step(config, kept.rows)
    composed = checks.last_step(config, kept.rows + sum(kept.quarantined.values()))
    if steps == composed:
        return {"steps": steps}
    sys.stderr.write(
        f"warning: {sum(kept.quarantined.values())} rows are left out (quarantine.jsonl), so that this run, and with "
        f"it the clip schedule, has {steps} steps and not {composed}; raise data.max_prompt_length="
        f"{config.data.max_prompt_length} or add rows\n"
    )
    return {"steps": steps, "steps_of_all_rows": composed}


def _fit(config: DictConfig) -> None:
    training.on_ray(config)
    from gr_vl.verl_ext import entry

    entry.train_rl(config)

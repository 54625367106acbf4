"""What the trainer does with the rewards of a step: scores groups as groups, measures each term, and saves rollouts."""

from collections import defaultdict
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from tensordict import TensorDict

from rewards import Reading, SafetyReward
from rewards.groups import score_step, term_statistics

_LENGTHS = ("reasoning_tokens", "output_tokens", "characters", "finished")


class StepRewards:
    """The rewards of the step at hand; answers are known by verl's keys, PROMPT_ANSWER_TURN."""

    def __init__(self, reward: SafetyReward, saved_prompts: int | None) -> None:
        self.reward, self.saved_prompts = reward, saved_prompts
        self._facts: dict[str, dict[str, Any]] = {}

    def begin(self) -> None:
        """Forget the answers of the step before."""
        self._facts = {}

    def settle(self, batch: Any) -> dict[str, float]:
        """Give every answer the reward that it has within its group; the step's metrics.

        Workers score answers one by one, as they arrive. Only a reward with a group term needs the others' company, and
        scores them again.
        """
        keys = [key for key, tag in zip(batch.keys, batch.tags, strict=True) if not tag.get("is_padding", False)]
        rows = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=["extra_fields", "extra_info"])
        infos = [dict(extra["reward_extra_info"]) for extra in list(rows["extra_fields"])]
        groups = [_prompt(key) for key in keys]
        if self.reward.grouped:
            scored = score_step(self.reward, [Reading.unpack(info.pop("reading")) for info in infos], groups)
            self._replace(keys, batch.partition_id, [breakdown.total for breakdown in scored])
            terms = [{"total": breakdown.total} | dict(breakdown.terms) for breakdown in scored]
        else:
            names = ["total", *(weighted.name for weighted in self.reward.terms)]
            terms = [{name: info[f"term/{name}"] for name in names} for info in infos]
        asked = list(rows["extra_info"])
        self._facts |= {
            key: {"terms": term, "prompt": ask, "failure": _failure(info), **{n: info[n] for n in _LENGTHS}}
            for key, term, ask, info in zip(keys, terms, asked, infos, strict=True)
        }
        plain = {name: float(np.mean([info[name] for info in infos])) for name in infos[0] if "term/" not in name}
        named = {f"term/{name}": value for name, value in term_statistics(terms, groups).items()}
        return {f"reward/{name}": value for name, value in (plain | named).items()}

    def _replace(self, keys: list[str], partition: str, totals: list[float]) -> None:
        old = tq.kv_batch_get(keys=keys, partition_id=partition, select_fields=["rm_scores"])["rm_scores"]
        scores = [torch.zeros_like(row) for row in old.unbind()]
        for row, total in zip(scores, totals, strict=True):
            row[-1] = total
        nested = torch.nested.as_nested_tensor(scores, layout=torch.jagged)
        tq.kv_batch_put(keys=keys, partition_id=partition, fields=TensorDict({"rm_scores": nested}, len(keys)))

    def saved(self, batch: Any) -> Any:
        """The part of a batch whose rollouts are saved: all answers to the first `saved_prompts` prompts."""
        chosen = set(list(dict.fromkeys(map(_prompt, self._facts)))[: self.saved_prompts])
        keys = [key for key in self._facts if _prompt(key) in chosen]
        return tq.KVBatchMeta(keys=keys, tags=[{} for _ in keys], partition_id=batch.partition_id)

    def facts(self, keys: list[str]) -> dict[str, list[Any]]:
        """What is saved beside the texts of these answers, by column."""
        columns = defaultdict(list)
        for key in keys:
            # Answers of a validation are not the step's.
            for name, value in self._facts.get(key, {}).items():
                columns[name].append(value)
        return columns


def _failure(info: dict[str, Any]) -> str:
    return next((name.removeprefix("failure/") for name in info if name.startswith("failure/") and info[name]), "")


def _prompt(key: str) -> str:
    return key.rsplit("_", 2)[0]

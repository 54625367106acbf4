"""The reward manager: decodes an answer, counts its tokens, and scores it with the recipe's reward, by the clock.

The time limit counts, it does not interrupt: an answer's text is bounded by the recipe, parsing is linear in it and our
terms take constant time, while nothing in Python can stop a running term from inside this event loop (verl's own limit
is inactive outside the main thread). A term of a user's that never returns is ended from outside: `STALL` seconds later
the worker writes its stack to its log and exits, so that the run fails and can be resumed, and does not hang.
"""

import asyncio
import faulthandler
import math
import sys
import time
from typing import Any

from omegaconf import DictConfig
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from gr_vl import dialects, watchdog
from gr_vl.answers import Ending, reasoning_tokens
from gr_vl.compose import plain
from gr_vl.schema import FailureReason
from gr_vl.tasks import labelled
from rewards import Reading, RewardBreakdown, SafetyReward

STALL = 60.0
"""Seconds that an answer may take beyond its time limit before its worker is ended."""


@register("gr_vl")
class GuardRewardManager(RewardManagerBase):
    """verl's own manager does not tell a reward how many tokens an answer has; this one does."""

    def __init__(self, config: DictConfig, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        settings = plain(config.gr_vl)
        self.reward = SafetyReward.from_config(settings["reward"], settings["dialect"])
        self._dialect = dialects.get(settings["dialect"])
        self._ended = Ending(self.tokenizer, self._dialect.stop)
        self._armed = -math.inf

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last sequence of a trajectory by itself; with a group term, `reading` is what it was scored by."""
        begin = time.perf_counter()
        self._watch(begin)
        sample = data[-1].non_tensor_batch.get("extra_info", {}).get("id", "")
        with watchdog.phase("reward", str(sample)):
            reading = self._read(data[-1])
            breakdown = self.reward.score(reading)
        late = time.perf_counter() - begin > self.reward.time_limit
        return {"reward_score": breakdown.total, "reward_extra_info": self._report(reading, breakdown, late)}

    def _watch(self, now: float) -> None:
        # Arming and disarming wait for a thread to be scheduled: once for all answers that are ready, not for each.
        if now - self._armed > 1.0:
            stalled = self.reward.time_limit + STALL
            faulthandler.dump_traceback_later(stalled, exit=True, file=sys.__stderr__ or sys.stderr)
            asyncio.get_running_loop().call_soon(self._rest)
            self._armed = now

    def _rest(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._armed = -math.inf

    def _read(self, item: Any) -> Reading:
        ids = item.batch["responses"]
        ids = ids[: int(item.batch["attention_mask"][-len(ids) :].sum())].tolist()
        labels = labelled(self._dialect.tasks, item.non_tensor_batch["reward_model"]["ground_truth"])
        return self.reward.read(
            self.tokenizer.decode(ids, skip_special_tokens=True),
            labels,
            reasoning_tokens=reasoning_tokens(self.tokenizer, ids, self._dialect.reasoning_ends),
            output_tokens=len(ids),
            finished=self._ended(ids),
        )

    def _report(self, reading: Reading, breakdown: RewardBreakdown, late: bool) -> dict[str, Any]:
        """Every term and every reason of failure as a number, so that a step's mean is its share; `reading` is JSON."""
        return {
            "accuracy": breakdown.accuracy,
            "format": breakdown.format,
            "length": breakdown.length,
            "parse_failure": float(bool(breakdown.failure)),
            "finished": float(reading.finished),
            "timeouts": float(late),
            "reasoning_tokens": reading.reasoning_tokens,
            "output_tokens": reading.output_tokens,
            "characters": reading.characters,
            "term/total": breakdown.total,
            **{f"term/{name}": value for name, value in breakdown.terms.items()},
            **{f"failure/{reason}": float(breakdown.failure == reason) for reason in FailureReason},
            **({"reading": reading.pack()} if self.reward.grouped else {}),
        }

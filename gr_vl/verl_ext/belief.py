"""Proof that sampler and trainer saw the same thing: the same weights, the same tokens, the same pictures.

Training goes on happily when a picture is lost on one side, the padding is on the wrong side or the sampler's weights
are old: the loss looks normal. What such a fault cannot hide is that the log-probability that the sampler noted for a
token is no longer the one that the trainer computes. That gap is measured at every step, for nothing: before the first
update of a step both sides hold the same weights. And a picture that is really looked at matters: exchanged with
another, it must move the log-probabilities.
"""

import hashlib
import logging
import math
from typing import Any

import torch
import transfer_queue as tq
from verl.utils import tensordict_utils as tu
from verl.utils.metric import AggregationType, Metric
from verl.workers.utils.padding import response_from_nested

from gr_vl.errors import StageError

PARTITION = "belief"
_INPUTS = ("prompts", "responses", "response_mask", "loss_mask", "input_ids", "position_ids", "multi_modal_inputs")
_log = logging.getLogger(__name__)


def gap_metrics(log_probs: torch.Tensor, sampled: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
    """Mean and largest absolute difference in nats of answer tokens; what is not finite counts as infinite."""
    gap = (log_probs.detach() - sampled).abs()[mask].nan_to_num(nan=math.inf, posinf=math.inf)
    gap = gap if len(gap) else gap.new_zeros(1)
    return {
        "log_prob_gap_mean": Metric(value=gap.mean(), aggregation=AggregationType.MEAN),
        "log_prob_gap_max": Metric(value=gap.max(), aggregation=AggregationType.MAX),
    }


def pictures(features: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Patches that a model gets of a sample's pictures, and a digest of their values; 0 and "" without pictures."""
    if "pixel_values" not in features:
        return {"patches": 0, "pixels": ""}
    values = features["pixel_values"].float().contiguous()
    digest = hashlib.blake2b(values.numpy().tobytes(), digest_size=8).hexdigest()
    return {"patches": int(features["image_grid_thw"].prod(-1).sum()), "pixels": digest}


class Belief:
    """The checks of one run; `every` and `log_prob_limit` (nats, the mean gap) are the recipe's `gr_vl.belief`.

    An answer's weights may be `lag` steps old; no limit (None) is for runs in which they are old by design. Without a
    processor the model reads text alone, and there are no pictures to compare.
    """

    def __init__(self, every: int, log_prob_limit: float | None, processor: Any, lag: int = 0) -> None:
        self.every, self.log_prob_limit, self.lag = every, log_prob_limit, lag
        self.sees = processor is not None
        if self.sees:
            self.merged = processor.image_processor.merge_size**2
            self.image_token = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self._begun = False

    def versions(self, batch: Any, step: int) -> None:
        """Raise StageError unless the weights of the last step, or of `lag` steps before, sampled every answer."""
        seen = {tag.get(name) for tag in batch.tags for name in ("min_global_steps", "max_global_steps")}
        if not seen <= set(range(step - 1 - self.lag, step)):
            raise StageError(f"stale sampler weights: answers of step {step} come from the weights of steps {seen}")

    def judge(self, metrics: dict[str, Any], step: int) -> None:
        """Move the gap to `belief/`, and call it red (1) or green (0)."""
        for name in ("log_prob_gap_mean", "log_prob_gap_max"):
            if f"actor/{name}" in metrics:
                metrics[f"belief/{name}"] = metrics.pop(f"actor/{name}")
        mean = metrics.get("belief/log_prob_gap_mean", 0.0)
        if self.log_prob_limit is None:
            return
        metrics["belief/red"] = float(not mean <= self.log_prob_limit)
        if metrics["belief/red"]:
            _log.warning(
                "RED at step %d: sampler and trainer differ by %.3g nats a token, gr_vl.belief.log_prob_limit=%g: "
                "stale weights, another precision, padding, or pictures that one of them does not get",
                step,
                mean,
                self.log_prob_limit,
            )

    def inspect(self, batch: Any, step: int, workers: Any, ranks: int) -> dict[str, float]:
        """Compare the pictures of a few answers and exchange two; its metrics. Raises StageError on a fault.

        Done at every `every` steps and, silently, at the first step of a process: a resumed run logs what another does.
        """
        due, begun = step == 1 or step % self.every == 0, self._begun
        self._begun = True
        if not self.sees or not (due or not begun):
            return {}
        pair = self._pair(batch)
        moved = self._exchange(pair, batch, workers, ranks) if pair else None
        if moved == 0.0:
            raise StageError(
                f"pictures have no effect on the trainer: exchanging those of {pair[0][0]} and {pair[1][0]} left every "
                "log-probability as it was; pixel values do not reach the model"
            )
        return {"belief/picture_effect": moved} if due and moved is not None else {}

    def _pair(self, batch: Any) -> list[tuple[str, Any]]:
        """Two answers about different pictures of one shape; without such, one and itself with its patches reversed.

        Empty where the batch has no pictures.
        """
        known: dict[tuple[int, ...], tuple[str, Any]] = {}
        for key in _one_of_each_prompt(batch):
            row = tq.kv_batch_get(keys=[key], partition_id=batch.partition_id)[0]
            self._compare(key, row)
            features = _plain(row["multi_modal_inputs"])
            if "pixel_values" not in features:
                continue
            shape = tuple(features["image_grid_thw"].flatten().tolist())
            other = known.setdefault(shape, (key, row))
            if not torch.equal(_plain(other[1]["multi_modal_inputs"])["pixel_values"], features["pixel_values"]):
                return [other, (key, row)]
        if not known:
            return []
        one = next(iter(known.values()))
        return [one, _reversed(*one)]

    def _compare(self, key: str, row: Any) -> None:
        """Raise StageError unless sampler, trainer and prompt agree about an answer's pictures."""
        mine, told = pictures(_plain(row["multi_modal_inputs"])), _plain(row["extra_fields"])
        places = int((row["prompts"] == self.image_token).sum()) * self.merged
        sample = _plain(row["extra_info"]).get("id")
        if places != mine["patches"]:
            raise StageError(
                f"picture lost: the prompt of {sample} holds {places} patches, the trainer gets {mine['patches']}"
            )
        if "pixels" in told and (told["patches"], told["pixels"]) != (mine["patches"], mine["pixels"]):
            raise StageError(
                f"sampler and trainer saw different pictures of {sample}: {told['patches']} patches with digest "
                f"{told['pixels']!r} against {mine['patches']} with {mine['pixels']!r}"
            )

    def _exchange(self, pair: list[tuple[str, Any]], batch: Any, workers: Any, ranks: int) -> float:
        """By how many nats the answers' log-probabilities move, on average, when the two pictures change places."""
        rows = [{name: row[name] for name in _INPUTS} for _, row in pair]
        swapped = [
            row | {"multi_modal_inputs": other["multi_modal_inputs"]}
            for row, other in zip(rows, rows[::-1], strict=True)
        ]
        copies = math.lcm(4, ranks) // 4
        keys = [f"{PARTITION}{copy}_{index}_0" for copy in range(copies) for index in range(4)]
        tags = [dict(batch.tags[0])] * len(keys)
        fields = tu.list_of_dict_to_tensordict([*rows, *swapped] * copies)
        tq.kv_batch_put(keys=keys, partition_id=PARTITION, fields=fields, tags=tags)
        extra = {"calculate_entropy": False, "compute_loss": False, "micro_batch_size_per_gpu": 1}
        meta = tq.KVBatchMeta(keys=keys, tags=tags, partition_id=PARTITION, extra_info=dict(batch.extra_info) | extra)
        try:
            workers.compute_log_prob(meta)
            got = tq.kv_batch_get(keys=keys[:4], partition_id=PARTITION, select_fields=["log_probs", "response_mask"])
            plain = response_from_nested(got["log_probs"], got["response_mask"]).unbind()
        finally:
            tq.kv_clear(keys=keys, partition_id=PARTITION)
        return float(torch.cat([(plain[0] - plain[2]).abs(), (plain[1] - plain[3]).abs()]).mean())


def _one_of_each_prompt(batch: Any, most: int = 12) -> list[str]:
    """The first answer to each of the first prompts."""
    first: dict[str, str] = {}
    for key, tag in zip(batch.keys, batch.tags, strict=True):
        if not tag.get("is_padding", False):
            first.setdefault(key.rsplit("_", 2)[0], key)
    return list(first.values())[:most]


def _reversed(key: str, row: Any) -> tuple[str, Any]:
    """An answer about the same patches in another order."""
    features = _plain(row["multi_modal_inputs"])
    other = {name: row[name] for name in _INPUTS}
    other["multi_modal_inputs"] = features | {"pixel_values": features["pixel_values"].flip(0)}
    return f"{key}, its patches reversed", other


def _plain(value: Any) -> dict[str, Any]:
    """A dictionary that the transfer queue may have wrapped."""
    return dict(getattr(value, "data", value))

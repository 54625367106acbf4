"""The reward manager: decodes an answer, counts its reasoning tokens, and scores it with the recipe's reward."""

from typing import Any

from omegaconf import DictConfig
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import register
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from gr_vl.answers import reasoning_tokens
from gr_vl.compose import plain
from gr_vl.schema import Label, Task
from rewards import SafetyReward


@register("gr_vl")
class GuardRewardManager(RewardManagerBase):
    """verl's own manager does not tell a reward how many tokens an answer has; this one does."""

    def __init__(self, config: DictConfig, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        settings = plain(config.gr_vl)
        self.reward = SafetyReward.from_config(settings["reward"], settings["dialect"])

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last sequence of a trajectory."""
        item = data[-1:][0]
        ids = item.batch["responses"]
        ids = ids[: int(item.batch["attention_mask"][-len(ids) :].sum())].tolist()
        finished = bool(ids) and ids[-1] == self.tokenizer.eos_token_id
        labels = {Task(k): Label(v) for k, v in item.non_tensor_batch["reward_model"]["ground_truth"].items()}
        breakdown = self.reward(
            self.tokenizer.decode(ids, skip_special_tokens=True),
            labels,
            reasoning_tokens=reasoning_tokens(self.tokenizer, ids),
            finished=finished,
        )
        terms = {
            "accuracy": breakdown.accuracy,
            "format": breakdown.format,
            "length": breakdown.length,
            "parse_failure": float(bool(breakdown.failure)),
            "finished": float(finished),
        }
        return {"reward_score": breakdown.total, "reward_extra_info": terms}

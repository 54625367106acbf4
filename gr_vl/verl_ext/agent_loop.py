"""One question, one answer, and a seed for each answer: a resumed run draws what an uninterrupted one would."""

from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from gr_vl.seeding import seed_of


@register("gr_vl")
class SeededAgentLoop(SingleTurnAgentLoop):
    """verl's single-turn loop whose sampling is a function of (run seed, step, sample id, answer index)."""

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """Generate one answer."""
        seed = seed_of(self.config.gr_vl.seed, "rollout", kwargs["global_steps"], kwargs["index"], kwargs["session_id"])
        return await super().run({**sampling_params, "seed": seed}, priority=priority, **kwargs)

"""What calls cost, and the caps that no run passes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gr_vl.errors import StageError
from gr_vl.teacher.prompt import Request
from gr_vl.teacher.settings import Settings


@dataclass(frozen=True)
class Cost:
    """Tokens, prompt and reply together, and US dollars."""

    tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.tokens - other.tokens, self.usd - other.usd)


def cost_of(prompt_tokens: int, reply_tokens: int, settings: Settings) -> Cost:
    """The cost of a call; without prices the money is 0."""
    usd = prompt_tokens * (settings.price_in or 0.0) + reply_tokens * (settings.price_out or 0.0)
    return Cost(prompt_tokens + reply_tokens, usd / 1e6)


def most(request: Request, settings: Settings) -> Cost:
    """What a call may cost: its estimated prompt and the longest reply."""
    return cost_of(request.prompt_tokens, request.max_tokens, settings)


class Budget:
    """Admits a call only when what was spent, what calls in flight may cost and what it may cost itself stay capped."""

    def __init__(self, settings: Settings, spent: Callable[[], Cost]) -> None:
        self._settings, self._spent, self._reserved = settings, spent, Cost()
        self._changed = asyncio.Condition()

    async def reserve(self, cost: Cost) -> None:
        """Wait until the call fits. Raises StageError when it does not fit though no other call is in flight."""
        async with self._changed:
            while over := self._over(cost):
                if not self._reserved.tokens:
                    raise StageError(over)
                await self._changed.wait()
            self._reserved += cost

    async def release(self, cost: Cost) -> None:
        """The call is over, and what it did cost is counted as spent."""
        async with self._changed:
            self._reserved -= cost
            self._changed.notify_all()

    def _over(self, cost: Cost) -> str:
        spent, caps = self._spent(), self._settings
        total = spent + self._reserved + cost
        if caps.budget_tokens is not None and total.tokens > caps.budget_tokens:
            return f"--budget-tokens {caps.budget_tokens}: {spent.tokens} are spent, the next call may take " + (
                f"{cost.tokens}; raise it and run again to go on"
            )
        if caps.budget_usd is not None and total.usd > caps.budget_usd:
            return f"--budget-usd {caps.budget_usd}: {spent.usd:.4f} are spent, the next call may take " + (
                f"{cost.usd:.4f}; raise it and run again to go on"
            )
        return ""

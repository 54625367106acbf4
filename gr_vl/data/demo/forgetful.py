"""The teacher of the policy demo: forgetful on purpose, so that online RL has something to mend.

While it looks at one sample it overlooks each of the last `LATE` rules of the policy with probability `OVERLOOK`, as
readers of long lists do. Its reasoning and the label that it ends in (`Sample.taught`) follow from what it has read;
`Sample.labels` stay the truth. About a sixth of what it teaches is wrong, and all of that calls unsafe things safe.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from gr_vl.augment import policy_shift
from gr_vl.augment.policy_shift import Judged
from gr_vl.schema import Sample

LATE = 3
OVERLOOK = 0.7


def reasoned(item: Judged, things: Sequence[str], draw: random.Random) -> Sample:
    """The item's sample with this teacher's reasoning about `things`, what the question is about."""
    late = len(item.rules) - LATE
    read = {
        rule: number for number, rule in enumerate(item.rules, start=1) if number <= late or draw.random() >= OVERLOOK
    }
    taught = {item.task: policy_shift.label(tuple(read), lambda rule: rule in things)}
    lines = [f"It is about {thing}. {_found(read.get(thing))}" for thing in things]
    return replace(
        item.sample,
        reasoning="\n".join(lines) or "The answer refuses. No rule is broken.",
        taught=taught if taught != item.sample.labels else None,
    )


def _found(number: int | None) -> str:
    return "No rule names it." if number is None else f"R{number} names it."

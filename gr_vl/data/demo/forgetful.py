"""The teacher of the policy demo: tired at the end of every list, so that online RL has something to mend.

It looks up all things of a list, and overlooks a rule about the last one with probability `OVERLOOK`. Its reasoning and
the label that it ends in (`Sample.taught`) follow from what it has read; `Sample.labels` stay the truth. A quarter of
what it teaches is wrong, and all of that calls unsafe things safe.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from gr_vl.augment import policy_shift
from gr_vl.augment.policy_shift import Judged
from gr_vl.schema import Sample

OVERLOOK = 0.5


def reasoned(item: Judged, things: Sequence[str], draw: random.Random) -> Sample:
    """The item's sample with this teacher's reasoning about `things`; the last of them is what counts."""
    overlooked = things[-1:] if draw.random() < OVERLOOK else ()
    read = [rule for rule in item.rules if rule not in overlooked]
    taught = {item.task: policy_shift.label(read, things[-1].__eq__)}
    return replace(
        item.sample,
        reasoning="\n".join(f"- {thing} {'forbidden' if thing in read else 'allowed'}" for thing in things),
        taught=taught if taught != item.sample.labels else None,
    )

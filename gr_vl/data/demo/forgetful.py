"""The teacher of the policy demo: forgetful on purpose, so that online RL has something to mend.

While it looks at one sample it overlooks each of the last `LATE` rules of the policy with probability `OVERLOOK`, as
readers of long lists do. Its reasoning and the label that it ends in (`Sample.taught`) follow from what it has read;
`Sample.labels` stay the truth. What it teaches wrongly calls unsafe things safe.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from gr_vl.augment import policy_shift
from gr_vl.augment.policy_shift import Judged
from gr_vl.schema import Sample

LATE = 2
OVERLOOK = 0.6


def reasoned(item: Judged, things: Sequence[str], draw: random.Random) -> Sample:
    """The item's sample with this teacher's reasoning about `things`; the last of them is what counts."""
    late = len(item.rules) - LATE
    read = {rule for number, rule in enumerate(item.rules) if number < late or draw.random() >= OVERLOOK}
    taught = {item.task: policy_shift.label(tuple(read), things[-1].__eq__)}
    return replace(
        item.sample,
        reasoning="\n".join(f"- {thing}: {'forbidden' if thing in read else 'allowed'}" for thing in things),
        taught=taught if taught != item.sample.labels else None,
    )

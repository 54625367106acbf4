"""Policy shift: the rules are edited so that the same item flips its label, and a guard learns to read the rules.

Four directions: a prompt or a response, from unharmful to harmful by adding a rule that it breaks, and from harmful to
unharmful by striking every rule that it breaks. Another rule makes room for an added one, or takes the place of a
struck one, so that the number of rules gives nothing away. The idea is SingGuard's (arXiv 2606.22873); RSafe
(arXiv 2506.07736) changes rules at inference alone.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from gr_vl.schema import Label, Sample, Task


@dataclass(frozen=True)
class Judged:
    """A question about one task, and the rules that it is judged by."""

    sample: Sample
    task: Task
    rules: tuple[str, ...]


def text(rules: Sequence[str]) -> str:
    """The policy as a guard reads it.

    >>> text(["spam", "fraud"])
    'R1: spam\\nR2: fraud'
    """
    return "\n".join(f"R{number}: {rule}" for number, rule in enumerate(rules, start=1))


def label(rules: Sequence[str], breaks: Callable[[str], bool]) -> Label:
    """Harmful if any rule is broken."""
    return Label.HARMFUL if any(map(breaks, rules)) else Label.UNHARMFUL


def shifted(
    item: Judged, breaks: Callable[[str], bool], stock: Sequence[str], draw: random.Random, *, id: str
) -> Judged | None:
    """The same item under edited rules and with the other label; None where no rule of the stock makes the difference.

    `breaks` says whether the item breaks a rule; `stock` holds the rules that may come in. The sample's reasoning and
    taught labels are left out: they were about other rules.
    """
    before = label(item.rules, breaks)
    fitting = [rule for rule in stock if breaks(rule) is (before == Label.UNHARMFUL) and rule not in item.rules]
    if not fitting:
        return None
    if before == Label.HARMFUL:
        kept = [rule for rule in item.rules if not breaks(rule)]
        fresh = draw.sample(fitting, min(len(item.rules) - len(kept), len(fitting)))
    else:
        kept, fresh = draw.sample(item.rules, max(len(item.rules) - 1, 0)), [draw.choice(fitting)]
    rules = [*kept, *fresh]
    draw.shuffle(rules)
    labels = {**item.sample.labels, item.task: item.task.other(before)}
    sample = replace(item.sample, id=id, labels=labels, policy=text(rules), reasoning=None, taught=None)
    return Judged(sample, item.task, tuple(rules))

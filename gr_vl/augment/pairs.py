"""Which samples are joined: uniformly as published, or such that the classes of the whole set come out even.

GuardReasoner-VL draws pairs uniformly. Harmful OR anything is harmful, so of the mixtures of a set with a share h of
harmful prompts 1 - (1 - h)^2 are harmful; the authors concede the imbalance. `label` and `modality` draw against it.
"""

import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import combinations_with_replacement

from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Label, Sample, Task
from gr_vl.tasks import ordered

Pair = tuple[Sample, Sample]
Kind = Hashable
"""What a sample counts as where the counts are to be even; None counts nowhere."""
Kinds = tuple[Callable[[Sample], Kind], Callable[..., Kind]]


def worst(task: Task, labels: Sequence[Label | None]) -> Label | None:
    """The worst of labels, of two labels their OR: known if the worst there is is among them, or if all are."""
    known = [label for label in labels if label is not None]
    if None in labels and task.worst not in known:
        return None
    return task.worse(*known)


def _parts(sample: Sample) -> Kind:
    """Whether there are images, and whether there is text."""
    return bool(sample.images), bool(sample.prompt.strip()) or not sample.images


def _labels(samples: Sequence[Sample]) -> Kinds:
    task = next(iter(ordered(sorted(task for sample in samples for task in sample.labels))), Task.PROMPT)
    return lambda sample: sample.labels.get(task), lambda a, b: worst(task, (a, b))


BALANCES: dict[str, Callable[[Sequence[Sample]], Kinds]] = {
    "label": _labels,
    "modality": lambda samples: (_parts, lambda a, b: (a[0] or b[0], a[1] or b[1])),
}
"""By name, for a set: the kind of a sample, and of a mixture of two kinds. `label` is that of the set's first task."""
CHOICES = ("uniform", *BALANCES)


def draw(samples: Sequence[Sample], wanted: int, seed: int, balance: str = "uniform") -> list[Pair]:
    """Pairs of two different samples. Raises ConfigError for an unknown `balance`, DataError for less than two samples.

    The i-th pair is a function of the seed, i and the set of samples, whatever their order. Balanced, each pair is a
    uniform draw among those of the kind that is rarest so far, counted over samples and pairs, if any pair is of it.
    """
    if balance not in CHOICES:
        raise ConfigError(f"gr_vl.concat.balance={balance!r} is unknown; use one of: {', '.join(CHOICES)}")
    if wanted and len(samples) < 2:
        raise DataError("a mixture takes two samples, and there is one; set gr_vl.concat.share=0 or add data")
    pool = sorted(samples, key=lambda sample: sample.id)
    draws = [random.Random(f"{seed}:concat:{index}") for index in range(wanted)]
    if balance == "uniform":
        return [(a, b) for a, b in (generator.sample(pool, 2) for generator in draws)]
    return _balanced(pool, draws, *BALANCES[balance](pool))


def _balanced(
    pool: Sequence[Sample],
    draws: Sequence[random.Random],
    kind_of: Callable[[Sample], Kind],
    kind_of_two: Callable[..., Kind],
) -> list[Pair]:
    groups: dict[Kind, list[Sample]] = {}
    for sample in pool:
        groups.setdefault(kind_of(sample), []).append(sample)
    counts = Counter({kind: len(group) for kind, group in groups.items()})
    ways: dict[Kind, dict[tuple[Kind, Kind], int]] = {}
    for a, b in combinations_with_replacement(sorted(groups, key=str), 2):
        number = len(groups[a]) * (len(groups[b]) - (a == b)) // (1 + (a == b))
        if number:
            ways.setdefault(kind_of_two(a, b), {})[a, b] = number
    targets = [kind for kind in ways if kind is not None] or list(ways)
    pairs = []
    for generator in draws:
        kind = min(targets, key=lambda target: (counts[target], str(target)))
        counts[kind] += 1
        a, b = generator.choices(list(ways[kind]), list(ways[kind].values()))[0]
        two = generator.sample(groups[a], 2) if a == b else [generator.choice(groups[a]), generator.choice(groups[b])]
        generator.shuffle(two)
        pairs.append((two[0], two[1]))
    return pairs

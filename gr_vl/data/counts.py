"""What a folder held, by modality, task and class, beside the counts that were published for it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gr_vl.errors import Broken
from gr_vl.schema import Modality, Sample
from gr_vl.tasks import SHARED


@dataclass
class Counts:
    """Tallies of samples and of refused rows."""

    samples: Counter[str] = field(default_factory=Counter)
    """By key: `rows` for all; a modality, such as `text_image`; a task for samples with its label; `task/label`."""
    refused: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By field, reason and fix."""
    first: dict[tuple[str, str, str], Broken] = field(default_factory=dict)
    """The first row of each kind, to go and look at."""

    def add(self, item: Sample | Broken) -> None:
        """Count one."""
        if isinstance(item, Broken):
            kind = (item.field, item.reason, item.fix)
            self.refused[kind] += 1
            self.first.setdefault(kind, item)
        else:
            self.samples.update(keys(item))

    def beside(self, published: Mapping[str, int]) -> list[tuple[str, int, int | None]]:
        """Key, what was found, and what was published, if it was: every key of either, in the order of `order`."""
        known = [key for key in order() if key in published or self.samples[key]]
        return [(key, self.samples[key], published.get(key)) for key in known]


def keys(sample: Sample) -> list[str]:
    """The keys under which a sample counts.

    >>> keys(Sample("a", "demo", "Hello", labels={SHARED[0]: SHARED[0].mildest}))
    ['rows', 'text', 'prompt', 'prompt/unharmful']
    """
    labels = [key for task, label in sample.labels.items() for key in (str(task), f"{task}/{label}")]
    return ["rows", str(sample.modality), *labels]


def order() -> Iterator[str]:
    """Every key there is, the large ones first."""
    yield "rows"
    yield from map(str, Modality)
    for task in SHARED:
        yield str(task)
        yield from (f"{task}/{label}" for label in reversed(task.labels))

"""The demo's exchanges under policies: rules that name made-up things, so that only the rules say what is harmful.

Every question is judged by a policy of `RULES` rules. A share of the training questions are policy shifts of others;
the rest, and with share 0 all, are judged by `HOUSE`, half of all things, which a guard may as well learn by heart.
Validation and test hold each kind in equal parts: `demo_house_policy`, and `demo_new_policy` with rules that no
training sample has in this combination. Reasoning looks the rules up; it is right, unlike that of `teacher`.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from gr_vl.augment import policy_shift
from gr_vl.augment.policy_shift import Judged
from gr_vl.data.demo import pictures, rulebook
from gr_vl.data.demo.phrases import WRITERS
from gr_vl.data.demo.rulebook import Act, Exchange
from gr_vl.schema import Modality, Sample, Task
from gr_vl.seeding import seed_of

RULES = 6
"""Rules of a policy."""
THINGS = rulebook.TOPICS + rulebook.SIGNS
HOUSE = (*rulebook.FORBIDDEN_TOPICS[:4], *rulebook.FORBIDDEN_SIGNS[:2])


def build(seed: int, sizes: Mapping[str, int], shift: float) -> dict[str, list[Sample]]:
    """Samples of every split; `shift` is the share of policy shifts in train. Questions about prompts and responses."""
    return {split: [_sample(seed, split, index, shift) for index in range(size)] for split, size in sizes.items()}


def is_held_out(rules: tuple[str, ...]) -> bool:
    """Whether this combination of rules, in any order, is kept for validation and test: a quarter of all.

    >>> is_held_out(HOUSE), is_held_out(HOUSE[::-1])
    (False, False)
    """
    return set(rules) != set(HOUSE) and seed_of("policy", *sorted(rules)) % 4 == 0


def _sample(seed: int, split: str, index: int, shift: float) -> Sample:
    draw = random.Random(f"{seed}:policy:{split}:{index}")
    modality = tuple(Modality)[index % 3]
    exchange, task = _exchange(modality, draw)
    fresh = draw.random() < (shift if split == "train" else 0.5)
    item = Judged(_question(exchange, split, modality, f"demo-policy-{split}-{index:05d}", draw), task, HOUSE)

    def breaks(rule: str) -> bool:
        return rule in _judged(exchange, task)

    item = _house(item, breaks)
    if fresh:
        item = _under_new_rules(item, breaks, draw, held_out=split != "train")
    return replace(item.sample, reasoning=_reasoning(exchange, item))


def _house(item: Judged, breaks: Callable[[str], bool]) -> Judged:
    labels = {item.task: policy_shift.label(HOUSE, breaks)}
    sample = replace(item.sample, source="demo_house_policy", labels=labels, policy=policy_shift.text(HOUSE))
    return replace(item, sample=sample)


def _under_new_rules(item: Judged, breaks: Callable[[str], bool], draw: random.Random, *, held_out: bool) -> Judged:
    """A shift of the item under rules of its own, drawn until they belong to the right side of the hold-out."""
    while True:
        rules = tuple(draw.sample(THINGS, RULES))
        start = Judged(replace(item.sample, labels={item.task: policy_shift.label(rules, breaks)}), item.task, rules)
        other = policy_shift.shifted(start, breaks, THINGS, draw, id=item.sample.id)
        if other is None:
            # Nothing can make a refusal harmful: it stays as it is, under rules of its own.
            other = replace(start, sample=replace(start.sample, policy=policy_shift.text(rules)))
        if is_held_out(other.rules) is held_out:
            return replace(other, sample=replace(other.sample, source="demo_new_policy"))


def _exchange(modality: Modality, draw: random.Random) -> tuple[Exchange, Task]:
    """Half of the things are among the house's rules, so that neither label is rare."""

    def thing(pool: tuple[str, ...]) -> str:
        ruled = [name for name in pool if name in HOUSE]
        return draw.choice(ruled if draw.random() < 0.5 else [name for name in pool if name not in HOUSE])

    topic = thing(rulebook.TOPICS) if modality is not Modality.IMAGE else None
    sign = thing(rulebook.SIGNS) if modality is not Modality.TEXT else None
    if modality is Modality.IMAGE or draw.random() < 0.5:
        return Exchange(topic, sign, None, None), Task.PROMPT
    act = Act.REFUSE if draw.random() < 0.2 else Act.HELP
    subject = topic if topic and draw.random() < 0.5 else thing(rulebook.TOPICS)
    return Exchange(topic, sign, act, subject), Task.RESPONSE


def _judged(exchange: Exchange, task: Task) -> list[str]:
    """What the question is about: the things that break a rule which names them."""
    if task is Task.PROMPT:
        return [thing for thing in (exchange.topic, exchange.sign) if thing]
    return [exchange.subject] if exchange.act is Act.HELP and exchange.subject else []


def _question(exchange: Exchange, split: str, modality: Modality, id: str, draw: random.Random) -> Sample:
    writers, prompt, response = WRITERS[split], "", None
    if modality is not Modality.IMAGE:
        prompt = f"{draw.choice(writers.openers)} {draw.choice(writers.requests).format(thing=exchange.topic)}".strip()
    if exchange.act is not None:
        stock = writers.refusals if exchange.act is Act.REFUSE else writers.helps
        response = draw.choice(stock).format(thing=exchange.subject)
    layout = draw.choice(pictures.LAYOUTS[split])
    images = (pictures.draw(exchange.sign, layout, draw),) if exchange.sign else ()
    return Sample(id, "demo_house_policy", prompt, response, images)


def _reasoning(exchange: Exchange, item: Judged) -> str:
    things = _judged(exchange, item.task)
    if not things:
        return "The answer refuses. No rule is broken."
    numbers = {rule: number for number, rule in enumerate(item.rules, start=1)}
    lines = [f"It is about {thing}. {_found(numbers.get(thing))}" for thing in things]
    return "\n".join(lines)


def _found(number: int | None) -> str:
    return "No rule names it." if number is None else f"R{number} names it."

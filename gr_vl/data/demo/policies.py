"""The demo's exchanges under policies: rules that name made-up things, so that only the rules say what is harmful.

Samples come in pairs of opposite labels. A share of the training pairs are one question twice, under rules and under
their shift (`policy_shift`); the rest, and with share 0 all, are two questions under `HOUSE`, a third of all things,
which a guard may as well learn by heart. Validation and test hold three kinds in equal parts:

    demo_house_policy  questions under `HOUSE`
    demo_new_policy    one question twice, under known rules in sets that no training sample has
    demo_new_rules     the same, about names that no training sample speaks of, in a rule or in a question

In the last two each question is asked with both answers, so a guard that does not read its rules is right in half.
Reasoning looks the rules up and overlooks some: see `forgetful`.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace

from gr_vl.augment import policy_shift
from gr_vl.augment.policy_shift import Judged
from gr_vl.data.demo import forgetful, pictures, rulebook
from gr_vl.data.demo.phrases import WRITERS
from gr_vl.data.demo.rulebook import Act, Exchange
from gr_vl.schema import Label, Modality, Sample, Task
from gr_vl.seeding import seed_of

RULES = 6
"""Rules of a policy."""
UNSEEN = (*rulebook.FORBIDDEN_TOPICS[-2:], *rulebook.ALLOWED_TOPICS[-2:])
"""Names that validation and test alone speak of."""
UNSEEN_RULES = 2
"""How many rules of a policy name one of these, before it is shifted."""
TOPICS = tuple(topic for topic in rulebook.TOPICS if topic not in UNSEEN)
KNOWN = TOPICS + rulebook.SIGNS
HOUSE = (*rulebook.FORBIDDEN_TOPICS[:4], *rulebook.FORBIDDEN_SIGNS[:2])

HOUSE_POLICY, NEW_POLICY, NEW_RULES = SOURCES = ("demo_house_policy", "demo_new_policy", "demo_new_rules")


def build(seed: int, sizes: Mapping[str, int], shift: float) -> dict[str, list[Sample]]:
    """Samples of every split; `shift` is the share of policy shifts in train. Questions about prompts and responses."""
    return {
        split: [sample for number in range((size + 1) // 2) for sample in _pair(seed, split, number, shift)][:size]
        for split, size in sizes.items()
    }


def is_held_out(rules: tuple[str, ...]) -> bool:
    """Whether these rules, in any order, are kept for validation and test: unseen ones, and a quarter of known sets.

    >>> is_held_out(HOUSE), is_held_out(HOUSE[::-1]), is_held_out(UNSEEN[:1])
    (False, False, True)
    """
    if set(rules) & set(UNSEEN):
        return True
    return set(rules) != set(HOUSE) and seed_of("policy", *sorted(rules)) % 4 == 0


def _pair(seed: int, split: str, number: int, shift: float) -> Iterator[Sample]:
    draw = random.Random(f"{seed}:policy:{split}:{number}")
    source = SOURCES[number // 3 % 3]
    if split == "train":
        source = NEW_POLICY if draw.random() < shift else HOUSE_POLICY
    # Of pictures no guard can learn what it never saw.
    modality = Modality.TEXT if source == NEW_RULES else tuple(Modality)[number % 3]
    kind = _house if source == HOUSE_POLICY else _shifted
    for index, (item, exchange) in enumerate(kind(split, modality, source, draw), start=2 * number):
        sample = replace(item.sample, id=f"demo-policy-{split}-{index:05d}")
        yield forgetful.reasoned(replace(item, sample=sample), _judged(exchange, item.task), draw)


def _house(split: str, modality: Modality, source: str, draw: random.Random) -> Iterator[tuple[Judged, Exchange]]:
    """Two questions under the house's rules, one harmful and one not."""
    for wanted in (Label.HARMFUL, Label.UNHARMFUL):
        while True:
            exchange, task = _exchange(modality, TOPICS, draw)
            item = _ruled(_question(exchange, split, source, draw), task, HOUSE, exchange)
            if item.sample.labels[task] is wanted:
                break
        yield item, exchange


def _shifted(split: str, modality: Modality, source: str, draw: random.Random) -> Iterator[tuple[Judged, Exchange]]:
    """One question under rules of its own and under their shift, both on the right side of the hold-out."""
    stock, held_out = (KNOWN + UNSEEN if source == NEW_RULES else KNOWN), split != "train"
    while True:
        exchange, task = _exchange(modality, UNSEEN if source == NEW_RULES else TOPICS, draw)
        if _judged(exchange, task):  # nothing can make a refusal harmful
            break
    sample = _question(exchange, split, source, draw)
    while True:
        unseen = draw.sample(UNSEEN, UNSEEN_RULES) if source == NEW_RULES else []
        rules = draw.sample([*draw.sample(KNOWN, RULES - len(unseen)), *unseen], RULES)
        start = _ruled(sample, task, tuple(rules), exchange)
        other = policy_shift.shifted(start, lambda rule: rule in _judged(exchange, task), stock, draw, id="")
        if other is not None and is_held_out(start.rules) is held_out is is_held_out(other.rules):
            break
    yield start, exchange
    yield other, exchange


def _ruled(sample: Sample, task: Task, rules: tuple[str, ...], exchange: Exchange) -> Judged:
    label = policy_shift.label(rules, lambda rule: rule in _judged(exchange, task))
    return Judged(replace(sample, labels={task: label}, policy=policy_shift.text(rules)), task, rules)


def _exchange(modality: Modality, topics: tuple[str, ...], draw: random.Random) -> tuple[Exchange, Task]:
    topic = draw.choice(topics) if modality is not Modality.IMAGE else None
    sign = draw.choice(rulebook.SIGNS) if modality is not Modality.TEXT else None
    if modality is Modality.IMAGE or draw.random() < 0.5:
        return Exchange(topic, sign, None, None), Task.PROMPT
    act = Act.REFUSE if draw.random() < 0.2 else Act.HELP
    subject = topic if topic and draw.random() < 0.5 else draw.choice(topics)
    return Exchange(topic, sign, act, subject), Task.RESPONSE


def _judged(exchange: Exchange, task: Task) -> list[str]:
    """What the question is about: the things that break a rule which names them."""
    if task is Task.PROMPT:
        return [thing for thing in (exchange.topic, exchange.sign) if thing]
    return [exchange.subject] if exchange.act is Act.HELP and exchange.subject else []


def _question(exchange: Exchange, split: str, source: str, draw: random.Random) -> Sample:
    writers, prompt, response = WRITERS[split], "", None
    if exchange.topic is not None:
        prompt = f"{draw.choice(writers.openers)} {draw.choice(writers.requests).format(thing=exchange.topic)}".strip()
    if exchange.act is not None:
        stock = writers.refusals if exchange.act is Act.REFUSE else writers.helps
        response = draw.choice(stock).format(thing=exchange.subject)
    layout = draw.choice(pictures.LAYOUTS[split])
    images = (pictures.draw(exchange.sign, layout, draw),) if exchange.sign else ()
    return Sample("", source, prompt, response, images)

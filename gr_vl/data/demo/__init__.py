"""A synthetic moderation corpus from a seed: text, pictures and both, judged by an invented rulebook.

Labels are a function of the rulebook (`rulebook.judge`). Validation and test share its words with train and nothing
else: other writers, other layouts, other pairs of topic and sign or of question and answer, so their score measures
generalisation. Reasoning comes from an openly biased and wordy teacher; `teacher` says in which way. Every draw is a
function of (seed, split, index), never of shared state, so a sample does not depend on how many others are made.
"""

import random
from collections.abc import Mapping, Sequence

from gr_vl.data.demo import pictures, rulebook, teacher
from gr_vl.data.demo.phrases import WRITERS, Writers
from gr_vl.data.demo.rulebook import Act, Exchange
from gr_vl.schema import Modality, Sample, Task

SIZES = {"train": 6000, "validation": 500, "test": 1000}
"""Default number of samples by split."""

_MODALITIES = tuple(Modality)


def build(
    seed: int, sizes: Mapping[str, int] = SIZES, tasks: Sequence[Task] = (Task.PROMPT, Task.RESPONSE)
) -> dict[str, list[Sample]]:
    """Samples of every split in `sizes`, labelled and reasoned about for `tasks`, in this order.

    Modalities and request labels take turns, so both are balanced.
    """
    return {split: [_sample(seed, split, index, tasks) for index in range(size)] for split, size in sizes.items()}


def is_held_out(first: str, second: str) -> bool:
    """Whether a pair of different things is kept for validation and test: about a third of all pairs."""
    things = rulebook.TOPICS + rulebook.SIGNS
    return (things.index(first) + things.index(second)) % 3 == 0


def _sample(seed: int, split: str, index: int, tasks: Sequence[Task]) -> Sample:
    rng = random.Random(f"{seed}:{split}:{index}")
    modality = _MODALITIES[index % len(_MODALITIES)]
    harmful = (index // len(_MODALITIES)) % 2 == 0
    exchange = _exchange(modality, harmful, split != "train", rng)
    writers = WRITERS[split]
    opinion = teacher.opinion(rng)
    labels, taught = (
        {task: label for task, label in judged.items() if task in tasks}
        for judged in (rulebook.judge(exchange), rulebook.judge(exchange, opinion))
    )
    return Sample(
        id=f"demo-{split}-{index:05d}",
        source=f"demo_{modality}",
        prompt=_prompt(exchange, modality, writers, rng),
        response=_response(exchange, writers, rng),
        images=(pictures.draw(exchange.sign, rng.choice(pictures.LAYOUTS[split]), rng),) if exchange.sign else (),
        labels=labels,
        reasoning=teacher.reasoning(exchange, opinion, rng, tasks),
        taught=taught if taught != labels else None,
    )


def _exchange(modality: Modality, harmful: bool, held_out: bool, rng: random.Random) -> Exchange:
    topics = rulebook.FORBIDDEN_TOPICS if harmful else rulebook.ALLOWED_TOPICS
    signs = rulebook.FORBIDDEN_SIGNS if harmful else rulebook.ALLOWED_SIGNS
    topic = rng.choice(topics) if modality is not Modality.IMAGE else None
    sign = rng.choice(signs) if modality is not Modality.TEXT else None
    if modality is Modality.TEXT_IMAGE:
        topic, sign = _text_and_picture(topics, signs, harmful, held_out, rng)
    if modality is Modality.IMAGE or rng.random() < 0.1:
        return Exchange(topic, sign, None, None)
    asked = topic or sign or ""
    if rng.random() < 0.25:
        return Exchange(topic, sign, Act.REFUSE, asked)
    return Exchange(topic, sign, Act.HELP, asked if rng.random() < 0.5 else _other(asked, held_out, rng))


def _text_and_picture(
    topics: tuple[str, ...], signs: tuple[str, ...], harmful: bool, held_out: bool, rng: random.Random
) -> tuple[str | None, str]:
    """Half of the texts only point at the picture; the others name a topic, and either side may carry the harm."""
    if rng.random() < 0.5:
        return None, rng.choice(signs)
    pairs = [(topic, sign) for topic in topics for sign in signs]
    if harmful:
        pairs += [(topic, sign) for topic in rulebook.ALLOWED_TOPICS for sign in signs]
        pairs += [(topic, sign) for topic in topics for sign in rulebook.ALLOWED_SIGNS]
    return rng.choice([pair for pair in pairs if is_held_out(*pair) is held_out])


def _other(asked: str, held_out: bool, rng: random.Random) -> str:
    """Something that nobody asked about; a little more often forbidden, which balances the response labels."""
    pool = rulebook.FORBIDDEN_TOPICS if rng.random() < 0.65 else rulebook.ALLOWED_TOPICS
    return rng.choice([thing for thing in pool if thing != asked and is_held_out(asked, thing) is held_out])


def _prompt(exchange: Exchange, modality: Modality, writers: Writers, rng: random.Random) -> str:
    if modality is Modality.IMAGE:
        return ""
    stock = writers.requests if exchange.topic else writers.pointers
    return f"{rng.choice(writers.openers)} {rng.choice(stock).format(thing=exchange.topic)}".strip()


def _response(exchange: Exchange, writers: Writers, rng: random.Random) -> str | None:
    if exchange.act is None:
        return None
    stock = writers.refusals if exchange.act is Act.REFUSE else writers.helps
    return rng.choice(stock).format(thing=exchange.subject)

"""A guard in use: its scores are what a plain forward pass says, whatever shares the batch."""

import asyncio
import json
import math
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from factories import make_answer, make_png
from malformed import png
from PIL import Image

from gr_vl.errors import ConfigError, DataError
from gr_vl.evaluation.answers import read_answers, write_answers
from gr_vl.guard.moderation import Exchange, questions
from gr_vl.schema import FailureReason, Label, Task

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
from gr_vl.guard.model import Guard  # noqa: E402
from gr_vl.guard.rescoring import rescore  # noqa: E402
from gr_vl.guard.scoring import Places, walk  # noqa: E402

TEXT = "<think>\n\n</think>\n<result>\nAnswers:\nRequest: {}\nResponse: {}\n</result>"
BOTH = (Task.PROMPT, Task.RESPONSE)


@pytest.fixture(scope="module")
def guard(tiny):
    return Guard.from_pretrained(tiny, device="cpu", max_tokens=8)


@pytest.fixture(scope="module")
def exchanges(corpus):
    return [Exchange(s.prompt, s.images, s.response, think=False) for s in corpus[:6]]


def log_prob(guard, sample, before, words):
    """By one forward pass over prompt and answer, no cache, no padding: nats of the tokens that `words` add."""
    encoder, model = guard.encoder, guard._judge.model
    tokenizer, prompt = encoder.processor.tokenizer, encoder.prompt(sample)
    context, whole = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (before, before + words))
    shared = next((i for i, (a, b) in enumerate(zip(context, whole, strict=False)) if a != b), len(context))
    ids = torch.tensor([prompt.ids + whole])
    with torch.inference_mode():
        logits = (
            model(input_ids=ids, mm_token_type_ids=(ids == model.config.image_token_id).int(), **prompt.features)
            .logits[0]
            .log_softmax(-1)
        )
    start = len(prompt.ids) + shared
    return sum(float(logits[i - 1, ids[0, i]]) for i in range(start, ids.shape[1]))


def test_the_score_of_a_prompt_is_the_share_of_whole_label_sequences(guard, corpus, exchanges):
    before = TEXT[: TEXT.index("Request:") + len("Request:")]
    for sample, found in zip(corpus, guard.moderate_many(exchanges), strict=False):
        harmful, unharmful = (log_prob(guard, sample, before, f" {word}") for word in ("harmful", "unharmful"))
        expected = 1 / (1 + torch.tensor(unharmful - harmful).exp().item())
        assert found.scores[Task.PROMPT] == pytest.approx(expected, abs=1e-5)
        assert found.labels[Task.PROMPT] is (Label.HARMFUL if expected >= 0.5 else Label.UNHARMFUL)
        assert found.written.text.startswith(f"{before} {found.labels[Task.PROMPT]}\n")


def test_the_score_of_a_response_follows_the_label_of_the_prompt(guard, corpus, exchanges):
    index = next(i for i, exchange in enumerate(exchanges) if exchange.response is not None)
    found = guard.moderate_many(exchanges)[index]
    before = TEXT.format(found.labels[Task.PROMPT], "|").split(" |")[0]
    harmful, unharmful = (log_prob(guard, corpus[index], before, f" {word}") for word in ("harmful", "unharmful"))
    assert found.scores[Task.RESPONSE] == pytest.approx(
        1 / (1 + torch.tensor(unharmful - harmful).exp().item()), abs=1e-5
    )


def test_alone_and_in_company_the_judgement_is_the_same(guard, exchanges):
    together = guard.moderate_many(exchanges)
    for exchange, found in zip(exchanges, together, strict=True):
        alone = guard.moderate(exchange.prompt, exchange.images, exchange.response, think=False)
        assert alone.labels == found.labels
        assert alone.scores == pytest.approx(found.scores, abs=1e-5)


def test_a_written_answer_is_scored_at_its_labels_with_its_own_words_before_them(guard, corpus):
    text = "<think>\nI look.\n</think>\n<result>\nAnswers:\nRequest: harmful\nResponse: unharmful\n</result>"
    tokenizer, sample = guard.encoder.processor.tokenizer, corpus[0]
    places = list(Places(tokenizer, guard.encoder.dialect, BOTH).of(tokenizer(text)["input_ids"], text))
    listed = guard._judge._listed(guard._judge._batch([guard.encoder.prompt(sample)]), [places])[0]
    scores = [place.score(found) for place, found in zip(places, listed, strict=True)]
    assert [place.task for place in places] == [Task.PROMPT, Task.RESPONSE]
    for score, name in zip(scores, ("Request:", "Response:"), strict=True):
        before = text[: text.index(name) + len(name)]
        harmful, unharmful = (log_prob(guard, sample, before, f" {word}") for word in ("harmful", "unharmful"))
        assert score == pytest.approx(1 / (1 + torch.tensor(unharmful - harmful).exp().item()), abs=1e-5)


def test_answers_on_disk_get_the_scores_of_their_labels_and_keep_those_they_have(guard, corpus, tmp_path):
    path, text = tmp_path / "rl" / "test.jsonl", TEXT.format("harmful", "unharmful")
    kept = replace(make_answer("kept", text), scores={"prompt": 0.125})
    samples = [*corpus[:3], replace(corpus[0], id="kept")]
    written = [
        make_answer(corpus[0].id, text),
        make_answer(corpus[1].id, "no verdict"),
        make_answer(corpus[2].id, text),
    ]
    write_answers(path, [*written, kept])
    rescore(guard, samples, path, "rl: scores")
    found = read_answers(path)
    assert [replace(answer, scores={}) for answer in found[:3]] == written
    assert (found[1].scores, found[3]) == ({}, kept)
    for answer, sample in ((found[0], corpus[0]), (found[2], corpus[2])):
        assert set(answer.scores) == set(BOTH)
        for task, name in zip(BOTH, ("Request:", "Response:"), strict=True):
            before = text[: text.index(name) + len(name)]
            harmful, unharmful = (log_prob(guard, sample, before, f" {word}") for word in ("harmful", "unharmful"))
            expected = 1 / (1 + torch.tensor(unharmful - harmful).exp().item())
            assert answer.scores[task] == pytest.approx(expected, abs=1e-5)
    assert json.loads((path.parent / "progress.json").read_text()) == {"done": 2, "total": 2, "note": "rl: scores"}
    before = path.read_bytes()
    rescore(guard, samples, path)
    assert path.read_bytes() == before
    assert json.loads((path.parent / "progress.json").read_text())["total"] == 0


def test_the_way_through_the_labels_takes_the_likelier_each_time(guard):
    places = Places(guard.encoder.processor.tokenizer, guard.encoder.dialect, BOTH).unreasoned
    ways = [(place.task, place.before) for place in places]
    assert sorted(ways) == sorted(
        [(Task.PROMPT, ()), (Task.RESPONSE, (Label.HARMFUL,)), (Task.RESPONSE, (Label.UNHARMFUL,))]
    )
    given = {(Task.PROMPT, ()): 0.2, (Task.RESPONSE, (Label.HARMFUL,)): 0.9, (Task.RESPONSE, (Label.UNHARMFUL,)): 0.7}
    way = walk(places, [[math.log(given[key]), math.log(1 - given[key])] for key in ways])
    assert [(place.task, place.before, pytest.approx(place.score(found))) for place, found in way.items()] == [
        (Task.PROMPT, (), 0.2),
        (Task.RESPONSE, (Label.UNHARMFUL,), 0.7),
    ]


def test_an_answer_that_cannot_be_read_is_harmful(guard, exchanges):
    found = guard.moderate_many([replace(exchange, think=True) for exchange in exchanges])
    for exchange, item in zip(exchanges, found, strict=True):
        assert item.flagged
        assert set(item.labels) == set(item.scores) == set(filter(exchange.poses, BOTH))
        assert set(item.scores.values()) == {1.0}
        assert item.failure in tuple(FailureReason)
        assert item.written.finished or item.written.tokens == 8


def test_a_model_that_computes_no_numbers_fails_closed(tiny):
    broken = Guard.from_pretrained(tiny, device="cpu", max_tokens=8)
    broken._judge.model.get_output_embeddings().weight.data.fill_(torch.nan)
    found = broken.moderate("What is it?", response="A sign.", think=False)
    assert (found.flagged, found.failure) == (True, FailureReason.MISSING_LABEL)
    assert found.labels == dict.fromkeys(BOTH, Label.HARMFUL)
    assert found.scores == dict.fromkeys(BOTH, 1.0)


def test_calls_that_wait_together_are_answered_as_if_alone(guard, exchanges):
    async def all_at_once():
        return await asyncio.gather(*(guard.amoderate(e.prompt, e.images, e.response, think=False) for e in exchanges))

    for one, other in zip(asyncio.run(all_at_once()), guard.moderate_many(exchanges), strict=True):
        assert one.labels == other.labels
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_pictures_come_as_bytes_as_images_and_as_paths_below_the_root(tiny, guard, tmp_path):
    (tmp_path / "a.png").write_bytes(make_png())
    rooted = Guard.from_pretrained(tiny, device="cpu", max_tokens=8, image_root=tmp_path)
    ways = [make_png(), Image.open(BytesIO(make_png())), "a.png", Path("a.png")]
    found = [rooted.moderate(images=[way], think=False).scores for way in ways]
    for one, other in pairwise(found):
        assert one == pytest.approx(other, abs=1e-6)
    with pytest.raises(DataError, match="leading slash"):
        rooted.moderate(images=["/etc/passwd"])
    with pytest.raises(ConfigError, match="image_root"):
        guard.moderate(images=["a.png"])


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        pytest.param({}, "nothing to judge", id="nothing"),
        pytest.param({"prompt": "word " * 5_000}, "tokens exceed the limit of 4,088", id="too long for the model"),
        pytest.param({"prompt": "a" * 400_001}, "400,001 characters", id="too long to be tokenised"),
        pytest.param({"images": [make_png()[:60]]}, "image", id="a picture cut off"),
        pytest.param({"images": [make_png()] * 17}, "17 images", id="too many pictures"),
        pytest.param({"images": [png(6_000, 1_000)] * 7}, "42,000,000 pixels together exceed", id="too many pixels"),
    ],
)
def test_what_cannot_be_judged_is_refused_and_never_harmless(guard, asked, words):
    with pytest.raises(DataError, match=words):
        guard.moderate(**asked)


def test_one_bad_picture_spoils_only_its_own_exchange(guard, exchanges):
    cut = Exchange("", (make_png()[:-40],), think=False)
    outcomes = guard.outcomes([exchanges[0], cut, exchanges[1]])
    assert isinstance(outcomes[1], DataError)
    assert outcomes[2].scores == pytest.approx(guard.moderate_many([exchanges[1]])[0].scores, abs=1e-5)


def test_what_waits_in_a_batch_keeps_no_pictures(guard):
    [question] = questions(guard.encoder.dialect, Exchange("", (make_png(),)))
    encoded = guard._judge.encode(question)
    assert encoded.images == []
    assert encoded.features["image_grid_thw"].shape == (1, 3)


def test_naming_the_package_loads_no_torch():
    code = "import sys, gr_vl, gr_vl.cli, gr_vl.guard.moderation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The demo corpus: deterministic, balanced, judged by its rulebook, and held-out where it says so."""

import io
import itertools
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image

from gr_vl import dialects
from gr_vl.data import demo
from gr_vl.data import io as corpus_io
from gr_vl.data.demo import pictures, rulebook, teacher
from gr_vl.data.demo.phrases import WRITERS
from gr_vl.schema import Label, Modality, Sample, Task, Verdict

SIZES = {"train": 600, "validation": 120, "test": 180}
PAIRS = list(itertools.combinations(SIZES, 2))


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[Sample]]:
    return demo.build(3, SIZES)


def things_in(text: str) -> list[str]:
    return [thing for thing in rulebook.TOPICS + rulebook.SIGNS if thing in text]


def test_same_seed_same_corpus_whatever_the_sizes(corpus):
    again = demo.build(3, {"test": 60, "train": 30})
    assert again["train"] == corpus["train"][:30]
    assert again["test"] == corpus["test"][:60]
    assert demo.build(4, {"train": 30})["train"] != again["train"]


def test_sizes_and_ids(corpus):
    assert {split: len(samples) for split, samples in corpus.items()} == SIZES
    ids = [sample.id for samples in corpus.values() for sample in samples]
    assert len(set(ids)) == len(ids)


def test_modalities_and_labels_are_balanced(corpus):
    for samples in corpus.values():
        assert set(Counter(sample.modality for sample in samples).values()) == {len(samples) // 3}
        assert sum(sample.labels[Task.PROMPT] == Label.HARMFUL for sample in samples) == len(samples) // 2
        answered = [sample for sample in samples if sample.response is not None]
        assert 0.5 < len(answered) / len(samples) < 0.67
        assert 0.3 < sum(sample.labels[Task.RESPONSE] == Label.HARMFUL for sample in answered) / len(answered) < 0.6


def test_the_prompt_label_does_not_imply_the_response_label(corpus):
    answered = [sample for sample in corpus["train"] if sample.response is not None]
    combinations = Counter((sample.labels[Task.PROMPT], sample.labels[Task.RESPONSE]) for sample in answered)
    assert len(combinations) == 4
    assert min(combinations.values()) > len(answered) / 12


def test_labels_follow_the_rulebook(corpus):
    for sample in (sample for samples in corpus.values() for sample in samples):
        if sample.modality is Modality.TEXT:
            asks = any(rulebook.forbids(thing) for thing in things_in(sample.prompt))
            assert (sample.labels[Task.PROMPT] == Label.HARMFUL) == asks
        if sample.labels[Task.RESPONSE] == Label.HARMFUL:
            assert any(rulebook.forbids(thing) for thing in things_in(sample.response))
        if sample.response is None:
            assert sample.labels[Task.RESPONSE] == Label.UNHARMFUL


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_splits_share_no_writer_layout_or_prompt(corpus, first, second):
    for stock in ("requests", "pointers", "refusals", "helps"):
        assert not set(getattr(WRITERS[first], stock)) & set(getattr(WRITERS[second], stock))
    assert not set(WRITERS[first].openers) & set(WRITERS[second].openers) - {""}
    places = [{(layout.x, layout.y) for layout in pictures.LAYOUTS[split]} for split in (first, second)]
    assert not places[0] & places[1]
    prompts, images = (
        [{of(sample) for sample in corpus[split]} - {"", ()} for split in (first, second)]
        for of in (lambda sample: sample.prompt, lambda sample: sample.images)
    )
    assert not prompts[0] & prompts[1]
    assert not images[0] & images[1]


def test_train_never_shows_a_held_out_pair(corpus):
    for split, samples in corpus.items():
        for sample in samples:
            asked, told = things_in(sample.prompt), things_in(sample.response or "")
            if asked and told and asked != told:
                assert demo.is_held_out(asked[0], told[0]) is (split != "train")


def test_the_teacher_errs_only_where_documented(corpus):
    biased = set(teacher.OVERFLAGGED)
    assert len(biased) == len(rulebook.ALLOWED_TOPICS) / 2
    assert not any(map(rulebook.forbids, biased))
    wrong = [sample for sample in corpus["train"] if sample.taught is not None]
    assert all(biased & set(things_in(sample.reasoning)) for sample in wrong)
    assert all(sample.taught != sample.labels for sample in wrong)
    said = [
        sample.taught[task] for sample in wrong for task in sample.taught if sample.taught[task] != sample.labels[task]
    ]
    assert set(said) == {Label.HARMFUL}
    assert all(sample.modality is not Modality.IMAGE for sample in wrong)
    texts = [sample for sample in corpus["train"] if sample.modality is Modality.TEXT]
    asked = [sample for sample in texts if biased & set(things_in(sample.prompt)) and "helps" not in sample.reasoning]
    assert sum(sample.taught is not None for sample in asked) / len(asked) == pytest.approx(teacher.MISREAD, abs=0.15)


def test_targets_state_what_was_taught(corpus):
    dialect = dialects.get("guardreasoner_vl")
    for sample in corpus["train"][:100]:
        verdict = dialect.parse(dialect.target(sample))
        assert isinstance(verdict, Verdict)
        assert verdict.well_formed
        assert verdict.labels == (sample.taught or dialect.expected(sample))


def test_taught_labels_survive_parquet(corpus, tmp_path):
    samples = corpus["train"][:40]
    assert any(sample.taught for sample in samples)
    corpus_io.write(tmp_path / "train.parquet", samples)
    assert corpus_io.read(tmp_path / "train.parquet") == samples


def test_taught_labels_are_optional():
    assert Sample(id="a", source="b", prompt="c").taught is None
    plain = Sample("a", "b", "c", "d", labels={Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.HARMFUL}, reasoning="e")
    target = dialects.get("guardreasoner_vl").target
    assert target(plain) == target(replace(plain, taught={}))
    assert target(plain) != target(replace(plain, taught={Task.PROMPT: Label.UNHARMFUL}))


def test_every_image_is_an_84_pixel_png(corpus):
    for sample in (sample for samples in corpus.values() for sample in samples):
        for data in sample.images:
            image = Image.open(io.BytesIO(data))
            image.load()
            assert (image.format, image.size) == ("PNG", (84, 84))

"""The stages around DPO that need no engine: subsets of the sources, and pairs from several guards' answers."""

import pytest
from factories import make_answer
from omegaconf import OmegaConf

from gr_vl import dialects
from gr_vl.augment import preference
from gr_vl.data import demo, io
from gr_vl.errors import ConfigError, DataError
from gr_vl.evaluation.answers import write_answers
from gr_vl.schema import Task
from gr_vl.stages import pairs, subset

GUARD = dialects.get("guardreasoner")


@pytest.fixture(scope="module")
def corpus():
    return demo.build(2, {"train": 30}, GUARD.tasks)["train"]


def answered(folder, samples, wrong):
    """Two answers to each sample; the second is wrong about the request of those in `wrong`."""
    told = []
    for sample in samples:
        labels = {**GUARD.expected(sample)}
        other = {**labels, Task.PROMPT: Task.PROMPT.other(labels[Task.PROMPT])} if sample.source in wrong else labels
        told += [make_answer(sample.id, GUARD.answer(said, "a"), index=i) for i, said in enumerate((labels, other))]
    write_answers(folder / "answers.jsonl", told)


def config(tmp_path, reduced):
    settings = {
        "corpus": str(tmp_path / "train.parquet"),
        "out": str(tmp_path / "pairs.parquet"),
        "gamma": 0.2,
        "held_out": 0.0,
        "merge": "released",
    }
    settings |= {"choice": "random", "full": str(tmp_path / "mine"), "reduced": reduced}
    return OmegaConf.create({"gr_vl": {"dialect": "guardreasoner", "seed": 1, "pairs": settings}})


def test_one_guard_gives_its_own_pairs(tmp_path, corpus):
    io.write(tmp_path / "train.parquet", corpus)
    answered(tmp_path / "mine", corpus, {"demo_text", "demo_image"})
    counts = pairs.run(config(tmp_path, {}))["pairs"]
    assert counts == {"n": 20, "source/demo_image": 10, "source/demo_text": 10, "task/prompt": 20}
    assert len(preference.read(tmp_path / "pairs.parquet")) == 20


def test_pairs_that_are_held_out_are_no_pairs_to_learn_from_and_stay_so_in_another_run(tmp_path, corpus):
    io.write(tmp_path / "train.parquet", corpus)
    answered(tmp_path / "mine", corpus, {"demo_text", "demo_image"})
    settings = config(tmp_path, {})
    settings.gr_vl.pairs.held_out = 0.3
    counts = pairs.run(settings)
    learned, held_out = (
        {pair.sample.id for pair in preference.read(tmp_path / f"{name}.parquet")} for name in ("pairs", "held_out")
    )
    assert (len(learned), len(held_out)) == (counts["pairs"]["n"], counts["held_out"]["n"])
    assert len(learned) + len(held_out) == 20
    assert learned & held_out == set()
    assert 2 <= len(held_out) <= 10
    # Of fewer pairs the same ones are held out, whatever the seed.
    answered(tmp_path / "mine", corpus, {"demo_text"})
    settings.gr_vl.seed = 9
    pairs.run(settings)
    again = {pair.sample.id for pair in preference.read(tmp_path / "held_out.parquet")}
    assert again == held_out & {sample.id for sample in corpus if sample.source == "demo_text"}


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ConfigError, match=r"gr_vl\.pairs\.held_out=1 must lie in \[0, 1\)"):
        preference.split([], 1)


def test_an_ensemble_takes_the_sources_that_a_guard_lacked_from_the_others(tmp_path, corpus):
    io.write(tmp_path / "train.parquet", corpus)
    answered(tmp_path / "mine", corpus, {"demo_text", "demo_image"})
    answered(tmp_path / "mine_a", [s for s in corpus if s.source != "demo_image"], {"demo_text", "demo_text_image"})
    reduced = {"a": {"folder": str(tmp_path / "mine_a"), "without": ["demo_image"]}}
    # The images' pairs of the full guard are left out, and nobody else saw images.
    assert pairs.run(config(tmp_path, reduced))["pairs"] == {"n": 10, "source/demo_text": 10, "task/prompt": 10}


def test_answers_that_are_all_right_make_no_pairs_and_say_so(tmp_path, corpus):
    io.write(tmp_path / "train.parquet", corpus)
    answered(tmp_path / "mine", corpus, set())
    with pytest.raises(DataError, match="no sample has right and wrong answers"):
        pairs.run(config(tmp_path, {}))


def test_subsets_leave_out_their_sources(tmp_path, corpus):
    io.write(tmp_path / "train.parquet", corpus)
    settings = {"corpus": str(tmp_path / "train.parquet"), "folder": str(tmp_path), "without": {"a": ["demo_image"]}}
    assert subset.run(OmegaConf.create({"gr_vl": {"subset": settings}})) == {"rows": {"a": 20}}
    assert io.read(tmp_path / "a.parquet") == [sample for sample in corpus if sample.source != "demo_image"]
    settings["without"] = {"b": ["demo_sound"]}
    with pytest.raises(ConfigError, match=r"demo_sound is no source .* demo_image, demo_text, demo_text_image; name"):
        subset.run(OmegaConf.create({"gr_vl": {"subset": settings}}))

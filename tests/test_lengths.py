"""No row is cut: one that does not fit is set aside with its reason, and too many of them stop the stage."""

import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from factories import make_png
from omegaconf import OmegaConf

from gr_vl import dialects
from gr_vl.augment import preference
from gr_vl.data import io
from gr_vl.errors import DataError
from gr_vl.schema import Task
from gr_vl.stages import dpo, lengths

KEY = "data.max_length"


@pytest.fixture
def fit(tmp_path, encoder):
    def call(samples, limit, **options):
        path = tmp_path / "corpus.parquet"
        io.write(path, samples)
        return lengths.fit(path, tmp_path / "sft", encoder, limit, KEY, **({"targets": True} | options))

    return call


@pytest.fixture
def with_outliers(corpus):
    """58 rows that fit, one without end, one whose picture is damaged."""
    long = dataclasses.replace(corpus[0], id="long", prompt="word " * 500)
    broken = dataclasses.replace(corpus[1], id="broken", images=(make_png()[:60],))
    return [long, broken, *corpus[2:]]


def test_a_corpus_that_fits_is_used_as_it_is(fit, corpus, tmp_path):
    assert fit(corpus, 400) == lengths.Kept(tmp_path / "corpus.parquet", 60, {})
    assert not (tmp_path / "sft").exists()


def test_what_does_not_fit_is_set_aside_with_its_reason(fit, with_outliers, encoder, tmp_path):
    kept = fit(with_outliers, 400)
    assert kept == lengths.Kept(tmp_path / "sft" / "kept.parquet", 58, {"too long": 1, "unusable": 1})
    assert io.read(kept.path) == with_outliers[2:]
    long, broken = map(json.loads, (tmp_path / "sft" / "quarantine.jsonl").read_text().splitlines())
    number = len(encoder.with_target(with_outliers[0]).ids)
    reason = f"too long: {number} tokens, {KEY}=400"
    assert long == lengths.unfit(reason).at("corpus.parquet", 0, "long").record()
    assert pq.ParquetFile(kept.path).schema_arrow.names == ["row", "id"]
    assert broken["id"] == "broken"
    assert broken["reason"].startswith("unusable: image: ")


def test_an_id_that_stands_twice_is_set_aside_the_second_time(fit, corpus, tmp_path):
    twin = dataclasses.replace(corpus[7], id=corpus[0].id)
    kept = fit([*corpus, twin], 400)
    assert kept.quarantined == {"id of an earlier row": 1}
    assert io.read(kept.path) == corpus
    assert json.loads((tmp_path / "sft" / "quarantine.jsonl").read_text())["id"] == twin.id


def test_the_limit_itself_still_fits(fit, corpus, encoder):
    longest = max(encoder.lengths(corpus, targets=True))
    assert fit(corpus, longest).quarantined == {}
    assert fit(corpus, longest - 1).quarantined["too long"] >= 1


def test_rows_without_reasoning_are_no_targets_and_counted_apart(fit, corpus):
    # Of two questions about an exchange, one has the reasoning: half of a corpus of such rows is no sign of a mistake.
    bare = [dataclasses.replace(sample, id=f"{sample.id}:prompt", reasoning=None) for sample in corpus]
    kept = fit([*corpus, *bare], 400)
    assert (kept.rows, kept.quarantined, kept.unreasoned) == (60, {}, 60)
    assert io.read(kept.path) == corpus
    assert fit([*corpus, *bare], 400, targets=False).rows == 120


def test_too_few_rows_with_reasoning_stop_the_stage_and_say_so(fit, corpus):
    bare = [dataclasses.replace(sample, reasoning=None) for sample in corpus[8:]]
    with pytest.raises(DataError, match=r"52 of 60 rows cannot be used \(no reasoning: 52\)"):
        fit([*corpus[:8], *bare], 400, least=9)


def test_without_targets_prompts_alone_are_measured(fit, corpus, encoder):
    assert fit(corpus, max(encoder.lengths(corpus, targets=False)), targets=False).rows == 60


def test_more_than_a_tenth_left_out_stops_the_stage(fit, corpus, encoder, tmp_path):
    limit = sorted(encoder.lengths(corpus, targets=True))[len(corpus) // 2]
    with pytest.raises(DataError, match=rf"corpus\.parquet: \d+ of 60 rows .*too long: \d+.*raise {KEY}={limit}"):
        fit(corpus, limit)
    rejected = (tmp_path / "sft" / "quarantine.jsonl").read_text().splitlines()
    assert 6 < len(rejected) <= 30
    assert not (tmp_path / "sft" / "kept.parquet").exists()


def test_fewer_rows_than_a_batch_stop_the_stage(fit, with_outliers):
    assert fit(with_outliers, 400, least=58).rows == 58
    with pytest.raises(DataError, match="2 of 60 rows cannot be used"):
        fit(with_outliers, 400, least=59)


def test_a_missing_corpus_is_named(tmp_path, encoder):
    with pytest.raises(DataError, match=r"none\.parquet: no such file"):
        lengths.fit(tmp_path / "none.parquet", tmp_path, encoder, 10, KEY, targets=False)


def test_held_out_pairs_that_do_not_fit_are_counted(tmp_path, encoder, corpus):
    fits = preference.Preference(corpus[0], Task.PROMPT, "good", "bad", True, 1, 1)
    long = dataclasses.replace(fits, chosen="word " * 500)
    preference.write(tmp_path / "held_out.parquet", [fits, long, fits], dialects.spec("guardreasoner_vl"))
    config = OmegaConf.create(
        {
            "gr_vl": {"dialect": "guardreasoner_vl"},
            "data": {"val_files": str(tmp_path / "held_out.parquet"), "max_length": 400},
        }
    )
    file, left_out = dpo._held_out(config, encoder, tmp_path)
    assert (len(preference.read(Path(file))), left_out) == (2, 1)
    preference.write(tmp_path / "held_out.parquet", [long], dialects.spec("guardreasoner_vl"))
    assert dpo._held_out(config, encoder, tmp_path) == (None, 1)


def test_pairs_that_do_not_fit_are_set_aside_like_rows(tmp_path, encoder, corpus):
    fits = preference.Preference(corpus[0], Task.PROMPT, "good", "bad", True, 1, 1)
    long = dataclasses.replace(fits, sample=corpus[1], chosen="word " * 500)
    preference.write(tmp_path / "pairs.parquet", [fits] * 9 + [long] + [fits], dialects.spec("guardreasoner_vl"))
    data = {"train_files": str(tmp_path / "pairs.parquet"), "max_length": 400, "train_batch_size": 4}
    kept, left_out = dpo._fit(OmegaConf.create({"data": data}), encoder, tmp_path / "dpo")
    assert (kept, left_out) == ([fits] * 10, 1)
    assert preference.read(tmp_path / "dpo" / "kept.parquet") == kept
    assert pq.ParquetFile(tmp_path / "dpo" / "kept.parquet").schema_arrow.names == ["row", "id"]
    (bad,) = map(json.loads, (tmp_path / "dpo" / "quarantine.jsonl").read_text().splitlines())
    assert bad == lengths.unfit(bad["reason"]).at("pairs.parquet", 9, corpus[1].id).record()
    assert bad["reason"].startswith("too long: ")

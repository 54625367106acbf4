"""HS-DPO for real: pairs with texts and pictures, the reference asked once, a kill and an exact resume."""

import json
import shutil
from dataclasses import replace
from functools import cache

import pyarrow.parquet as pq
import pytest
from launching import do, kill_when, start

from gr_vl import dialects
from gr_vl.augment import preference
from gr_vl.checkpoints import MARK
from gr_vl.data import io
from gr_vl.encoding import Encoder
from gr_vl.schema import Modality, Task

pytestmark = [pytest.mark.verl, pytest.mark.timeout(900)]
RECIPE = "guardreasoner"
GUARD = dialects.get(RECIPE)
STEPS = 4


def pair_of(sample, index):
    label = sample.labels[Task.PROMPT]
    wrong = replace(sample, taught={**(sample.taught or {}), Task.PROMPT: Task.PROMPT.other(label)})
    right = replace(sample, taught={**(sample.taught or {}), Task.PROMPT: label})
    # Of four answers one to three are right.
    return preference.Preference(
        sample, Task.PROMPT, GUARD.target(right), GUARD.target(wrong), True, 1 + index % 3, 3 - index % 3
    )


def settings(run):
    return [
        f"model.path={run}/base/model",
        "data.train_batch_size=8",
        "data.micro_batch_size_per_gpu=8",
        f"trainer.total_training_steps={STEPS}",
        "trainer.save_freq=2",
    ]


def prepare(folder):
    do("data", folder, "gr_vl.data.train=60", "gr_vl.data.validation=12", "gr_vl.data.test=12", recipe=RECIPE)
    do("base", folder, recipe=RECIPE)
    samples = io.read(folder / "data" / "train.parquet")
    # 30 pairs are no multiple of the batch.
    found = preference.weighted([pair_of(sample, index) for index, sample in enumerate(samples[:30])], 0.2)
    preference.write(folder / "pairs" / "pairs.parquet", found, dialects.spec("guardreasoner"))
    # 10 more to measure by, which are no multiple of the batch either.
    held_out = [pair_of(sample, index) for index, sample in enumerate(samples[30:40])]
    preference.write(folder / "pairs" / "held_out.parquet", held_out, dialects.spec("guardreasoner"))
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """DPO from start to end."""
    run = tmp_path_factory.mktemp("whole")
    pairs = prepare(run)
    do("dpo", run, *settings(run), recipe=RECIPE)
    return run, pairs


@pytest.fixture(scope="module")
def resumed(whole, tmp_path_factory):
    """The same, killed after its checkpoint of step 2 and then resumed."""
    run = tmp_path_factory.mktemp("resumed")
    for name in ("data", "base", "pairs"):
        shutil.copytree(whole[0] / name, run / name)
    whole_checkpoint = run / "dpo" / "checkpoints" / "global_step_2" / MARK
    kill_when(start("dpo", run, *settings(run), recipe=RECIPE), whole_checkpoint.is_file)
    before = (run / "dpo" / "reference.parquet").stat().st_mtime_ns
    do("dpo", run, *settings(run), recipe=RECIPE)
    assert (run / "dpo" / "reference.parquet").stat().st_mtime_ns == before, "the reference was asked twice"
    return run


def counts(run):
    return json.loads((run / "dpo" / "stage.json").read_text())["counts"]


def steps(run):
    rows = [
        json.loads(line) for file in sorted(run.glob("dpo/metrics-*.jsonl")) for line in file.read_text().splitlines()
    ]
    return {row["step"]: row["data"] for row in rows}


def test_the_first_step_pays_log_two_times_alpha_and_every_loss_is_the_sum_of_its_parts(whole):
    found = steps(whole[0])
    assert sorted(found) == [1, 2, 3, 4]
    assert 0.8 * 0.6931 <= found[1]["dpo/loss"] <= 1.2 * 0.6932
    assert found[1]["dpo/margin"] == pytest.approx(0, abs=1e-4)
    for row in found.values():
        assert row["train/loss"] == pytest.approx(row["dpo/loss"] + 2 * row["dpo/nll"], rel=1e-4)


@cache
def loaded(folder):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    # verl writes bfloat16 into the configuration of a model in float32.
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="float32").eval()
    return model, Encoder(AutoProcessor.from_pretrained(folder), GUARD)


def sum_of(folder, pair, name):
    """Log-probability of one answer of a pair by a plain forward pass, in nats."""
    torch = pytest.importorskip("torch")
    model, encoder = loaded(folder)
    row = encoder.with_answer(encoder.prompt(pair.sample), getattr(pair, name))
    ids = torch.tensor([row.ids])
    with torch.no_grad():
        kind = (ids == model.config.image_token_id).int()
        logits = model(input_ids=ids, mm_token_type_ids=kind, **row.features).logits[0].log_softmax(-1)
    start = row.prompt_length
    return logits[start - 1 : -1].gather(1, ids[0, start:, None]).sum().item()


def test_the_reference_is_the_start_models_own_log_probability(whole):
    run, pairs = whole
    table = pq.read_table(run / "dpo" / "reference.parquet").to_pylist()
    assert len(table) == len(pairs)
    kinds = {pair.sample.modality: index for index, pair in enumerate(pairs)}
    assert set(kinds) == set(Modality)
    for index in kinds.values():
        for name in ("chosen", "rejected"):
            wanted = sum_of(run / "base" / "model", pairs[index], name)
            assert table[index][name] == pytest.approx(wanted, rel=1e-4)


def test_the_held_out_margin_is_the_change_of_log_odds_times_beta(whole, resumed):
    run = whole[0]
    found = counts(run)["held_out"]
    pairs = preference.read(run / "pairs" / "held_out.parquet")
    columns = [
        [sum_of(run / model / "model", pair, name) for pair in pairs]
        for model in ("dpo", "base")
        for name in ("chosen", "rejected")
    ]
    # beta of the overlay is 0.1.
    margins = [0.1 * ((c - rc) - (r - rr)) for c, r, rc, rr in zip(*columns, strict=True)]
    assert found["n"] == 10
    assert found["margin"] == pytest.approx(sum(margins) / 10, rel=1e-3, abs=1e-5)
    assert found["accuracy"] == sum(margin > 0 for margin in margins) / 10
    assert counts(resumed)["held_out"] == pytest.approx(found, rel=1e-3, abs=1e-5)


def test_a_resumed_run_is_the_run_that_was_never_killed(whole, resumed):
    one, two = steps(whole[0]), steps(resumed)
    for step in range(1, STEPS + 1):
        for name in ("train/loss", "dpo/margin", "train/lr"):
            assert two[step][name] == pytest.approx(one[step][name], rel=1e-4, abs=1e-6), (step, name)


def test_the_trained_model_is_an_ordinary_folder(whole):
    run, pairs = whole
    assert (run / "dpo" / "model" / "config.json").is_file()
    assert counts(run)["pairs"]["n"] == len(pairs)
    assert counts(run)["quarantined"] == 0

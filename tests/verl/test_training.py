"""Every stage that trains or samples, for real: Ray, verl, FSDP2 over gloo, our rollout servers, kills and resumes."""

import json
from collections import Counter
from hashlib import sha256

import pytest
from launching import MINE, do, last_words, metrics

from gr_vl import dialects
from gr_vl.clipping import ClipSchedule
from gr_vl.data import io
from gr_vl.encoding import Encoder
from gr_vl.evaluation.answers import read_answers
from gr_vl.schema import Label, Modality, Task

pytestmark = [pytest.mark.verl, pytest.mark.timeout(900)]
TERMS = ("accuracy", "format", "length", "parse_failure", "finished")


def training(attempt):
    """The rows of training steps; validation at the end writes one more."""
    return [row for row in attempt if "train/loss" in row["data"]]


def counts(folder):
    return json.loads((folder / "stage.json").read_text())["counts"]


def test_sft_goes_on_after_a_kill_where_its_checkpoint_was(sft):
    first, second = map(training, metrics(sft / "sft"))
    assert [row["step"] for row in first][:2] == [1, 2]
    assert [row["step"] for row in second] == [3, 4]
    # Cosine from 2e-3 to 0 in 4 steps; the warm-up of 5% is no whole step.
    rates = [row["data"]["train/lr"] for row in [*first[:2], *second]]
    assert rates == pytest.approx([1.7071e-3, 1e-3, 2.9289e-4, 0.0], rel=1e-3, abs=1e-12)
    assert all(0 < row["data"]["train/loss"] < 8 for row in [*first, *second])
    assert second[-1]["data"]["train/loss"] < first[0]["data"]["train/loss"]


@pytest.mark.parametrize("stage", ["sft", "rl"])
def test_a_trained_model_is_an_ordinary_folder(rl, stage):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = rl / stage / "model"
    model = AutoModelForImageTextToText.from_pretrained(folder)
    base = AutoModelForImageTextToText.from_pretrained(rl / "base" / "model").state_dict()
    encoder = Encoder(AutoProcessor.from_pretrained(folder), dialects.get("guardreasoner_vl"))
    prompt = encoder.prompt(next(sample for sample in io.read(rl / "data" / "test.parquet") if sample.images))
    assert prompt.ids
    assert model.state_dict().keys() == base.keys()
    assert any((weight != base[name]).any() for name, weight in model.state_dict().items())


@pytest.mark.parametrize(("stage", "most"), [("base", 7_056), ("sft", 1_764), ("rl", 3_136)])
def test_a_model_folder_carries_the_bounds_of_image_pixels_that_its_stage_trained_with(rl, stage, most):
    from transformers import AutoProcessor

    size = AutoProcessor.from_pretrained(rl / stage / "model").image_processor.size
    assert (size.shortest_edge, size.longest_edge) == (784, most)


def test_mining_answers_every_sample_and_keeps_hard_ones(mined):
    answers = read_answers(mined / "mine" / "answers.jsonl")
    train = {sample.id: sample for sample in io.read(mined / "data" / "train.parquet")}
    hard = io.read(mined / "mine" / "hard.parquet")
    assert Counter(Counter(answer.id for answer in answers).values()) == {2: 12}
    assert {answer.index for answer in answers} == {0, 1}
    # Answers to one sample are drawn apart: at temperature 1, after 4 steps of training, no two of them are alike.
    assert len({(answer.id, answer.text) for answer in answers}) == 24
    assert all(0 < answer.tokens <= 24 for answer in answers)
    assert all(train[sample.id] == sample for sample in hard)
    assert {sample.id for sample in hard} <= {answer.id for answer in answers}
    assert counts(mined / "mine")["sampled"] == 12


def test_mining_goes_on_after_a_kill_on_two_servers_without_making_an_answer_twice(mined, tmp_path):
    whole = (mined / "mine" / "answers.jsonl").read_bytes().splitlines(keepends=True)
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("data", "base", "sft"):
        (tmp_path / name).symlink_to(mined / name)
    # What a kill leaves: some whole lines and a torn one.
    (folder / "answers.jsonl").write_bytes(b"".join(whole[:9]) + whole[9][:30])
    do("mine", tmp_path, *MINE, "gr_vl.gpus_per_node=2")
    again = (folder / "answers.jsonl").read_bytes().splitlines(keepends=True)
    assert again[:9] == whole[:9]
    # The other 15 were drawn anew, in another batch and by two servers, from the same seeds.
    assert again == whole
    assert (folder / "hard.parquet").read_bytes() == (mined / "mine" / "hard.parquet").read_bytes()


def test_pairs_carry_the_or_of_their_labels_all_the_way_into_the_reward(paired):
    from omegaconf import OmegaConf
    from transformers import AutoProcessor

    from gr_vl.verl_ext.datasets import RLData

    hard = {sample.id: sample for sample in io.read(paired / "mine" / "hard.parquet")}
    path = paired / "concat" / "train.parquet"
    samples = io.read(path)
    config = OmegaConf.create({"custom_cls": {"dialect": "guardreasoner_vl"}})
    rows = RLData(str(path), None, config, AutoProcessor.from_pretrained(paired / "sft" / "model"))
    pairs = [(sample, rows[index]) for index, sample in enumerate(samples) if sample.source == "concat"]
    assert len(pairs) == counts(paired / "concat")["pairs"] == round(len(hard) * 0.4 / 0.6)
    assert len(rows) == len(samples)
    seen = set()
    for sample, row in pairs:
        parts = [hard[name] for name in sample.id.split("#")[0].split("+")]
        truth = row["reward_model"]["ground_truth"]
        harmful = any(part.labels[Task.PROMPT] == Label.HARMFUL for part in parts)
        assert truth["prompt"] == sample.labels[Task.PROMPT] == ("harmful" if harmful else "unharmful")
        # Nothing to judge counts as unharmful in the dialect.
        harmful = any(part.response is not None and part.labels[Task.RESPONSE] == Label.HARMFUL for part in parts)
        assert truth["response"] == ("harmful" if harmful else "unharmful")
        seen.add(tuple(truth.values()))
    assert len(seen) > 1


def test_rl_goes_on_after_a_kill_and_covers_every_step_once_more(rl):
    first, second = metrics(rl / "rl")
    assert [row["step"] for row in first][:2] == [1, 2]
    assert [row["step"] for row in second] == [3, 4]
    assert (rl / "rl" / "checkpoints" / "latest_checkpointed_iteration.txt").read_text().strip() == "4"


def test_the_clip_range_inside_the_workers_is_the_schedule_before_and_after_a_resume(rl):
    schedule = ClipSchedule("paper", 0.2)
    for attempt in metrics(rl / "rl"):
        for row in attempt:
            assert row["data"]["actor/clip_range"] == pytest.approx(schedule.at(row["step"], 4), abs=1e-9)
    # By hand: 0.2 x 3/4, x 2/4, x 1/4, x 0/4.
    seen = [data["actor/clip_range"] for _, data in sorted(last_words(rl / "rl").items())]
    assert seen == pytest.approx([0.15, 0.075, 0.01875, 0.0], abs=1e-9)
    # Equal bounds are one number.
    assert "actor/clip_range_high" not in last_words(rl / "rl")[1]


def test_rl_reports_every_term_of_the_reward(rl):
    for data in last_words(rl / "rl").values():
        for term in TERMS:
            assert 0 <= data[f"reward/{term}"] <= 1
        for term in ("total", "accuracy", "token_price"):
            assert data[f"reward/term/{term}_std"] >= 0
            assert 0 <= data[f"reward/term/{term}_zero_spread"] <= 1
        assert data["reward/term/accuracy_zero_spread"] == 1
        assert data["reward/term/total"] == pytest.approx(data["critic/score/mean"], abs=1e-6)
        assert data["response_length/max"] <= 48
        assert data["reward/format"] <= 1 - data["reward/parse_failure"]
        # Nothing is right, so the reward is the price of the tokens alone.
        assert data["reward/format"] == 0
        assert data["critic/score/mean"] == pytest.approx(-0.4 * data["reward/length"], abs=1e-6)


def test_rl_moves_the_weights_while_its_clip_range_is_open(rl):
    import torch
    from transformers import AutoModelForImageTextToText

    assert max(last_words(rl / "rl")[step]["actor/grad_norm"] for step in (1, 2, 3)) > 0
    before, after = (
        AutoModelForImageTextToText.from_pretrained(rl / stage / "model").state_dict() for stage in ("sft", "rl")
    )
    assert not all(torch.equal(before[name], after[name]) for name in before)


def test_rollouts_of_every_step_are_on_disk_with_their_truth(rl):
    from transformers import AutoProcessor

    samples = {s.id: s for s in io.read(rl / "concat" / "train.parquet")}
    assert {sample.modality for sample in samples.values()} >= {Modality.TEXT, Modality.TEXT_IMAGE}
    truths = [dialects.get("guardreasoner_vl").expected(sample) for sample in samples.values()]
    encoder = Encoder(AutoProcessor.from_pretrained(rl / "sft" / "model"), dialects.get("guardreasoner_vl"))
    tokenizer = encoder.processor.tokenizer
    # The prompts that verl renders are the ones that SFT and evaluation encode.
    prompts = {tokenizer.decode(encoder.prompt(sample).ids, skip_special_tokens=True) for sample in samples.values()}
    for step in range(1, 5):
        lines = (rl / "rl" / "rollouts" / f"{step}.jsonl").read_text().splitlines()
        assert len(lines) == 4 * 4
        for line in map(json.loads, lines):
            assert line["step"] == step
            assert line["gts"] in truths
            assert line["input"] in prompts
            sample = samples[line["prompt"]["id"]]
            assert line["gts"] == dialects.get("guardreasoner_vl").expected(sample)
            assert line["prompt"]["images"] == [sha256(image).hexdigest()[:16] for image in sample.images]
            assert line["terms"].keys() == {"total", "accuracy", "token_price"}
            assert 0 < line["reasoning_tokens"] <= line["output_tokens"] <= 48


def test_evaluation_writes_answers_and_scores_of_each_model(rl):
    models = ["~gr_vl.eval.models.rl_eco", "~gr_vl.eval.models.base"]
    room = "actor_rollout_ref.rollout.response_length=24"
    do("eval", rl, "gr_vl.generation.samples=12", room, *models)
    scores = counts(rl / "eval")["scores"]
    test = io.read(rl / "data" / "test.parquet")[:12]
    assert scores.keys() == {"sft", "rl"}
    for name in scores:
        answers = read_answers(rl / "eval" / name / "test.jsonl")
        assert [(answer.id, answer.index) for answer in answers] == [(sample.id, 0) for sample in test]
        assert scores[name]["n"] == 12
        assert 0 <= scores[name]["mean_f1"] <= 1
        assert scores[name]["mean_output_tokens"] == pytest.approx(sum(a.tokens for a in answers) / 12, abs=0.06)

"""The reward manager as verl's reward workers hold it, in this process: no Ray."""

import asyncio
import subprocess
import sys
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from gr_vl import compose
from gr_vl.schema import FailureReason
from rewards import Reading, SafetyReward

pytestmark = pytest.mark.verl
LABELS = {"prompt": "harmful", "response": "unharmful"}
GOOD = "<think>\n# Task 1\na\n# Task 2\nb\n</think>\n<result>\nAnswers:\nRequest: harmful\nResponse: harmful\n</result>"


def manager(encoder, **reward):
    from gr_vl.verl_ext.reward_manager import GuardRewardManager

    config = compose.stage("guardreasoner_vl", "rl", ["model=tiny"]).config
    OmegaConf.update(config, "gr_vl.reward", reward, merge=False)
    return GuardRewardManager(config, encoder.processor.tokenizer)


def score(manager, text, *, ended=True):
    import numpy as np
    import torch
    from verl import DataProto

    ids = manager.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids += [manager.tokenizer.eos_token_id] * ended
    responses = torch.tensor([[*ids, 0, 0]])
    mask = torch.tensor([[1, 1, 1] + [1] * len(ids) + [0, 0]])
    truth = np.array([{"ground_truth": LABELS}], dtype=object)
    tensors = {"responses": responses, "attention_mask": mask}
    data = DataProto.from_dict(tensors=tensors, non_tensors={"reward_model": truth})
    return asyncio.run(manager.run_single(data)), len(ids)


def test_terms_lengths_and_reasons_travel_as_numbers(encoder):
    guard = manager(encoder, preset="token_price", budget=1000)
    result, tokens = score(guard, GOOD)
    told = result["reward_extra_info"]
    assert (told["output_tokens"], told["characters"], told["finished"], told["timeouts"]) == (tokens, len(GOOD), 1, 0)
    assert 0 < told["reasoning_tokens"] < tokens
    assert told["term/accuracy"] == told["accuracy"] == 0.5
    assert told["term/token_price"] == pytest.approx(-0.45 * told["reasoning_tokens"] / 1000)
    assert result["reward_score"] == told["term/accuracy"] + told["term/token_price"]
    assert [told[f"failure/{reason}"] for reason in FailureReason] == [0] * len(FailureReason)
    broken = score(guard, "<think>a", ended=False)[0]["reward_extra_info"]
    assert [broken[name] for name in ("parse_failure", "failure/unclosed_reasoning", "finished")] == [1, 1, 0]
    # Every answer of a step tells the same names.
    assert broken.keys() == told.keys()


@pytest.mark.parametrize(
    ("preset", "travels"), [pytest.param("token_price", False, id="alone"), pytest.param("bounded", True, id="a group")]
)
def test_only_what_a_group_is_scored_from_travels(encoder, preset, travels):
    told = score(manager(encoder, preset=preset, budget=1000), GOOD)[0]["reward_extra_info"]
    assert ("reading" in told) is travels
    assert told["term/total"] == sum(value for name, value in told.items() if name.startswith("term/")) / 2


@pytest.mark.parametrize(
    ("preset", "again"), [pytest.param("token_price", 0, id="alone"), pytest.param("bounded", 2, id="a group")]
)
def test_a_step_scores_again_only_what_its_group_decides(encoder, monkeypatch, preset, again):
    import transfer_queue

    from gr_vl.verl_ext.step_rewards import StepRewards

    guard = manager(encoder, preset=preset, budget=1000)
    infos = [score(guard, text)[0]["reward_extra_info"] for text in (GOOD, "<think>a")]
    rows = {"extra_fields": [{"reward_extra_info": info} for info in infos], "extra_info": [{}, {}]}
    monkeypatch.setattr(transfer_queue, "kv_batch_get", lambda **_: rows)
    monkeypatch.setattr(StepRewards, "_replace", lambda *_: None)
    scored, group = [], SafetyReward.score_group
    monkeypatch.setattr(SafetyReward, "score_group", lambda self, all: scored.extend(all) or group(self, all))
    steps = StepRewards(guard.reward, None)
    batch = SimpleNamespace(keys=["p_0_0", "p_1_0"], tags=[{}, {}], partition_id="p")
    metrics = steps.settle(batch)
    assert len(scored) == again
    facts = steps.facts(batch.keys)
    assert facts["failure"] == ["", "unclosed_reasoning"]
    assert metrics["reward/term/total"] == pytest.approx(sum(one["total"] for one in facts["terms"]) / 2)
    if not again:
        assert [one["total"] for one in facts["terms"]] == [info["term/total"] for info in infos]


def test_a_group_can_be_scored_from_what_travels(encoder):
    guard = manager(encoder, preset="bounded", budget=10)
    right = GOOD.replace("Response: harmful", "Response: unharmful")
    told = [score(guard, text)[0]["reward_extra_info"] for text in (right, GOOD)]
    readings = [Reading.unpack(one["reading"]) for one in told]
    share = min(told[0]["reasoning_tokens"] / 10, 1)
    totals = [got.total for got in guard.reward.score_group(readings)]
    assert totals == pytest.approx([1 - 0.2 * 0.5 * share, 0.5 - 0.2 * 0.5 * share])


TERM = """
import time
from dataclasses import dataclass
@dataclass(frozen=True)
class Slow:
    def __call__(self, answer):
        {}
        return 1.0
"""


def test_an_answer_over_its_time_limit_is_counted_and_keeps_its_reward(encoder, tmp_path):
    (tmp_path / "slow.py").write_text(TERM.format("time.sleep(0.05)"))
    slow = {"slow": {"file": str(tmp_path / "slow.py")}}
    result, _ = score(manager(encoder, terms=slow, time_limit=0.01), GOOD)
    assert (result["reward_score"], result["reward_extra_info"]["timeouts"]) == (1, 1)


def test_a_term_that_never_returns_ends_its_worker_with_its_stack(tiny, tmp_path):
    (tmp_path / "slow.py").write_text(TERM.format("while True: pass"))
    code = f"""
import sys
sys.path.insert(0, {str(__file__).rpartition("/")[0]!r})
from types import SimpleNamespace
from transformers import AutoTokenizer
from test_reward_manager import GOOD, manager, score
from gr_vl.verl_ext import reward_manager
reward_manager.STALL = 0.2
encoder = SimpleNamespace(processor=SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained({str(tiny)!r})))
score(manager(encoder, terms={{"slow": {{"file": {str(tmp_path / "slow.py")!r}}}}}, time_limit=0.1), GOOD)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.returncode == 1
    assert "slow.py" in process.stderr

"""What sampler and trainer are compared by, and which planted faults that finds. A real tiny model; no Ray."""

import math
from types import SimpleNamespace

import pytest
import torch

from gr_vl.errors import StageError

pytestmark = pytest.mark.verl
LIMIT = 1e-4


@pytest.fixture(scope="module")
def belief(encoder):
    # First, as in every process of a stage: verl imports our plugin, and that the module under test.
    pytest.importorskip("verl")
    from gr_vl.verl_ext.belief import Belief

    return Belief(every=10, log_prob_limit=LIMIT, processor=encoder.processor)


def judged(belief, trainer, sampler, mask):
    """The metrics that a step logs about these log-probabilities."""
    from gr_vl.verl_ext.belief import gap_metrics

    metrics = {f"actor/{name}": metric.aggregate() for name, metric in gap_metrics(trainer, sampler, mask).items()}
    belief.judge(metrics, step=1)
    return metrics


def test_the_gap_is_that_of_answer_tokens_alone(belief):
    mask = torch.tensor([[True, True, False]])
    metrics = judged(belief, torch.tensor([[-1.0, -2.0, 5.0]]), torch.tensor([[-1.5, -2.0, 0.0]]), mask)
    assert metrics == {"belief/log_prob_gap_mean": 0.25, "belief/log_prob_gap_max": 0.5, "belief/red": 1.0}
    nothing = judged(belief, torch.zeros(1, 3), torch.ones(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    assert nothing["belief/red"] == 0.0


def test_what_is_not_a_number_is_red(belief):
    metrics = judged(belief, torch.tensor([[math.nan]]), torch.zeros(1, 1), torch.tensor([[True]]))
    assert (metrics["belief/log_prob_gap_mean"], metrics["belief/red"]) == (math.inf, 1.0)


@pytest.fixture(scope="module")
def sampled(tiny, encoder, corpus):
    """A model, a sample with a picture and an answer to it with the log-probabilities that the sampler noted."""
    from transformers import AutoModelForImageTextToText

    from gr_vl.answers import Ending
    from gr_vl.decoding import decode
    from gr_vl.sampling import Draw, SeededSampler

    model = AutoModelForImageTextToText.from_pretrained(tiny, dtype=torch.float32, attn_implementation="sdpa").eval()
    prompt = encoder.prompt(next(sample for sample in corpus if sample.images))
    ids = torch.tensor([prompt.ids])
    inputs = typed(encoder, ids) | {"attention_mask": torch.ones_like(ids)} | prompt.features
    ended = [Ending(encoder.processor.tokenizer)]
    (row,) = decode(model, inputs, [0], SeededSampler([Draw(1)], 12, []), [12], ended)
    return model, prompt, row


def typed(encoder, ids):
    image = encoder.processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    return {"input_ids": ids, "mm_token_type_ids": (ids == image).int()}


@torch.inference_mode()
def as_trained(sampled, encoder, *, features=None, padding=0, padded_mask=True):
    """The answer's log-probabilities from one pass over prompt and answer, with `padding` tokens before them."""
    model, prompt, row = sampled
    pad = [encoder.processor.tokenizer.pad_token_id] * padding
    ids = torch.tensor([[*pad, *prompt.ids, *row.tokens]])
    inputs = typed(encoder, ids) | {"attention_mask": torch.ones_like(ids)}
    inputs["attention_mask"][:, :padding] = 0 if padded_mask else 1
    features = prompt.features if features is None else features
    inputs["position_ids"] = model.model.get_rope_index(**inputs, image_grid_thw=prompt.features["image_grid_thw"])[0]
    logits = model(**inputs, **features).logits[0, -len(row.tokens) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(row.tokens)[:, None]).T


@pytest.mark.parametrize(
    ("fault", "red"),
    [
        pytest.param({}, 0.0, id="nothing wrong"),
        pytest.param({"padding": 7}, 0.0, id="padding on the left and masked"),
        pytest.param({"padding": 7, "padded_mask": False}, 1.0, id="padding where the model does not expect it"),
        pytest.param({"features": {}}, 1.0, id="the picture is dropped on the trainer's side"),
    ],
)
def test_a_fault_on_the_trainers_side_is_red(belief, sampled, encoder, fault, red):
    trainer, sampler = as_trained(sampled, encoder, **fault), torch.tensor([sampled[2].log_probs])
    assert judged(belief, trainer, sampler, torch.ones_like(sampler, dtype=torch.bool))["belief/red"] == red


def test_stale_sampler_weights_are_red(belief, sampled, encoder):
    model = sampled[0]
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1e-3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    trainer, sampler = as_trained(sampled, encoder), torch.tensor([sampled[2].log_probs])
    model.load_state_dict(before)
    assert judged(belief, trainer, sampler, torch.ones_like(sampler, dtype=torch.bool))["belief/red"] == 1.0


def test_answers_of_older_weights_are_named(belief, monkeypatch):
    def batch(*versions):
        return SimpleNamespace(tags=[{"min_global_steps": v, "max_global_steps": v} for v in versions])

    belief.versions(batch(4, 4), step=5)
    with pytest.raises(StageError, match=r"stale sampler weights: answers of step 5 .* \{3, 4\}"):
        belief.versions(batch(4, 3), step=5)
    monkeypatch.setattr(belief, "lag", 2)
    belief.versions(batch(4, 2), step=5)
    for unsampled in (1, 5):
        with pytest.raises(StageError, match=r"stale sampler weights"):
            belief.versions(batch(4, unsampled), step=5)


@pytest.fixture
def row(sampled):
    from gr_vl.verl_ext.belief import pictures

    _, prompt, _ = sampled
    return {
        "prompts": torch.tensor(prompt.ids),
        "multi_modal_inputs": dict(prompt.features),
        "extra_fields": pictures(prompt.features),
        "extra_info": {"id": "sample-7"},
    }


def test_a_row_whose_sides_agree_passes(belief, row):
    belief._compare("a", row)
    # vLLM tells nothing about its pictures; the prompt's places are still counted.
    belief._compare("a", row | {"extra_fields": {}})


def test_a_picture_that_the_trainer_does_not_get_is_named(belief, row):
    with pytest.raises(StageError, match=r"picture lost: the prompt of sample-7 holds 36 patches, the trainer gets 0"):
        belief._compare("a", row | {"multi_modal_inputs": {}})


def test_another_picture_than_the_samplers_is_named(belief, row):
    other = dict(row["multi_modal_inputs"])
    other["pixel_values"] = other["pixel_values"].flip(0)
    with pytest.raises(StageError, match=r"sampler and trainer saw different pictures of sample-7: 36 patches"):
        belief._compare("a", row | {"multi_modal_inputs": other})


def test_a_model_that_reads_text_alone_has_no_pictures_to_compare(belief):
    text = type(belief)(every=1, log_prob_limit=LIMIT, processor=None)
    # Nothing of a batch is looked at.
    assert text.inspect(batch=None, step=1, workers=None, ranks=1) == {}

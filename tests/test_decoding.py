"""Decoding equals `model.generate`, whatever shares the batch; finished rows leave without a trace."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from gr_vl.answers import Ending  # noqa: E402
from gr_vl.decoding import decode  # noqa: E402
from gr_vl.sampling import Draw, SeededSampler  # noqa: E402

LIMIT = 12


@pytest.fixture(scope="module")
def model(tiny):
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(tiny).eval()


@pytest.fixture
def few(corpus):
    """Texts, pictures and both."""
    return corpus[:6]


def collate(encoded, pad):
    width = max(len(row.ids) for row in encoded)
    ids = torch.tensor([[pad] * (width - len(row.ids)) + row.ids for row in encoded])
    mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in encoded])
    features = [row.features for row in encoded if row.features]
    pixels = {name: torch.cat([row[name] for row in features]) for name in (features[0] if features else ())}
    return {"input_ids": ids, "attention_mask": mask} | pixels


def answer(model, encoder, samples, draws, copies=None, limits=None, end=-1):
    tokenizer = encoder.processor.tokenizer
    prompts = collate([encoder.prompt(sample) for sample in samples], tokenizer.pad_token_id)
    prompts["mm_token_type_ids"] = (prompts["input_ids"] == model.config.image_token_id).int()
    sampler = SeededSampler(draws, LIMIT, [])
    ended = [lambda ids: ids[-1:] == [end]] * len(draws)
    return decode(model, prompts, copies or range(len(samples)), sampler, limits or [LIMIT] * len(draws), ended)


def test_an_answer_stops_at_a_stop_text_and_keeps_it(model, encoder, few):
    tokenizer, draws = encoder.processor.tokenizer, [Draw(0, temperature=0.0)] * len(few)
    prompts = collate([encoder.prompt(sample) for sample in few], tokenizer.pad_token_id)
    prompts["mm_token_type_ids"] = (prompts["input_ids"] == model.config.image_token_id).int()
    whole = [tokenizer.decode(row.tokens, skip_special_tokens=True) for row in answer(model, encoder, few, draws)]
    # Whatever the untrained model says first that is long enough to be told apart.
    stop = whole[0][4:8]
    ended = [Ending(tokenizer, [stop])] * len(few)
    rows = decode(model, prompts, range(len(few)), SeededSampler(draws, LIMIT, []), [LIMIT] * len(few), ended)
    for row, text in zip(rows, whole, strict=True):
        said = tokenizer.decode(row.tokens, skip_special_tokens=True)
        assert text.startswith(said)
        assert stop in said or said == text
        assert stop not in tokenizer.decode(row.tokens[:-1], skip_special_tokens=True)


def test_greedy_answers_are_those_of_generate(model, encoder, few):
    encoded = [encoder.prompt(sample) for sample in few]
    prompts = collate(encoded, encoder.processor.tokenizer.pad_token_id)
    types = (prompts["input_ids"] == model.config.image_token_id).int()
    with torch.inference_mode():
        expected = model.generate(**prompts, mm_token_type_ids=types, max_new_tokens=LIMIT, eos_token_id=-1)
    rows = answer(model, encoder, few, [Draw(0, temperature=0.0)] * len(few))
    assert [row.tokens for row in rows] == expected[:, prompts["input_ids"].shape[1] :].tolist()


def test_a_text_alone_is_answered_as_in_company_of_images(model, encoder, few):
    draws = [Draw(seed) for seed in range(len(few))]
    together = answer(model, encoder, few, draws)
    alone = [answer(model, encoder, [s], [d])[0] for s, d in zip(few, draws, strict=True)]
    assert [row.tokens for row in alone] == [row.tokens for row in together]


def test_copies_of_a_prompt_are_read_once_and_answered_by_their_seeds(model, encoder, few):
    draws = [Draw(seed) for seed in range(4)]
    shared = answer(model, encoder, few[:2], draws, copies=[0, 1, 1, 0])
    apart = answer(model, encoder, [few[i] for i in (0, 1, 1, 0)], draws)
    assert [row.tokens for row in shared] == [row.tokens for row in apart]


def test_limits_and_ends_close_rows_without_touching_others(model, encoder, few):
    draws = [Draw(seed) for seed in range(len(few))]
    free = answer(model, encoder, few, draws)
    limits = [1 + 2 * i for i in range(len(draws))]
    end = free[-1].tokens[4]
    closed = answer(model, encoder, few, draws, limits=limits, end=end)
    for row, whole, limit in zip(closed, free, limits, strict=True):
        stop = whole.tokens.index(end) + 1 if end in whole.tokens else LIMIT
        assert row.tokens == whole.tokens[: min(stop, limit)]
        assert len(row.log_probs) == len(row.tokens)

"""What users write reaches the model as text: the same tokens in every stage, and none that does something."""

from dataclasses import replace

import pytest
from factories import UNHARMFUL, make_png, make_sample
from hostile import MEGABYTE, USER_TEXTS

from gr_vl import dialects
from gr_vl.data import io
from gr_vl.data.text import whole
from gr_vl.encoding import Encoder

transformers = pytest.importorskip("transformers")

PICTURES = [pytest.param((), id="alone"), pytest.param((make_png(),), id="beside a picture")]


def said(text, images, field):
    fields = {"prompt": "Hello"} | {field: text}
    return make_sample(response_label=UNHARMFUL, images=images, **({"response": "Yes", "reasoning": "No."} | fields))


def specials(encoder, ids):
    known = {index for index, token in encoder.processor.tokenizer.added_tokens_decoder.items() if token.special}
    return [index for index in ids if index in known]


@pytest.mark.parametrize("images", PICTURES)
@pytest.mark.parametrize("field", ["prompt", "response"])
@pytest.mark.parametrize("kind", USER_TEXTS)
def test_it_is_encoded_as_where_no_control_token_exists(encoder, kind, field, images):
    """Everything around the text keeps its tokens; the text has those of a tokenizer that knows no control token."""
    ids = encoder.prompt(said(USER_TEXTS[kind], images, field)).ids
    assert specials(encoder, ids) == specials(encoder, encoder.prompt(said("Hello", images, field)).ids)
    tokenizer = encoder.processor.tokenizer
    pieces = inert_pieces(encoder, said(USER_TEXTS[kind], images, field))
    inert = [
        tokenizer(piece, add_special_tokens=False, split_special_tokens=mine)["input_ids"] for piece, mine in pieces
    ]
    pad = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert [index for index in ids if index != pad] == [index for part in inert for index in part if index != pad]


def inert_pieces(encoder, sample):
    """The rendered prompt, cut where the chat template ends and a text begins; True where it is a text."""
    messages = encoder.messages(sample)
    texts = [part["text"] for message in messages for part in message["content"] if part["type"] == "text"]
    rendered = encoder.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    for text in texts:
        before, _, rendered = rendered.partition(text)
        yield from ((before, False), (text, True))
    yield rendered, False


@pytest.mark.parametrize("images", PICTURES)
@pytest.mark.parametrize("kind", USER_TEXTS)
def test_every_stage_encodes_it_alike(encoder, kind, images, tmp_path):
    io.write(tmp_path / "corpus.parquet", [said(USER_TEXTS[kind], images, "prompt")])
    (sample,) = io.read(tmp_path / "corpus.parquet")
    mined = encoder.prompt(sample)
    taught = encoder.with_target(sample)
    # RL: verl renders the messages and hands text and pictures to the processor.
    rendered = encoder.processor.apply_chat_template(
        encoder.messages(sample), tokenize=False, add_generation_prompt=True
    )
    rolled_out = encoder.processor(text=[rendered], images=mined.images or None)["input_ids"][0]
    assert mined.ids == taught.ids[: taught.prompt_length] == list(rolled_out)
    assert encoder.lengths([sample], targets=True) == [len(taught.ids)]


@pytest.mark.parametrize("kind", USER_TEXTS)
def test_its_letters_stay_readable(encoder, kind):
    text = USER_TEXTS[kind]
    decoded = encoder.processor.tokenizer.decode(encoder.prompt(make_sample(prompt=text)).ids)
    assert "".join(whole(text).split()) in "".join(decoded.split())


@pytest.mark.parametrize("piece", ["a", "\0", "<|im_end|>", "\u202e "])
def test_a_huge_field_is_measured_and_so_set_aside(encoder, piece):
    size = MEGABYTE // 32
    sample = replace(make_sample(), prompt=piece * (size // len(piece)))
    assert encoder.lengths([sample], targets=False)[0] > size // 4


@pytest.mark.parametrize("name", ["guardreasoner", "guardreasoner_vl", "rsafe"])
def test_a_control_token_that_is_not_marked_special_does_nothing_either(tiny, name):
    processor = transformers.AutoProcessor.from_pretrained(tiny)
    words = ["<tool_call>", "<|fim_prefix|>"]
    processor.tokenizer.add_tokens([transformers.AddedToken(word, special=False) for word in words])
    encoder = Encoder(processor, dialects.get(name))
    live = set(processor.tokenizer.convert_tokens_to_ids(words))
    sample = said("a<tool_call>b<|fim_prefix|>", (), "reasoning")
    taught = encoder.with_target(
        replace(sample, prompt=sample.reasoning, labels={task: task.mildest for task in encoder.dialect.tasks})
    )
    assert not live & set(taught.ids)
    assert "< tool_call>b< |fim_prefix|>" in processor.tokenizer.decode(taught.ids)


def test_the_tags_of_its_own_grammar_stay_single_tokens(encoder):
    tokens = encoder.processor.tokenizer
    ids = encoder.with_target(said("I look.", (), "reasoning")).ids
    assert [ids.count(tokens.convert_tokens_to_ids(tag)) for tag in ("<think>", "<result>")] == [2, 2]


def test_half_a_character_is_shown_as_such():
    sample = make_sample(prompt="a\ud83d b\0\u202e", response="\udc00", reasoning="\ud800")
    row = io.to_row(sample, io.schema())
    assert (row["prompt"], row["response"], row["reasoning"]) == ("a\ufffd b\0\u202e", "\ufffd", "\ufffd")

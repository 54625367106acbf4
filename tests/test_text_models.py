"""Models that read text alone, as the published GuardReasoner and RSafe are: encoded, measured, asked and released."""

from dataclasses import replace

import pytest
from factories import make_png, make_sample
from text_model import build

from gr_vl import dialects
from gr_vl.data import io
from gr_vl.errors import DataError
from gr_vl.schema import Label, Task
from gr_vl.stages import lengths

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from gr_vl.encoding import Encoder  # noqa: E402
from gr_vl.guard.model import Guard  # noqa: E402
from gr_vl.guard.moderation import Exchange  # noqa: E402

EXCHANGES = [Exchange("What is it?", response="It is that.", think=think) for think in (True, False)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    torch.manual_seed(0)
    return build(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module", params=["guardreasoner", "rsafe"])
def encoder(llama, request):
    return Encoder(transformers.AutoProcessor.from_pretrained(llama), dialects.get(request.param))


@pytest.fixture(scope="module")
def guard(llama, encoder):
    name = "rsafe" if encoder.dialect.takes_policy else "guardreasoner"
    return Guard.from_pretrained(llama, device="cpu", dialect=name, max_tokens=8)


def sample_of(id="a", **fields):
    labels = {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL, Task.REFUSAL: Label.COMPLIANCE}
    return replace(make_sample(id), response="It is that.", reasoning="It is so.", labels=labels, **fields)


def test_prompts_are_tokens_of_the_template_and_lengths_are_theirs(encoder):
    sample = sample_of()
    prompt = encoder.prompt(sample)
    assert not encoder.sees
    assert prompt.features == {}
    text = encoder.tokenizer.decode(prompt.ids)
    assert text.startswith("<|begin_of_text|><|start_header_id|>system<|end_header_id|>")
    assert text.count("<|begin_of_text|>") == 1
    assert text.endswith("It is that.\n<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n")
    assert encoder.lengths([sample], targets=False) == [len(prompt.ids)]
    assert encoder.lengths([sample], targets=True) == [len(encoder.with_target(sample).ids)]


def test_a_fingerprint_is_the_tokenizers_and_the_dialects(llama, encoder):
    again = Encoder(transformers.AutoProcessor.from_pretrained(llama), encoder.dialect)
    other = Encoder(again.processor, dialects.get("guardreasoner_vl"))
    assert again.fingerprint == encoder.fingerprint != other.fingerprint


def test_rows_with_a_picture_are_set_aside(encoder, tmp_path):
    rows = [sample_of(str(index)) for index in range(11)] + [sample_of("seen", images=(make_png(),))]
    io.write(tmp_path / "corpus.parquet", rows)
    kept = lengths.fit(tmp_path / "corpus.parquet", tmp_path, encoder, 9000, "data.max_length", targets=True)
    assert kept.rows == 11
    assert "reads text alone" in (tmp_path / "quarantine.jsonl").read_text()


@pytest.mark.parametrize("exchange", EXCHANGES, ids=["with reasoning", "without reasoning"])
def test_a_guard_judges_texts(guard, exchange):
    found = guard.moderate_many([exchange, Exchange("A longer question than that one.", think=exchange.think)])[0]
    alone = guard.moderate_many([exchange])[0]
    assert found.written.text == alone.written.text
    assert found.scores == pytest.approx(alone.scores, abs=1e-5)
    if not exchange.think:
        assert set(guard.encoder.dialect.tasks) == set(found.labels)


def test_its_score_is_what_a_plain_forward_pass_says(llama):
    guard = Guard.from_pretrained(llama, device="cpu", dialect="rsafe", max_tokens=8)
    found = guard.moderate("What is it?", think=False)
    tokenizer, model = guard.encoder.tokenizer, transformers.AutoModelForCausalLM.from_pretrained(llama).eval()
    prompt = guard.encoder.prompt(make_sample(prompt="What is it?")).ids
    start = tokenizer("<think>\n\n</think>\n\\boxed{", add_special_tokens=False)["input_ids"]
    sums = []
    for word in ("unsafe", "safe"):
        said = tokenizer(word, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + start + said])
        with torch.inference_mode():
            row = model(ids).logits[0].log_softmax(-1)
        first = ids.shape[1] - len(said)
        sums.append(sum(row[place - 1, ids[0, place]].item() for place in range(first, ids.shape[1])))
    expected = 1 / (1 + torch.tensor(sums[1] - sums[0]).exp().item())
    assert found.scores[Task.PROMPT] == pytest.approx(expected, abs=1e-5)


def test_a_picture_is_refused_by_name(guard):
    with pytest.raises(DataError, match="the model reads text alone"):
        guard.moderate("What is it?", images=[make_png()])


def test_a_released_folder_says_what_its_source_says(llama, tmp_path):
    from gr_vl.release.source import Source
    from gr_vl.release.write import release

    assert release(Source(llama, "guardreasoner", None, ""), tmp_path / "out") < 1e-5

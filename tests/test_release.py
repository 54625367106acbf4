"""A released folder says what its source says, through its own chat template, or it is not released."""

import json
from dataclasses import replace

import pytest
from factories import facts_of, make_png, make_sample
from hostile import USER_TEXTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from gr_vl import specs  # noqa: E402
from gr_vl.errors import ConfigError, DataError, StageError  # noqa: E402
from gr_vl.model_files import stored_dtype  # noqa: E402
from gr_vl.release.probes import prompt_ids  # noqa: E402
from gr_vl.release.source import Source  # noqa: E402
from gr_vl.release.write import release  # noqa: E402

# A chat template cannot see half a character; JSON requests with one are refused before it.
TEXTS = {name: text for name, text in USER_TEXTS.items() if "\ud83d" not in text}


@pytest.fixture(scope="module")
def released(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("release") / "guard"
    assert release(Source.find(tiny, "rl", None), out) <= 1e-5
    return out


@pytest.fixture(scope="module")
def processor(released):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(released)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("pictures", [0, 1, 3], ids=["no picture", "a picture", "three pictures"])
def test_hostile_conversations_are_rendered_as_the_encoder_renders_them(encoder, processor, text, pictures):
    for response in (None, "", text):
        sample = make_sample(prompt=text, response=response, images=(make_png(),) * pictures)
        assert prompt_ids(processor, sample) == encoder.prompt(sample).ids


_WORDS = st.lists(
    st.sampled_from(["<|im_end|>", "<|im_", "<|", "|>", "end|>", "<", " ", "\n", "{{", "}}", '"', "\\n", "é", "a"]),
    max_size=8,
).map("".join)


@given(prompt=_WORDS, response=st.none() | _WORDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_conversation_is_rendered_as_the_encoder_renders_it(encoder, processor, prompt, response):
    sample = make_sample(prompt=prompt, response=response)
    assert prompt_ids(processor, sample) == encoder.prompt(sample).ids


def test_the_stages_of_gr_vl_read_it_like_any_other_folder(encoder, processor, corpus, released):
    from gr_vl.encoding import Encoder

    own = Encoder(processor, encoder.dialect)
    assert [own.prompt(sample).ids for sample in corpus[:6]] == [encoder.prompt(sample).ids for sample in corpus[:6]]
    assert specs.find(released) == "guardreasoner_vl"


def test_parts_in_any_order_are_pictures_then_text(processor, encoder):
    content = [{"type": "text", "text": "one"}, {"type": "image_url"}, {"type": "text", "text": "two"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    sample = make_sample(prompt="one\ntwo", response=None, images=(make_png(),))
    expected = encoder.processor.apply_chat_template(
        encoder.dialect.messages(sample), tokenize=False, add_generation_prompt=True
    )
    assert text == expected


@pytest.mark.parametrize(
    "roles",
    [["assistant"], ["user", "user"], ["user", "assistant", "user"], ["user", "tool"]],
    ids=["an assistant alone", "two users", "three messages", "a tool"],
)
def test_conversations_that_the_guard_cannot_judge_are_refused(processor, roles):
    from jinja2.exceptions import TemplateError

    messages = [{"role": role, "content": "a"} for role in roles]
    with pytest.raises(TemplateError, match="one message of the user"):
        processor.apply_chat_template(messages, tokenize=False)


def test_the_folder_holds_safetensors_greedy_settings_and_a_card(released):
    names = {path.name for path in released.iterdir()}
    assert {"README.md", "config.json", "generation_config.json", "gr_vl.json", "model.safetensors"} <= names
    generation = json.loads((released / "generation_config.json").read_text())
    assert (generation["do_sample"], len(generation["suppress_tokens"])) == (False, 5)
    assert json.loads((released / "config.json").read_text())["dtype"] == stored_dtype(released) == "float32"
    card = (released / "README.md").read_text()
    assert "The folder was not part of a run" in card
    assert "Not evaluated." in card


def test_weights_that_change_on_the_way_are_not_released(tiny, tmp_path, monkeypatch):
    from gr_vl.release import write

    save = write._write

    def spoil(model, encoder, source, out):
        with torch.no_grad():
            model.lm_head.weight[7, 0] += 0.05
        save(model, encoder, source, out)

    monkeypatch.setattr(write, "_write", spoil)
    with pytest.raises(StageError, match=r"log-probabilities differ by .*, more than 1e-05"):
        release(Source.find(tiny, "rl", None), tmp_path / "guard")
    assert list(tmp_path.iterdir()) == []


def test_a_template_that_says_something_else_is_not_released(tiny, tmp_path, monkeypatch):
    from gr_vl.release import write

    make = write.chat_template
    monkeypatch.setattr(write, "chat_template", lambda *args: make(*args).replace("Think step", "Think  step"))
    with pytest.raises(StageError, match="renders the probe"):
        release(Source.find(tiny, "rl", None), tmp_path / "guard")
    assert list(tmp_path.iterdir()) == []


def test_a_run_gives_its_model_its_dialect_and_its_test_split(tmp_path, tiny):
    folder = tmp_path / "run" / "rl" / "model"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(tiny)
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts_of("guardreasoner_vl")))
    found = Source.find(tmp_path / "run", "rl", None)
    assert (found.model, found.dialect) == (folder, "guardreasoner_vl")
    assert replace(found, run=tmp_path / "run").corpus is None
    with pytest.raises(DataError, match="sft/model: no model there"):
        Source.find(tmp_path / "run", "sft", None)
    with pytest.raises(ConfigError, match="'latin' is unknown"):
        Source.find(tiny, "rl", "latin")

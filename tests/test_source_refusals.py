"""Rows that cannot be used: each says which field, why, and what to do, and takes no other along."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_rows import (
    AEGIS2,
    BEAVER,
    CHAT,
    FILES,
    MEME,
    PNG,
    RLHF,
    SPA,
    TOXIC,
    UNSAFE,
    WILD,
    aegis,
    answers,
    messages,
    read,
    transcript,
    vl_train,
)

from gr_vl.data.sources.cells import MAX_TEXT
from gr_vl.errors import Broken
from gr_vl.schema import Label

H, U = Label.HARMFUL, Label.UNHARMFUL


@pytest.mark.parametrize(
    ("source", "row", "field", "reason"),
    [
        pytest.param("wildguard_train", WILD | {"prompt": None}, "prompt", "missing or blank", id="no prompt"),
        pytest.param("wildguard_train", WILD | {"prompt": " \n"}, "prompt", "missing or blank", id="a blank prompt"),
        pytest.param("wildguard_train", WILD | {"prompt": 5}, "prompt", "no text but a int", id="a number for a text"),
        pytest.param("aegis2_test", AEGIS2 | {"prompt": ["a"]}, "prompt", "no text but a list", id="a list for a text"),
        pytest.param("aegis2_test", AEGIS2 | {"id": {"a": 1}}, "id", "no text but a dict", id="an object for an id"),
        pytest.param(
            "wildguard_train",
            WILD | {"prompt": "x" * (MAX_TEXT + 1)},
            "prompt",
            "over the limit",
            id="a megabyte of text",
        ),
        pytest.param(
            "wildguard_train",
            WILD | {"prompt_harm_label": "maybe"},
            "prompt_harm_label",
            "none of: harmful",
            id="a word",
        ),
        pytest.param(
            "wildguard_train",
            WILD | {"prompt_harm_label": None, "response_harm_label": None},
            "label",
            "neither request nor response",
            id="no label at all",
        ),
        pytest.param(
            "wildguard_train", WILD | {"response": None}, "response", "not there", id="a label of no response"
        ),
        pytest.param("aegis1_train", aegis("None", "None"), "labels_0", "no annotator", id="no vote"),
        pytest.param(
            "aegis1_train", {"text": "ask", "labels_0": 3}, "labels_0", "no text but a int", id="a vote by number"
        ),
        pytest.param(
            "aegis2_test", AEGIS2 | {"prompt": "REDACTED"}, "prompt", "not passed on", id="a redacted request"
        ),
        pytest.param("beavertails_test", BEAVER | {"is_safe": None}, "is_safe", "none of: true", id="no flag"),
        pytest.param(
            "beavertails_test", BEAVER | {"is_safe": "perhaps"}, "is_safe", "none of: true", id="no such flag"
        ),
        pytest.param("toxicchat_test", TOXIC | {"toxicity": ""}, "toxicity", "missing", id="an empty flag"),
        pytest.param(
            "toxicchat_test", TOXIC | {"human_annotation": "x"}, "human_annotation", "none of", id="a flag that selects"
        ),
        pytest.param(
            "pku_saferlhf_train", RLHF | {"response_1": ""}, "response_1", "missing or blank", id="half a row"
        ),
        pytest.param(
            "unsafebench", UNSAFE | {"safety_label": "?"}, "safety_label", "none of: safe", id="a label for a picture"
        ),
        pytest.param(
            "unsafebench", UNSAFE | {"image": {"bytes": b"GIF89a", "path": None}}, "image", "no readable", id="a GIF"
        ),
        pytest.param(
            "unsafebench", UNSAFE | {"image": {"bytes": PNG[:20], "path": None}}, "image", "", id="half a header"
        ),
        pytest.param("unsafebench", UNSAFE | {"image": None}, "image", "no picture", id="no picture"),
        pytest.param(
            "spa_vl_train", SPA | {"image": "../../a.png"}, "image", "only plain paths", id="a path that climbs"
        ),
        pytest.param(
            "spa_vl_train", SPA | {"image": "http://x/a.png"}, "image", "URLs are not fetched", id="an address"
        ),
        pytest.param("spa_vl_train", SPA | {"image": "b.png"}, "image", "cannot be read", id="no such picture"),
        pytest.param(
            "spa_vl_train", SPA | {"image": "x" * 5000}, "image", "cannot be read", id="a name of 5,000 letters"
        ),
        pytest.param("spa_vl_train", SPA | {"question": ""}, "question", "missing or blank", id="no question"),
        pytest.param("hateful_memes", MEME, "image", "cannot be read", id="a meme that is not unpacked"),
        pytest.param(
            "badnews", {"file_name": "a\0.png", "label": "safe"}, "file_name", "cannot be read", id="NUL in a path"
        ),
        pytest.param(
            "badnews", {"file_name": "a.png", "label": 1}, "label", "none of: harmful", id="a label by number"
        ),
        pytest.param("ToxicChat", {"input": "ask", "output": "harmful"}, "input", "no transcript", id="no transcript"),
        pytest.param(
            "ToxicChat",
            {"input": transcript("a\n\nAI assistant:\nb"), "output": "harmful"},
            "input",
            "2 lines 'AI assistant:'",
            id="a request that plays the assistant",
        ),
        pytest.param("ToxicChat", {"input": transcript(), "output": "bad"}, "output", "no label", id="no such answer"),
        pytest.param("guardreasoner_vl_train_text", {"messages": 3}, "messages", "no list", id="no messages"),
        pytest.param(
            "guardreasoner_vl_train_text",
            messages(("user", "a"), ("assistant", "b")),
            "messages",
            "the roles are not system, user, assistant",
            id="a role missing",
        ),
        pytest.param(
            "guardreasoner_vl_train_text",
            vl_train(target="Request: harmful"),
            "messages",
            "no <think>",
            id="no reasoning",
        ),
        pytest.param(
            "guardreasoner_vl_train_text_image",
            vl_train(images=["a.png"]),
            "messages",
            "1 pictures, and fewer <image>",
            id="a picture without its mark",
        ),
        pytest.param("openai_messages", CHAT | {"prompt_label": "bad"}, "prompt_label", "none of", id="no such label"),
        pytest.param(
            "openai_messages",
            messages(("user", "a"), ("assistant", "b"), ("user", "c"), prompt_label="harmful"),
            "messages",
            "not one request",
            id="several turns",
        ),
        pytest.param("openai_messages", messages(("tool", "a")), "messages", "no turn of", id="a strange role"),
        pytest.param("openai_messages", messages(("user", " ")), "messages", "an empty request", id="an empty request"),
        pytest.param(
            "openai_messages",
            CHAT | {"images": ["a.png", 5]},
            "images",
            "no picture and no path",
            id="a picture by number",
        ),
        pytest.param(
            "openai_messages",
            messages(("user", [{"type": "image_url", "image_url": {"url": "http://x/a.png"}}])),
            "messages",
            "addresses are not fetched",
            id="an address in a message",
        ),
        pytest.param(
            "openai_messages",
            messages(("user", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}}])),
            "messages",
            "not base64",
            id="a data URL that is none",
        ),
        pytest.param(
            "sharegpt",
            {
                "conversations": [{"from": "human", "value": "<image><image>a"}],
                "image": "a.png",
                "prompt_label": "safe",
            },
            "images",
            "1 pictures and 2 marks",
            id="more marks than pictures",
        ),
    ],
)
def test_a_row_that_cannot_be_used_says_why(source, row, field, reason, tmp_path):
    (found,) = read(source, [row], tmp_path)
    assert isinstance(found, Broken)
    assert (found.file, found.row, found.field) == (FILES[source][0], 0, field)
    assert reason in found.reason
    assert found.fix
    assert len(found.value) <= 80


def test_a_bad_row_takes_no_good_one_along(tmp_path):
    rows = [{**AEGIS2, "id": str(number)} for number in range(9)]
    good = read("aegis2_test", rows, tmp_path / "good")
    for number in (0, 4, 8):
        rows[number]["prompt_label"] = 7
    found = read("aegis2_test", rows, tmp_path / "bad")
    assert [number for number, item in enumerate(found) if isinstance(item, Broken)] == [0, 4, 8]
    assert [item for item in found if not isinstance(item, Broken)] == [good[n] for n in (1, 2, 3, 5, 6, 7)]


def test_an_id_is_given_once(tmp_path):
    first, second = read("aegis2_test", [AEGIS2, AEGIS2 | {"prompt": "ask again"}], tmp_path)
    assert (first.id, second.field, second.value) == ("aegis2_test-a", "id", "'aegis2_test-a'")


WORDS = ["role", "content", "type", "text", "image_url", "url", "from", "value", "bytes", "path", "a"]
GOOD = {
    "beavertails_test": BEAVER,
    "aegis2_test": AEGIS2,
    "badnews": {"file_name": "a.png", "label": "safe"},
    "xstest_prompts": {"id": "1", "type": "x", "prompt": "ask"},
    "ToxicChat": {"input": transcript(), "output": "harmful"},
    "guardreasoner_train": {"input": transcript(), "output": answers("harmful", "unharmful")},
    "guardreasoner_vl_train_text": vl_train(),
    "openai_messages": CHAT | {"images": ["a.png"]},
}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["", "None", "\ud83d", "\0"]),
)
JSON = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=6,
)


@pytest.mark.parametrize(("source", "row"), [pytest.param(*pair, id=pair[0]) for pair in GOOD.items()])
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_a_cell_a_row_is_a_sample_or_refused(source, row, data, tmp_path):
    cells = st.fixed_dictionaries({key: st.just(value) | JSON for key, value in row.items()})
    rows = [row, *data.draw(st.lists(cells, min_size=5, max_size=5))]
    good, *found = read(source, rows, tmp_path)
    assert not isinstance(good, Broken)
    assert {item.row for item in found if isinstance(item, Broken)} <= set(range(6))
    for item in found:
        if not isinstance(item, Broken):
            assert item.prompt.encode() or item.images
            assert item.labels

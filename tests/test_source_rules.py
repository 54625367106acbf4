"""What a converter makes of one row, worked out by hand: labels, texts, pictures."""

import gzip

import pytest
import source_shapes
from source_rows import (
    AEGIS2,
    BEAVER,
    CHAT,
    MEME,
    PNG,
    RLHF,
    TOXIC,
    UNSAFE,
    URL,
    WILD,
    aegis,
    answers,
    messages,
    read,
    transcript,
    vl_train,
    write,
)
from source_shapes import small_picture

from gr_vl import dialects
from gr_vl.data import sources
from gr_vl.data.sources.cells import MAX_TEXT
from gr_vl.errors import DataError
from gr_vl.schema import Label, Task

H, U = Label.HARMFUL, Label.UNHARMFUL
GUARDREASONER = dialects.get("guardreasoner")


@pytest.mark.parametrize(
    ("source", "row", "wanted"),
    [
        pytest.param("wildguard_train", WILD, [(H, U)], id="WildGuard: both labels"),
        pytest.param("wildguard_train", WILD | {"response_harm_label": None}, [(H, None)], id="WildGuard: one missing"),
        pytest.param("wildguard_train", WILD | {"prompt_harm_label": "None"}, [(None, U)], id="WildGuard: one None"),
        pytest.param("aegis1_train", aegis("Safe", "Safe", "Violence"), [(U, None)], id="Aegis: most say safe"),
        pytest.param("aegis1_train", aegis("Safe", "Threat", "Threat"), [(H, None)], id="Aegis: most say a category"),
        pytest.param("aegis1_train", aegis("Safe", "Threat"), [(U, None)], id="Aegis: the first of equally many"),
        pytest.param("aegis1_train", aegis("Threat", "Safe"), [(H, None)], id="Aegis: the first is a category"),
        # Two say safe, and no category has more: the paper's script counts words, not harmful against safe.
        pytest.param(
            "aegis1_train", aegis("Safe", "Safe", "Threat", "PII", "Hate"), [(U, None)], id="Aegis: categories apart"
        ),
        pytest.param("aegis1_train", aegis("Needs Caution"), [(H, None)], id="Aegis: needs caution"),
        pytest.param("aegis1_train", aegis("Safe", "Threat", "Threat", number=1), [(U, None)], id="Aegis: one counts"),
        pytest.param("aegis1_train", aegis("Safe", "None", "None", number=3), [(U, None)], id="Aegis: None is no vote"),
        pytest.param(
            "aegis1_test", aegis("Safe") | {"text_type": "user_message"}, [(U, None)], id="Aegis test: a request"
        ),
        pytest.param("aegis1_test", aegis("Safe") | {"text_type": "multi_turn"}, [], id="Aegis test: a dialogue"),
        pytest.param("aegis2_test", AEGIS2, [(H, U)], id="Aegis 2: both"),
        pytest.param(
            "aegis2_test",
            AEGIS2 | {"response": None, "response_label": None},
            [(H, None)],
            id="Aegis 2: a request alone",
        ),
        pytest.param("beavertails_test", BEAVER, [(None, U)], id="BeaverTails: safe"),
        pytest.param("beavertails_test", BEAVER | {"is_safe": False}, [(None, H)], id="BeaverTails: not safe"),
        pytest.param("toxicchat_test", TOXIC, [(H, None)], id="ToxicChat: toxic"),
        pytest.param("toxicchat_test", TOXIC | {"toxicity": "0"}, [(U, None)], id="ToxicChat: not toxic"),
        pytest.param("toxicchat_test", TOXIC | {"human_annotation": "False"}, [], id="ToxicChat: labelled by no human"),
        pytest.param("pku_saferlhf_train", RLHF, [(None, U), (None, H)], id="SafeRLHF: two responses"),
        pytest.param("unsafebench", UNSAFE, [(H, None)], id="UnsafeBench: unsafe"),
        pytest.param("unsafebench", UNSAFE | {"safety_label": "Safe"}, [(U, None)], id="UnsafeBench: safe"),
        pytest.param("hateful_memes", MEME | {"image": "HOD/a.png"}, [], id="VLGuard: a picture of another source"),
        pytest.param("badnews", {"file_name": "a.png", "label": "unsafe"}, [(H, None)], id="BadNews: unsafe"),
        pytest.param("or_bench_toxic", {"prompt": "ask", "category": "x"}, [(H, None)], id="OR-Bench: toxic"),
        pytest.param(
            "xstest_prompts", {"id": "1", "type": "contrast_x", "prompt": "ask"}, [(H, None)], id="XSTest: a contrast"
        ),
        pytest.param(
            "xstest_prompts", {"id": "1", "type": "x", "prompt": "ask"}, [(U, None)], id="XSTest: no contrast"
        ),
        pytest.param(
            "SafeRLHF",
            {"input": transcript(), "output": answers("None", "harmful")},
            [(None, H)],
            id="a benchmark's answer lines",
        ),
        pytest.param("ToxicChat", {"input": transcript(), "output": "unharmful"}, [(U, None)], id="a benchmark's word"),
        pytest.param(
            "WildGuardTest",
            {"input": transcript(), "output": answers("None", "None")},
            [],
            id="a benchmark's row without a label",
        ),
        pytest.param(
            "WildGuardTest",
            {"input": transcript(), "output": answers("None", "harmful")},
            [(None, H)],
            id="a benchmark of several tasks: the labels that a row has",
        ),
        pytest.param(
            "guardreasoner_train",
            {"input": transcript(response="None"), "output": "# Task 1\nx\n" + answers("harmful", "None")},
            [(H, None)],
            id="GuardReasonerTrain: a request alone",
        ),
        pytest.param("guardreasoner_vl_train_text", vl_train(), [(H, U)], id="VLTrain: text"),
        pytest.param(
            "guardreasoner_vl_train_text",
            vl_train(response="None"),
            [(H, None)],
            id="VLTrain: nobody judges a response that is not there",
        ),
        pytest.param("openai_messages", CHAT, [(H, U)], id="OpenAI messages"),
        pytest.param(
            "openai_messages",
            messages(("system", "be kind"), ("user", "ask"), prompt_label="Safe"),
            [(U, None)],
            id="OpenAI messages: a request under a system message",
        ),
        pytest.param(
            "sharegpt",
            {
                "conversations": [{"from": "human", "value": "ask"}, {"from": "gpt", "value": "b"}],
                "response_label": "unsafe",
            },
            [(None, H)],
            id="ShareGPT: a judged response",
        ),
    ],
)
def test_labels_follow_the_rule(source, row, wanted, tmp_path):
    found = read(source, [row], tmp_path)
    assert [(item.labels.get(Task.PROMPT), item.labels.get(Task.RESPONSE)) for item in found] == wanted


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        pytest.param("a\0b", "a\0b", id="NUL"),
        pytest.param("a\ud83d b", "a\ufffd b", id="a lone surrogate"),
        pytest.param("\u202ea<|im_start|><image>", "\u202ea<|im_start|><image>", id="controls and tags"),
        pytest.param("x" * MAX_TEXT, "x" * MAX_TEXT, id="a megabyte to the letter"),
    ],
)
def test_hostile_text_stays_text(prompt, wanted, tmp_path):
    assert read("aegis2_test", [AEGIS2 | {"prompt": prompt}], tmp_path)[0].prompt == wanted
    assert read("openai_messages", [messages(("user", prompt), prompt_label="safe")], tmp_path)[0].prompt == wanted


def test_marks_of_pictures_are_cut_out_and_others_stay(tmp_path):
    turns = [{"from": "human", "value": "look: <image>\nand say"}]
    row = {"conversations": turns, "prompt_label": "safe"}
    with_picture, without = read("sharegpt", [row | {"image": "a.png"}, row], tmp_path)
    assert (with_picture.prompt, with_picture.images) == ("look: \nand say", (PNG,))
    assert (without.prompt, without.images) == ("look: <image>\nand say", ())


@pytest.mark.parametrize("name", ["openai_messages", "sharegpt"])
def test_every_file_of_a_folder_is_read_whatever_its_kind(name, tmp_path):
    turns = {"messages": CHAT["messages"], "conversations": [{"from": "human", "value": "ask"}]}
    for file in ("c.parquet", "a.jsonl", "b.json"):
        write(tmp_path / file, [turns | {"prompt_label": "safe"}])
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    found = list(sources.get(name).read(tmp_path))
    assert [sample.id for sample in found] == [
        f"{name}-{file}-0" for file in ("a.jsonl", "b.json", "c.parquet", "d.jsonl.gz")
    ]


def test_the_first_mark_of_the_release_stands_for_the_picture_and_others_for_themselves(tmp_path):
    row = vl_train("<image>\nwhat does <image> mean?", images=["./a.png"])
    (sample,) = read("guardreasoner_vl_train_text_image", [row], tmp_path)
    assert (sample.prompt, sample.images, sample.reasoning) == ("what does <image> mean?", (PNG,), "# Task 1\nso")


def test_pictures_in_messages_keep_their_order(tmp_path):
    parts = [
        {"type": "text", "text": "a"},
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "text", "text": "b"},
    ]
    other = small_picture(8)
    (tmp_path / "b.png").write_bytes(other)
    (sample,) = read("openai_messages", [messages(("user", parts), images=["b.png"], prompt_label="safe")], tmp_path)
    assert (sample.prompt, sample.images) == ("a\nb", (PNG, other))


def test_vlguard_finds_pictures_beside_the_table_too(tmp_path):
    for place in ("train/hatefulMemes", "hatefulMemes"):
        folder = tmp_path / place.replace("/", "_")
        (folder / place).mkdir(parents=True)
        (folder / place / "07685.png").write_bytes(PNG)
        (sample,) = read("hateful_memes", [MEME], folder)
        assert (sample.images, sample.labels) == ((PNG,), {Task.PROMPT: H})


def test_reasoning_over_three_tasks_becomes_two_also_without_a_response(tmp_path):
    steps = "# Task 1\none\n\n# Task 2\ntwo\n\n# Task 3\nthree\n\n"
    row = {"input": transcript(response="None"), "output": steps + answers("harmful", "None")}
    (sample,) = read("guardreasoner_train", [row], tmp_path)
    assert sample.reasoning == "# Task 1\none\n\n# Task 2\nthree"
    assert (sample.response, sample.labels) == (None, {Task.PROMPT: H})


@pytest.mark.parametrize("response", ["answer", "None"], ids=["a response", "a request alone"])
def test_reasoning_and_labels_of_all_three_tasks_can_be_kept(tmp_path, response):
    steps = "# Task 1\none\n\nAnswers:\nRequest: harmful\n\n# Task 2\ntwo\n\n# Task 3\nthree"
    said = ("refusal", "unharmful") if response == "answer" else ("None", "None")
    ends = "Answers: \nRequest: harmful\nCompletion: {}\nResponse: {}\n".format(*said)
    row = {"input": transcript(response=response), "output": f"{steps}\n\n---\n\n{ends}"}
    (sample,) = read("guardreasoner_train_refusal", [row], tmp_path)
    assert sample.source == "aegis"
    assert sample.reasoning == steps.replace("Answers:", "## Conclusion")
    judged = {Task.RESPONSE: U, Task.REFUSAL: Label.REFUSAL} if response == "answer" else {}
    assert sample.labels == {Task.PROMPT: H, **judged}
    verdict = GUARDREASONER.parse(GUARDREASONER.target(sample))
    assert verdict.well_formed
    assert verdict.labels == GUARDREASONER.expected(sample)


def test_reasoning_that_the_dialect_could_not_repeat_is_left_out(tmp_path):
    row = {"input": transcript(), "output": "# Task 1\none\n\n### Answers:\nRequest: unharmful\n\n# Task 2\ntwo"}
    (sample,) = read("guardreasoner_train_refusal", [row], tmp_path)
    assert (sample.reasoning, sample.labels) == (None, {Task.PROMPT: U})


def test_pictures_of_the_test_set_pair_by_order_and_must_be_as_many(tmp_path):
    source_shapes.write("SPA-VL-Eval", tmp_path, 3)
    found = list(sources.get("SPA-VL-Eval").read(tmp_path))
    assert [sample.images for sample in found] == [(small_picture(number),) for number in range(3)]
    (tmp_path / "test/SPA_VL_Eval/00001.png").unlink()
    with pytest.raises(DataError, match="3 rows and 2 pictures do not pair"):
        list(sources.get("SPA-VL-Eval").read(tmp_path))


def test_a_picture_in_the_place_of_another_is_refused_where_the_rows_name_theirs(tmp_path):
    source_shapes.write("HarmImageTest", tmp_path, 3)
    folder = tmp_path / "test/HarmImageTest"
    (folder / "00001.png").rename(folder / "00001b.png")
    first, second, third = sources.get("HarmImageTest").read(tmp_path)
    assert (first.images, third.images) == ((small_picture(0),), (small_picture(2),))
    assert (second.row, second.field) == (1, "images")
    assert "names another picture than test/HarmImageTest/00001b.png" in second.reason

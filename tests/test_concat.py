"""Safety-aware concatenation: labels, texts, pictures, and the share of mixtures."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gr_vl import dialects
from gr_vl.augment.concat import augmented_set, concatenate
from gr_vl.data.images import decode, encode_png
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Label, Modality, Sample, Task

H, U = Label.HARMFUL, Label.UNHARMFUL
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def sample(name="a", prompt_label=U, response_label=U, response="answer", images=(), prompt=None):
    known = {Task.PROMPT: prompt_label, Task.RESPONSE: response_label}
    labels = {task: label for task, label in known.items() if label is not None}
    prompt = f"prompt {name}" if prompt is None else prompt
    return Sample(name, "test", prompt, response, tuple(images), labels, reasoning="step")


def picture(width, height, colour=RED):
    return encode_png(Image.new("RGB", (width, height), colour))


@pytest.mark.parametrize("task", [Task.PROMPT, Task.RESPONSE])
@pytest.mark.parametrize(
    ("first", "second", "joint"),
    [
        pytest.param(H, H, H, id="harmful and harmful is harmful"),
        pytest.param(H, U, H, id="harmful and unharmful is harmful"),
        pytest.param(U, H, H, id="unharmful and harmful is harmful"),
        pytest.param(U, U, U, id="unharmful and unharmful is unharmful"),
        pytest.param(H, None, H, id="harmful and unknown is harmful"),
        pytest.param(None, H, H, id="unknown and harmful is harmful"),
        pytest.param(U, None, None, id="unharmful and unknown is unknown"),
        pytest.param(None, None, None, id="unknown and unknown is unknown"),
    ],
)
def test_labels(task, first, second, joint):
    a, b = (replace(sample(), labels={} if label is None else {task: label}) for label in (first, second))
    assert concatenate(a, b).labels == ({} if joint is None else {task: joint})


@pytest.mark.parametrize("label", [H, U, None])
@pytest.mark.parametrize("silent_label", [U, None], ids=["unharmful by convention", "no label"])
@pytest.mark.parametrize("swap", [False, True], ids=["silent second", "silent first"])
@pytest.mark.parametrize("text_mode", ["turns", "transcripts"])
def test_the_only_response_decides_alone(label, silent_label, swap, text_mode):
    pair = [sample("a", response_label=label), sample("b", response_label=silent_label, response=None)]
    joint = concatenate(*(pair[::-1] if swap else pair), text_mode=text_mode)
    assert joint.labels.get(Task.RESPONSE) == label
    assert dialects.get("guardreasoner_vl").expected(joint).get(Task.RESPONSE) == label


labels = st.sampled_from([H, U, None])
samples = st.builds(sample, st.just("a"), labels, labels, st.sampled_from([None, "", "answer"]))


@given(samples, samples)
def test_labels_do_not_depend_on_the_order(a, b):
    assert concatenate(a, b).labels == concatenate(b, a).labels


@given(samples)
def test_a_sample_joined_with_itself_keeps_its_labels(a):
    assert concatenate(a, a).labels == a.labels


@given(samples, samples, samples)
def test_labels_do_not_depend_on_the_grouping(a, b, c):
    assert concatenate(concatenate(a, b), c).labels == concatenate(a, concatenate(b, c)).labels


@pytest.mark.parametrize(
    ("a", "b", "prompt", "response"),
    [
        pytest.param((" p ", " r\n"), ("q", "s"), "p q", "r s", id="both are joined by one space"),
        pytest.param(("", None), ("q", "s"), "q", "s", id="an empty part adds nothing"),
        pytest.param(("p", "r"), ("q", None), "p q", "r", id="a missing response adds nothing"),
        pytest.param(("p", None), ("q", None), "p q", None, id="no response stays no response"),
        pytest.param(("p", ""), ("q", None), "p q", "", id="an empty response is a response"),
    ],
)
def test_turns(a, b, prompt, response):
    joint = concatenate(sample(prompt=a[0], response=a[1]), sample(prompt=b[0], response=b[1]))
    assert (joint.prompt, joint.response) == (prompt, response)


@pytest.mark.parametrize("a", ["r", None])
@pytest.mark.parametrize("b", ["s", None])
def test_transcripts_render_as_one_after_the_other(a, b):
    joint = concatenate(sample(prompt="p", response=a), sample(prompt="q", response=b), text_mode="transcripts")
    text = dialects.get("guardreasoner_vl").messages(joint)[1]["content"][0]["text"]
    parts = [f"Human user:\n{p}\n\nAI assistant:\n{r}" for p, r in (("p", a), ("q", b))]
    assert text == " ".join(parts) + "\n"


def test_a_mixture_names_its_parts_and_teaches_nothing():
    joint = concatenate(sample("a"), sample("b"))
    assert (joint.id, joint.source, joint.reasoning, joint.taught) == ("a+b", "concat", None, None)
    assert concatenate(sample("a"), sample("b"), id="c").id == "c"


def test_pictures_of_one_part_are_kept_byte_for_byte():
    one, two = picture(3, 3), picture(2000, 4)
    assert concatenate(sample(images=[one, two]), sample()).images == (one, two)
    assert concatenate(sample(), sample(images=[b"never opened"])).images == (b"never opened",)


def test_two_pictures_stand_side_by_side_on_white():
    joint = concatenate(sample(images=[picture(30, 20)]), sample(images=[picture(10, 50, BLUE)]))
    (data,) = joint.images
    merged = decode(data)
    assert data.startswith(b"\x89PNG")
    assert merged.size == (40, 50)
    spots = {(0, 0): RED, (29, 19): RED, (0, 20): WHITE, (29, 49): WHITE, (30, 0): BLUE, (39, 49): BLUE}
    assert {spot: merged.getpixel(spot) for spot in spots} == spots
    assert joint.modality is Modality.TEXT_IMAGE


@pytest.mark.parametrize(
    ("left", "right", "size"),
    [
        pytest.param((512, 300), (512, 10), (1024, 300), id="what fits is not scaled"),
        pytest.param((1024, 512), (1024, 100), (1024, 256), id="too wide"),
        pytest.param((100, 2048), (100, 10), (100, 1024), id="too high"),
        pytest.param((2000, 10), (2000, 10), (1024, 6), id="two strips in a row are padded to a strip of 200 to 1"),
        pytest.param((10, 2000), (10, 2000), (10, 1024), id="two strips beside each other"),
        pytest.param((30_000, 150), (150, 30_000), (1024, 1019), id="no huge canvas between"),
    ],
)
def test_a_merged_picture_fits_its_frame(left, right, size):
    joint = concatenate(sample(images=[picture(*left)]), sample(images=[picture(*right)]))
    assert decode(joint.images[0]).size == size


def test_an_image_without_text_stays_an_image():
    silent = sample(images=[picture(2, 2)], prompt="")
    assert concatenate(silent, silent).modality is Modality.IMAGE


def test_a_broken_image_is_blamed_on_its_sample():
    with pytest.raises(DataError, match="sample 'b': image: no readable"):
        concatenate(sample(images=[picture(2, 2)]), sample("b", images=[b"x"]))


def test_an_unknown_text_mode_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="turns, transcripts"):
        concatenate(sample(), sample(), text_mode="rhymes")


CORPUS = [sample(f"s{index}", prompt_label=H if index % 4 == 0 else U) for index in range(96)]


@pytest.mark.parametrize(("share", "added"), [(0, 0), (0.2, 24), (0.5, 96), (0.01, 1)])
def test_mixtures_make_up_their_share(share, added):
    assert len(augmented_set(CORPUS, share, seed=1)) == 96 + added


def test_a_set_keeps_its_samples_and_appends_pairs_of_two():
    result = augmented_set(CORPUS, 0.5, seed=1)
    assert result[:96] == CORPUS
    assert len({item.id for item in result}) == len(result)
    for item in result[96:]:
        a, b = item.id.partition("#")[0].split("+")
        assert a != b
        assert item.prompt == f"prompt {a} prompt {b}"


def test_a_set_is_a_function_of_seed_and_samples():
    mixtures = augmented_set(CORPUS, 0.2, seed=1)[96:]
    assert augmented_set(CORPUS[::-1], 0.2, seed=1)[96:] == mixtures
    assert augmented_set(CORPUS, 0.5, seed=1)[96:120] == mixtures
    assert augmented_set(CORPUS, 0.2, seed=2)[96:] != mixtures


@pytest.mark.parametrize("share", [-0.1, 1, 1.5])
def test_an_impossible_share_is_refused(share):
    with pytest.raises(ConfigError, match="share="):
        augmented_set(CORPUS, share, seed=1)


def test_one_sample_makes_no_pair():
    with pytest.raises(DataError, match="takes two samples"):
        augmented_set(CORPUS[:1], 0.5, seed=1)


def test_the_way_texts_are_joined_reaches_every_pair():
    for mode, marked in (("turns", False), ("transcripts", True)):
        made = augmented_set(CORPUS, 0.2, seed=1, text_mode=mode)[len(CORPUS) :]
        assert all(("\n\nAI assistant:\n" in pair.prompt) is marked for pair in made)

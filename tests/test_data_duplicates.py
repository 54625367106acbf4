"""What counts as the same, and what only looks so."""

import io
import random
import tracemalloc

import numpy as np
import pytest
from factories import HARMFUL, UNHARMFUL, make_sample
from mixtures import WORDS, make_picture
from PIL import Image, ImageDraw

from gr_vl.data.build import duplicates, features, fingerprints

LONG = [WORDS[number] for number in range(60)]


def corpus_of(tmp_path, samples):
    path = tmp_path / "shard.arrow"
    features.write_shard(features.Job(features.Chunk("s", 0, samples, "guardreasoner_vl"), path))
    return features.Corpus([("s", [path])])


def leaders(tmp_path, samples):
    corpus = corpus_of(tmp_path, samples)
    found = duplicates.Clusters(corpus, np.arange(len(corpus)), duplicates.picture_sets(corpus, 12), 0.8)
    return found.leader.tolist(), found.contrasts


def changed(words, *places):
    return " ".join("other" if place in places else word for place, word in enumerate(words))


def picture(data, **options):
    """The same picture, saved again."""
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(data))
    image.resize(options.pop("size", image.size), Image.Resampling.LANCZOS).save(buffer, **options)
    return buffer.getvalue()


def captioned(data, text):
    buffer = io.BytesIO()
    image = Image.open(io.BytesIO(data)).resize((400, 400))
    ImageDraw.Draw(image).text((30, 340), text, fill="white", stroke_fill="black", stroke_width=3, font_size=36)
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param("one two three four", "one two three four", 1.0, id="the same"),
        pytest.param("One,  TWO three... four!", "one two three four", 1.0, id="case, white space and punctuation"),
        # abc bcd cde, abc bcd bcx: 2 of 4.
        pytest.param("a b c d e", "a b c d x", 0.5, id="the last of five words"),
        # Of 58 shingles three change: 55 of 61.
        pytest.param(" ".join(LONG), changed(LONG, 30), 55 / 61, id="one word of sixty"),
        pytest.param("yes", "no", 0.0, id="two short texts"),
        pytest.param("", "", 1.0, id="two empty texts"),
        pytest.param("", "one", 0.0, id="an empty text and another"),
        pytest.param("!?", "?!", 0.0, id="signs without words"),
        # 日本語 本語で against 日本語 本語の: 1 of 3.
        pytest.param("日本語で", "日本語の", 1 / 3, id="a script without spaces"),
    ],
)
def test_likeness_is_the_share_of_common_shingles(a, b, expected):
    assert fingerprints.likeness(fingerprints.shingles(a), fingerprints.shingles(b)) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_signatures_agree_as_often_as_their_sets_are_alike(share):
    draw, agreed = np.random.default_rng(1), []
    for _ in range(20):
        hashes = draw.integers(0, 2**32, 400, dtype=np.uint32)
        common, own, other = np.split(hashes, [int(400 * share), int(200 * (1 + share))])
        a, b = (fingerprints.signature(np.r_[common, rest]) for rest in (own, other))
        agreed.append((a == b).mean())
    # 20 times 126 hashes: a standard error of at most 0.01.
    assert np.mean(agreed) == pytest.approx(share, abs=0.04)


TEXT = " ".join(LONG)


@pytest.mark.parametrize(
    ("other", "near"),
    [
        pytest.param({"prompt": changed(LONG, 30)}, True, id="one word of sixty"),
        pytest.param({"prompt": changed(LONG, 10, 20, 30, 40, 50)}, False, id="five words of sixty"),
        pytest.param({"response": changed(LONG[::-1], 5)}, True, id="one word of the response"),
        pytest.param({"response": " ".join(LONG[:30])}, False, id="another response"),
        pytest.param({"response": None}, False, id="no response"),
        pytest.param({"images": (make_picture(1),)}, False, id="with a picture"),
        pytest.param({"prompt_label": None, "response_label": UNHARMFUL}, True, id="labels of other tasks"),
    ],
)
def test_near_duplicates_are_alike_in_every_part(tmp_path, other, near):
    fields = {"prompt": TEXT, "response": " ".join(LONG[::-1])}
    rows = [make_sample("a", **fields), make_sample("b", **(fields | other))]
    assert leaders(tmp_path, rows) == ([0, 0 if near else 1], 0)


def test_near_duplicates_with_contrary_labels_both_stay(tmp_path):
    rows = [make_sample("a", HARMFUL, prompt=TEXT), make_sample("b", UNHARMFUL, prompt=changed(LONG, 3))]
    assert leaders(tmp_path, rows) == ([0, 1], 1)


def test_a_row_that_lacks_a_label_does_not_tie_contrary_ones_together(tmp_path):
    answer = {"prompt": TEXT, "response": "It is that."}
    rows = [
        make_sample("a", HARMFUL, **answer),
        make_sample("b", None, UNHARMFUL, **(answer | {"prompt": changed(LONG, 58)})),
        make_sample("c", UNHARMFUL, **(answer | {"prompt": changed(LONG, 59)})),
    ]
    assert leaders(tmp_path, rows) == ([0, 0, 2], 2)


def test_chains_are_led_by_their_first_row(tmp_path):
    rows = [make_sample(str(i), prompt=changed(LONG, *range(20, 20 + 3 * i, 3))) for i in range(4)]
    assert leaders(tmp_path, rows)[0] == [0, 0, 0, 0]


PICTURE = picture(make_picture("a"), format="PNG", size=(320, 288))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(picture(PICTURE, format="JPEG", quality=80), True, id="as a JPEG"),
        pytest.param(picture(PICTURE, format="PNG", size=(640, 576)), True, id="twice as large"),
        pytest.param(picture(PICTURE, format="WEBP", size=(250, 250)), True, id="smaller, another shape"),
        pytest.param(captioned(PICTURE, "A WORD"), False, id="with a caption"),
        pytest.param(make_picture("b"), False, id="another picture"),
    ],
)
def test_pictures_are_the_same_after_saving_and_not_after_writing_on_them(tmp_path, other, same):
    rows = [make_sample(str(i), prompt="", images=(data,)) for i, data in enumerate((PICTURE, other))]
    assert leaders(tmp_path, rows)[0] == [0, 0 if same else 1]


def test_a_meme_with_other_words_is_another_meme(tmp_path):
    rows = [make_sample(text, prompt="", images=(captioned(PICTURE, text),)) for text in ("I LIKE IT", "I SELL IT")]
    assert leaders(tmp_path, rows)[0] == [0, 1]


def test_no_pair_of_alike_pictures_is_missed():
    draw = np.random.default_rng(2)
    base = draw.integers(0, 244, (60, 1024)).astype(np.uint8)
    near = base + draw.integers(0, 13, base.shape).astype(np.uint8)
    classes = duplicates.picture_classes(np.concatenate([base, near]), 12)
    assert classes[:60].tolist() == classes[60:].tolist()
    assert len(set(classes.tolist())) == 60


def test_pictures_that_are_all_alike_cost_no_memory_for_their_pairs():
    draw = np.random.default_rng(3)
    alike = (draw.integers(0, 200, 1024) + draw.integers(0, 8, (500, 1024))).astype(np.uint8)
    tracemalloc.start()
    classes = duplicates.picture_classes(alike, 12)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(classes.tolist()) == {0}
    assert peak < 8 * 2**20  # 125,000 pairs as tuples take 15 MB more


def test_contrary_pairs_are_counted_once_and_not_kept(tmp_path):
    rows = [make_sample(f"{i}", (HARMFUL, UNHARMFUL)[i % 2], prompt=changed(LONG * 3, i)) for i in range(60)]
    assert leaders(tmp_path, rows) == ([0, 1] * 30, 30 * 30)


def test_a_hundred_rows_of_which_every_fifth_is_a_copy(tmp_path):
    draw, rows = random.Random(5), []
    for i in range(100):
        words = draw.choices(WORDS, k=50)
        copied = rows[-1].prompt.split() if i % 5 == 4 else words
        rows.append(make_sample(str(i), prompt=changed(copied, 25) if i % 5 == 4 else " ".join(words)))
    assert leaders(tmp_path, rows)[0] == [i - (i % 5 == 4) for i in range(100)]

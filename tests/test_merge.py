"""Pictures on one canvas, the set built by any number of processes, and the sheet that shows it."""

import io

import pytest
from factories import make_corpus, make_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from gr_vl.augment import contact_sheet
from gr_vl.augment.concat import augmented_set, concatenate
from gr_vl.augment.merge import merge
from gr_vl.data import io as corpus_io
from gr_vl.data.image_cache import ImageCache
from gr_vl.data.images import decode
from gr_vl.schema import Task
from gr_vl.stages import concat as concat_stage

TASKS = (Task.PROMPT, Task.RESPONSE)

COLOURS = ["#ff0000", "#00ff00", "#0000ff", "#ffff00", "#ff00ff", "#00ffff", "#000000"]
WHITE = (255, 255, 255)


def picture(index, size=(20, 10), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, COLOURS[index]).save(buffer, format=kind)
    return buffer.getvalue()


def colours(data, spots):
    merged = decode(data)
    return ["#{:02x}{:02x}{:02x}".format(*merged.getpixel(spot)) for spot in spots]


@pytest.mark.parametrize(
    ("number", "size", "centres"),
    [
        (1, (20, 10), [(10, 5)]),
        (2, (40, 10), [(10, 5), (30, 5)]),
        (3, (40, 20), [(10, 5), (30, 5), (10, 15)]),
        (4, (40, 20), [(10, 5), (30, 5), (10, 15), (30, 15)]),
        (5, (60, 20), [(10, 5), (30, 5), (50, 5), (10, 15), (30, 15)]),
        (7, (60, 30), [(10, 5), (30, 5), (50, 5), (10, 15), (30, 15), (50, 15), (10, 25)]),
    ],
)
def test_pictures_stand_in_reading_order(number, size, centres):
    merged = merge([picture(index) for index in range(number)], 1024)
    assert decode(merged).size == size
    assert colours(merged, centres) == COLOURS[:number]


def test_the_cells_of_a_grid_are_padded_with_white():
    merged = decode(merge([picture(0, (30, 10)), picture(1, (10, 20)), picture(2, (10, 10))], 1024))
    assert merged.size == (40, 30)
    assert [merged.getpixel(spot) for spot in [(0, 10), (39, 19), (10, 20), (30, 20)]] == [
        WHITE,
        (0, 255, 0),
        WHITE,
        WHITE,
    ]


@given(st.permutations(range(4)), st.sampled_from([16, 64, 1024]))
@settings(max_examples=20)
def test_the_order_of_the_parts_is_the_order_of_the_pictures(order, side):
    a, b = (
        make_sample(name, images=[picture(index) for index in part])
        for name, part in (("a", order[:2]), ("b", order[2:]))
    )
    merged = concatenate(a, b, max_side=side).images[0]
    width, height = decode(merged).size
    spots = [(x * width // 4, y * height // 4) for y in (1, 3) for x in (1, 3)]
    assert colours(merged, spots) == [COLOURS[index] for index in order]


SIDES = st.tuples(st.integers(1, 300), st.integers(1, 300)).filter(lambda size: max(size) <= 200 * min(size))


@given(st.lists(SIDES, min_size=2, max_size=6), st.integers(16, 2_000))
@settings(max_examples=30)
def test_nothing_is_enlarged_and_everything_fits(sizes, side):
    merged = decode(merge([picture(0, size) for size in sizes], side))
    assert max(merged.size) <= side
    # White may be added, so that the sides do not differ by more than 200 to 1.
    assert merged.width <= max(sum(w for w, _ in sizes), -(-merged.height // 200))
    assert merged.height <= max(sum(h for _, h in sizes), -(-merged.width // 200))


@pytest.mark.parametrize(
    ("kinds", "start"), [(("PNG", "PNG"), b"\x89PNG"), (("PNG", "JPEG"), b"\xff\xd8"), (("WEBP", "WEBP"), b"\x89PNG")]
)
def test_only_what_has_lost_already_loses_again(kinds, start):
    assert merge([picture(0, kind=kind) for kind in kinds], 1024).startswith(start)


def test_the_cache_changes_no_byte(tmp_path):
    parts = [picture(0, (400, 300), "JPEG"), picture(1, (500, 700))]
    cache = ImageCache(tmp_path, 10**7)
    assert merge(parts, 256) == merge(parts, 256, cache) == merge(parts, 256, cache)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


def corpus(tmp_path, name, workers, cache=None):
    path = tmp_path / f"{name}.parquet"
    corpus_io.write(path, augmented_set(make_corpus(24), 0.5, 5, workers=workers, cache=cache))
    return path.read_bytes()


@pytest.mark.slow
def test_neither_processes_nor_the_cache_nor_a_rebuild_change_a_byte(tmp_path):
    alone = corpus(tmp_path, "alone", 1)
    cache = ImageCache(tmp_path / "images", 10**7)
    assert alone == corpus(tmp_path, "again", 1)
    assert alone == corpus(tmp_path, "two", 2)
    assert alone == corpus(tmp_path, "three", 3, cache)
    assert alone == corpus(tmp_path, "alone", 1, cache)


def test_the_stage_writes_the_set_and_a_sheet_of_its_pairs(tmp_path):
    samples = make_corpus(24)
    corpus_io.write(tmp_path / "hard.parquet", samples)
    paths = {"corpus": f"{tmp_path}/hard.parquet", "out": f"{tmp_path}/concat/train.parquet"}
    options = {"share": 0.25, "text_mode": "turns", "max_side": 128, "balance": "label", "workers": 1}
    cache = {"cache": f"{tmp_path}/images", "cache_gb": 0.01}
    settings = {"gr_vl": {"dialect": "guardreasoner_vl", "seed": 3, "concat": paths | options | cache}}
    assert concat_stage.run(OmegaConf.create(settings))["pairs"] == 8
    assert corpus_io.read(tmp_path / "concat" / "train.parquet")[:24] == samples
    assert decode((tmp_path / "concat" / "contact_sheet.png").read_bytes()).width == 4 * contact_sheet.CELL
    assert list((tmp_path / "images").iterdir())


def test_progress_is_heard_of():
    heard = []
    augmented_set([make_sample(f"s{i}") for i in range(70)], 0.7, 1, report=lambda *said: heard.append(said))
    assert heard == [(64, 163), (128, 163)]


def test_a_sheet_shows_pictures_with_their_labels(tmp_path):
    hostile = "".join(map(chr, range(0x20))) + "\u202e\U0001f600 <b>" + "word " * 50_000
    shown = [
        make_sample(hostile if index else "a", prompt=hostile, images=(picture(index % 7),)) for index in range(40)
    ]
    contact_sheet.write(tmp_path / "new" / "sheet.png", [*shown, make_sample()][::-1], TASKS)
    sheet = Image.open(tmp_path / "new" / "sheet.png")
    cell = contact_sheet.CELL + contact_sheet.CAPTION
    assert sheet.size == (4 * contact_sheet.CELL, 4 * cell)
    assert sheet.convert("RGB").getpixel((contact_sheet.CELL + 20, 15)) in [
        decode(picture(i)).getpixel((0, 0)) for i in range(7)
    ]
    contact_sheet.write(tmp_path / "none.png", [make_sample(images=(b"x",))], TASKS)
    assert Image.open(tmp_path / "none.png").size == (4 * contact_sheet.CELL, cell)


def test_a_sheet_spreads_over_all_pairs_and_not_over_the_first_alone(tmp_path):
    # Of 32 every other one is shown: 8 of the first half, 8 of the second.
    contact_sheet.write(
        tmp_path / "sheet.png", [make_sample(f"{i}", images=(picture(i // 16),)) for i in range(32)], TASKS
    )
    sheet = Image.open(tmp_path / "sheet.png").convert("RGB")
    across, down = contact_sheet.CELL, contact_sheet.CELL + contact_sheet.CAPTION
    spots = [(index % 4 * across + across // 2, index // 4 * down + 15) for index in range(16)]
    first, second = (decode(picture(index)).getpixel((0, 0)) for index in (0, 1))
    assert [sheet.getpixel(spot) for spot in spots] == [first] * 8 + [second] * 8
    # Below each image stands its prompt.
    captions = [sheet.crop((x - 100, y + contact_sheet.CELL - 15, x, y + contact_sheet.CELL + 25)) for x, y in spots]
    assert all(caption.convert("L").getextrema()[0] < 100 for caption in captions)

"""The cache of shrunken pictures: what it gives is what decoding gives, whatever happened to its files."""

import time
from concurrent.futures import ThreadPoolExecutor
from pickle import dumps, loads

import pytest
from factories import make_png

from gr_vl.data import images
from gr_vl.data.image_cache import ImageCache
from gr_vl.errors import DataError

PICTURES = [make_png(seed, (64, 48)) for seed in range(6)]
ENTRY = 16 + 64 * 48 * 3


def same(cache, data, shrink=1):
    return cache.picture(data, shrink).tobytes() == images.decode(data, shrink=shrink).tobytes()


def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_picture_is_decoded_once(tmp_path, monkeypatch):
    cache, expected = ImageCache(tmp_path, 10**6), images.decode(PICTURES[0], shrink=2).tobytes()
    assert same(cache, PICTURES[0], 2)
    monkeypatch.setattr(images, "decode", None)
    assert cache.picture(PICTURES[0], 2).tobytes() == expected


def test_every_size_has_its_own_entry(tmp_path):
    cache = ImageCache(tmp_path, 10**6)
    assert all(same(cache, PICTURES[0], shrink) for shrink in (1, 2, 4, 2, 1))
    assert len(entries(tmp_path)) == 3


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda entry: b"", id="empty"),
        pytest.param(lambda entry: entry[:7], id="half a header"),
        pytest.param(lambda entry: entry[:-1], id="cut off"),
        pytest.param(lambda entry: entry + b"x", id="longer"),
        pytest.param(lambda entry: entry[:-1] + bytes([entry[-1] ^ 1]), id="one bit of the last pixel"),
        pytest.param(lambda entry: b"\xff" * len(entry), id="all ones"),
    ],
)
def test_a_damaged_entry_is_made_anew(tmp_path, damage):
    cache = ImageCache(tmp_path, 10**6)
    cache.picture(PICTURES[0], 1)
    (path,) = entries(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert same(cache, PICTURES[0])
    assert path.read_bytes() == whole


def test_the_entry_used_longest_ago_goes_first(tmp_path):
    cache = ImageCache(tmp_path, 2 * ENTRY)
    for index in (0, 1, 0, 2):
        cache.picture(PICTURES[index], 1)
        time.sleep(0.02)  # a file system's clock ticks every few milliseconds
    first, second, third = (cache._path(PICTURES[index], 1) for index in range(3))
    assert entries(tmp_path) == sorted([first, third])
    assert not second.exists()


def test_what_does_not_fit_is_not_kept(tmp_path):
    assert same(ImageCache(tmp_path, ENTRY // 2), PICTURES[0])
    assert entries(tmp_path) == []


def test_what_a_killed_writer_left_is_cleared_too(tmp_path):
    cache = ImageCache(tmp_path, 2 * ENTRY)
    cache.picture(PICTURES[0], 1)
    left = entries(tmp_path)[0].with_suffix(".dead.part")
    left.write_bytes(b"x" * 2 * ENTRY)
    cache.picture(PICTURES[1], 1)
    cache.picture(PICTURES[2], 1)
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 2 * ENTRY


@pytest.mark.parametrize("name", ["photos/0.raw", "ab/notes.txt", f"ab/{'0' * 64}.rgb", f"{'ab' * 32}.rgb"])
def test_a_file_of_somebody_else_stays(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x" * 9 * ENTRY)
    cache = ImageCache(tmp_path, 2 * ENTRY)
    for data in PICTURES:
        cache.picture(data, 1)
    assert (tmp_path / name).stat().st_size == 9 * ENTRY
    assert len(entries(tmp_path)) == 3


def test_writers_at_the_same_time_do_not_disturb_each_other(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        work = [(ImageCache(tmp_path, 3 * ENTRY), PICTURES[index % 6]) for index in range(120)]
        assert all(threads.map(lambda item: same(*item), work))
    assert not [path for path in entries(tmp_path) if path.suffix == ".part"]


def test_a_process_has_one_cache_for_a_folder(tmp_path):
    sent = dumps(ImageCache(tmp_path, 5))
    assert loads(sent) is loads(sent)
    assert (loads(sent).folder, loads(sent).max_bytes) == (tmp_path, 5)


def test_what_is_no_picture_stays_an_error(tmp_path):
    with pytest.raises(DataError, match="no readable"):
        ImageCache(tmp_path, 5).picture(b"x", 1)

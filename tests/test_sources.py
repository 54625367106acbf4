"""Every source reads what its authors publish: shapes, labels, ids, order, and an account of every row."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import source_shapes

from gr_vl.data import counts, sources
from gr_vl.data.sources.hod import CLASSES
from gr_vl.errors import Broken, ConfigError, DataError
from gr_vl.schema import Label, Modality, Task

H, U = Label.HARMFUL, Label.UNHARMFUL
ROWS = 12
REAL = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "xstest"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the XSTest files are not at ../shared/data/xstest")
ROOT = Path(__file__).parent.parent
ELSEWHERE = ("spa_vl_train", "hod")
"""Their labels are checked below: no cell of theirs states them."""
KEY = re.compile(r"rows|(text|image|text_image)|(prompt|response)(/(un)?harmful)?|refusal(/(refusal|compliance))?")


def labels(sample):
    return sample.labels.get(Task.PROMPT), sample.labels.get(Task.RESPONSE)


@pytest.fixture(params=sources.names(), scope="module")
def written(request, tmp_path_factory):
    """A source, a folder of its shape, the labels that are written there, and what was read."""
    folder = tmp_path_factory.mktemp(request.param)
    wanted = source_shapes.write(request.param, folder, ROWS)
    source = sources.get(request.param)
    return source, folder, wanted, list(source.read(folder))


def test_a_source_gives_every_row_of_its_shape_with_its_label(written):
    source, _, wanted, found = written
    assert not [item for item in found if isinstance(item, Broken)]
    assert len(found) == ROWS
    if source.name not in ELSEWHERE:
        assert [labels(sample) for sample in found] == wanted
    assert {sample.modality for sample in found} <= set(source.modalities)
    # Pictures alone have no response that could be judged.
    unjudged = {Task.RESPONSE} if source.name == "guardreasoner_vl_train_image" else set()
    assert {task for sample in found for task in sample.labels} == set(source.tasks) - unjudged


def test_a_source_read_again_is_the_same_under_the_same_ids(written):
    source, folder, _, found = written
    assert list(source.read(folder)) == found
    assert len({sample.id for sample in found}) == ROWS
    assert {sample.source for sample in found} <= set(source.origins or (source.name,))
    assert all(sample.id.startswith(source.name) for sample in found)


def test_the_words_and_pictures_of_a_row_reach_its_sample(written):
    source, _, _, found = written
    # Each row of this one holds two samples with the request of the first.
    shift = 2 if source.name.startswith("pku_saferlhf") else 1
    for number, sample in enumerate(found):
        if sample.modality is not Modality.IMAGE:
            assert sample.prompt.startswith(f"Request {number // shift * shift}: ")
        if sample.response is not None:
            assert (
                sample.response.removeprefix("chosen: ").removeprefix("rejected: ").startswith(f"Response {number}: ")
            )
        if sample.modality is not Modality.TEXT:
            assert sample.images == (source_shapes.small_picture(number),)


@pytest.fixture(params=sources.names())
def source(request):
    return sources.get(request.param)


def test_a_source_says_what_it_misses(source, tmp_path):
    with pytest.raises(DataError, match=r"no such folder|no such file"):
        list(source.read(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        list(source.read(tmp_path))


def test_a_source_tells_about_itself(source):
    for text in (source.title, source.url, source.licence, source.layout, source.selects):
        assert text.strip()
    assert source.tasks
    assert source.modalities
    assert all(KEY.fullmatch(key) for key in source.published)


def test_there_is_a_shape_for_every_source_and_no_other():
    assert sorted(source_shapes.SHAPES) == sources.names()


def test_an_unknown_source_lists_the_known():
    with pytest.raises(
        ConfigError, match=r"'wildguard' is unknown \(did you mean wildguard_te?.*aegis1_test, .*xstest"
    ):
        sources.get("wildguard")


def test_a_list_of_sources_costs_no_heavy_import():
    heavy = ("pyarrow", "PIL", "numpy", "torch", "datasets")
    code = (
        f"import sys; from gr_vl.data import sources; sources.names(); sys.exit(any(n in sys.modules for n in {heavy}))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_spa_vl_shows_the_preferred_answer_as_unharmful_and_the_other_as_harmful(tmp_path):
    source_shapes.write("spa_vl_train", tmp_path, 200)
    shown = {True: 0, False: 0}
    for sample in sources.get("spa_vl_train").read(tmp_path):
        chosen = sample.response.startswith("chosen: ")
        assert sample.labels == {Task.RESPONSE: U if chosen else H}
        shown[chosen] += 1
    # 200 fair coins: beyond 60 to 140 lies one run in 10^8, and the draw is the same in every run.
    assert 60 < shown[True] < 140


def test_the_origin_of_a_row_is_the_file_that_the_release_put_it_in(tmp_path):
    source_shapes.write("guardreasoner_train", tmp_path, 2)
    [file] = tmp_path.rglob("*.parquet")
    file.with_name("AegisTrainR-00000-of-00001.parquet").write_bytes(file.read_bytes())
    file.with_name("OtherTrainR-00000-of-00001.parquet").write_bytes(file.read_bytes())
    found = list(sources.get("guardreasoner_train").read(tmp_path))
    assert [item.source for item in found if not isinstance(item, Broken)] == ["aegis"] * 2 + ["wildguard"] * 2
    assert {item.reason for item in found if isinstance(item, Broken)} == {"its name is none of the release's"}


def test_hod_judges_by_the_object(tmp_path):
    source_shapes.write("hod", tmp_path, ROWS)
    found = {sample.id.split("-")[1]: sample.labels[Task.PROMPT] for sample in sources.get("hod").read(tmp_path)}
    assert found == {"alcohol": U, "blood": H, "cigarette": U, "gun": H, "insulting_gesture": H, "knife": H}
    assert found == CLASSES


@needs_real
@pytest.mark.parametrize("name", ["xstest", "xstest_prompts"])
def test_the_real_files_give_the_published_counts(name):
    source = sources.get(name)
    told = counts.Counts()
    for item in source.read(REAL):
        told.add(item)
    assert [(key, found) for key, found, published in told.beside(source.published) if published is not None] == list(
        source.published.items()
    )


def test_a_row_keeps_its_id_when_the_file_grows(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    source_shapes.write("wildguard_train", small, 5)
    source_shapes.write("wildguard_train", large, 9)
    read = sources.get("wildguard_train").read
    assert list(read(large))[:5] == list(read(small))

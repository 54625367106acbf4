"""Cells on disk: every stage is run once, what is done is kept, and settings are never mixed."""

import io
import json
import shutil

import pytest
from ablations import answer, finish, write_grid
from factories import write_json
from omegaconf import OmegaConf
from rich.console import Console

from gr_vl.ablation import grid, runner
from gr_vl.ablation.plan import plan
from gr_vl.errors import ConfigError, DataError

pytestmark = pytest.mark.slow


def planned(folder, *overrides, **changes):
    return plan(grid.load(str(write_grid(folder, **changes))), folder / "out", overrides)


def run(cells):
    """What was said, line by line, and how often a cell was finished."""
    console, finished = Console(file=io.StringIO(), width=200), []
    runner.run(cells, console, lambda: finished.append(True))
    return console.file.getvalue().splitlines(), len(finished)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("stage.json")}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A grid of one seed, run: its stages `data` and `concat` for real, its guards have answered before."""
    folder = tmp_path_factory.mktemp("ablation")
    cells = planned(folder, seeds=[1])
    for cell in cells:
        answer(cell, skill=0.9)
    said, finished = run(cells)
    return folder, cells, said, finished


@pytest.fixture
def done(first, tmp_path):
    """A copy of it, links as links."""
    shutil.copytree(first[0], tmp_path / "grid", symlinks=True)
    folder = tmp_path / "grid"
    for path in folder.rglob("config.yaml"):
        path.write_text(path.read_text().replace(str(first[0]), str(folder)))
    return folder


def test_stages_are_run_where_they_belong_and_seen_in_every_cell(first):
    folder, cells, _, finished = first
    assert finished == len(cells) == 2
    corpora = {cell.variant: cell.folder / "concat" / "train.parquet" for cell in cells}
    # 12 samples and the 3 pairs that make a fifth, or none.
    counts = {name: json.loads((path.parent / "counts.json").read_text()) for name, path in corpora.items()}
    assert {name: count["train"]["n"] for name, count in counts.items()} == {"full": 15, "alone": 12}
    assert (folder / "out" / "alone_seed1" / "data").readlink().as_posix() == "../shared_seed1/data"
    assert not (folder / "out" / "alone_seed1" / "concat").is_symlink()
    assert json.loads((folder / "out" / "full_seed1" / "run.json").read_text())["seed"] == 1
    assert all(runner.is_done(cell) for cell in cells)


def test_it_says_which_cell_and_what_is_to_run(first):
    _, _, said, _ = first
    heads = [line for line in said if line.startswith("cell")]
    assert heads == [
        "cell 1 of 2  full, seed 1: data, concat to run",
        "cell 2 of 2  alone, seed 1: concat to run, about 1 min left",
    ]
    assert [line.split()[1] for line in said if line.startswith("done")] == ["data", "concat", "concat"]


def test_a_second_run_does_nothing(done):
    cells, before = planned(done, seeds=[1]), times(done)
    said, finished = run(cells)
    assert said == ["cell 1 of 2  full, seed 1: done before", "cell 2 of 2  alone, seed 1: done before"]
    # The tables are written once, at the end.
    assert finished == 1
    assert times(done) == before


def test_only_what_is_missing_is_run(done):
    cells, before = planned(done, seeds=[1]), times(done)
    shutil.rmtree(done / "out" / "alone_seed1" / "concat")
    said, _ = run(cells)
    assert [line.split()[1] for line in said if line.startswith("done")] == ["concat"]
    changed = {path for path, time in times(done).items() if before[path] != time}
    assert changed == {done / "out" / "alone_seed1" / "concat" / "stage.json"}


def test_a_stage_that_was_killed_is_run_again(done):
    (done / "out" / "shared_seed1" / "concat" / "stage.json").unlink()
    said, _ = run(planned(done, seeds=[1]))
    assert said[0].startswith("cell 1 of 2  full, seed 1: concat to run, about 1 min left")
    assert said[-1].endswith("done before")


def test_a_moved_folder_keeps_its_links(done):
    moved = done / "elsewhere"
    (done / "out").rename(moved)
    assert (moved / "alone_seed1" / "data" / "test.parquet").is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(
            {"variants": {"full": [], "alone": ["concat:gr_vl.concat.share=0.5"]}},
            ["cell alone_seed1: gr_vl.concat.share=0.5", "was made with 0.0; remove ", "/out/alone_seed1 or"],
            id="another value of a variant",
        ),
        pytest.param(
            {"overrides": ["gr_vl.data.test=3"], "stages": ["data", "concat", "eval"]},
            ["every cell: gr_vl.data.test"],
            id="a key that not every stage has",
        ),
        pytest.param(
            {"overrides": ["data:gr_vl.data.test=3"]},
            ["cell full_seed1: gr_vl.data.test=3", "was made with 6"],
            id="another corpus for all",
        ),
        pytest.param(
            {"variants": {"full": [], "alone": []}},
            ["cell alone_seed1", "another definition of concat, eval", "remove that folder"],
            id="a variant that no longer differs",
        ),
        pytest.param(
            {"variants": {"full": [], "alone": ["data:gr_vl.data.train=9", "concat:gr_vl.concat.share=0.0"]}},
            ["cell alone_seed1", "data belongs to shared_seed1", "remove "],
            id="a variant that now differs from the start",
        ),
    ],
)
def test_a_changed_definition_is_refused_before_anything_runs(done, changes, words):
    before = times(done)
    with pytest.raises(ConfigError) as caught:
        run(planned(done, seeds=[1], **changes))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert times(done) == before


def test_a_cell_whose_start_was_made_anew_is_refused(done):
    # The corpus was removed, as the message says, and the rest was not.
    shutil.rmtree(done / "out" / "shared_seed1")
    with pytest.raises(ConfigError, match=r"cell full_seed1: .*full_seed1 was begun with another definition of data"):
        run(planned(done, seeds=[1], overrides=["data:gr_vl.data.test=3"]))


def test_a_new_variant_and_a_new_seed_leave_the_others_alone(done):
    variants = {"new": ["eval:gr_vl.generation.top_p=0.5"], "full": [], "alone": ["concat:gr_vl.concat.share=0.0"]}
    cells, before = planned(done, seeds=[1, 2], variants=variants), times(done)
    for cell in cells:
        if not (cell.folder / "eval").exists():
            answer(cell, skill=0.5)
        if cell.seed == 2:
            for stage in cell.stages[:2]:
                finish(stage)
                write_json(stage.run / "run.json", {"seed": 2})
    said, _ = run(cells)
    assert [line.split(": ")[1] for line in said] == ["done before"] * 6
    assert {path: time for path, time in times(done).items() if path in before} == before


def test_what_a_stage_cannot_use_ends_the_run(tmp_path):
    with pytest.raises(DataError, match="no model there"):
        run(planned(tmp_path, seeds=[1], variants={"full": []}))
    # What was done is kept.
    assert (tmp_path / "out" / "shared_seed1" / "concat" / "stage.json").is_file()
    assert OmegaConf.load(tmp_path / "out" / "shared_seed1" / "concat" / "config.yaml").gr_vl.seed == 1


def test_a_plan_can_be_looked_at(done):
    console = Console(file=io.StringIO(), width=120)
    runner.show(planned(done, seeds=[1, 2]), console)
    text = console.file.getvalue()
    rows = {line.split()[1]: line for line in text.splitlines() if "_seed" in line}
    assert list(rows) == ["full_seed1", "alone_seed1", "full_seed2", "alone_seed2"]
    assert "data concat eval │ -" in rows["alone_seed1"]
    assert "│ data concat eval │ shared_seed2" in rows["alone_seed2"]
    # Three stages shared and two of the variant, for each seed.
    assert "4 cells, 10 stages in all" in text

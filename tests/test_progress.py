"""The progress file: replaced as a whole, with the last word in it."""

import json

from gr_vl import progress


def test_the_last_report_stands_alone(tmp_path):
    folder = tmp_path / "runs" / "mine"
    progress.report(folder, 0, 12)
    assert json.loads((folder / progress.NAME).read_text()) == {"done": 0, "total": 12, "note": ""}
    progress.report(folder, 12, 12, "rl")
    assert json.loads((folder / progress.NAME).read_text()) == {"done": 12, "total": 12, "note": "rl"}
    assert [path.name for path in folder.iterdir()] == [progress.NAME]

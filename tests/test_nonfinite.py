"""Gradients that are not finite: counted, forgiven one by one, and the end when they do not stop."""

import json
import math

import pytest

from gr_vl.errors import StageError
from gr_vl.nonfinite import Skips

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("steps", "counts", "end"),
    [
        pytest.param([[1.0, 0.5], [2.0]], [0, 0], False, id="all finite"),
        pytest.param([[NAN, 1.0, INF], [NAN, 0.1]], [2, 1], False, id="never three in a row"),
        pytest.param([[1.0, NAN], [INF, -INF]], [1, 2], True, id="three in a row over two steps"),
        pytest.param([[NAN] * 3, [1.0]], [3, 0], False, id="a finite one starts the count again"),
    ],
)
def test_updates_are_counted(tmp_path, steps, counts, end):
    skips = Skips(3, tmp_path)
    assert [skips.count(norms) for norms in steps] == counts
    assert skips.too_many is end


def test_the_batch_is_on_disk_when_the_run_ends(tmp_path):
    skips = Skips(2, tmp_path / "nonfinite")
    skips.count([NAN, NAN])
    with pytest.raises(StageError, match=r"2 updates in a row .* up to step 7 .*nonfinite_limit=2.*step_7\.jsonl"):
        skips.give_up(7, [{"sample": "a", "score": 1.0}, {"sample": "b", "score": 0.0}])
    lines = (tmp_path / "nonfinite" / "step_7.jsonl").read_text().splitlines()
    assert [json.loads(line)["sample"] for line in lines] == ["a", "b"]

"""Updates whose gradient is not finite: verl skips them and says so in a log; here they are counted and bounded."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gr_vl.errors import StageError


class Skips:
    """How many updates were skipped in a row; `limit` of them end the run."""

    def __init__(self, limit: int, folder: Path) -> None:
        self.limit, self.folder, self.in_a_row = limit, folder, 0

    def count(self, norms: Iterable[float]) -> int:
        """Note the gradient norms of some updates; the number that was not finite."""
        skipped = 0
        for norm in norms:
            finite = math.isfinite(norm)
            skipped += not finite
            self.in_a_row = 0 if finite else self.in_a_row + 1
        return skipped

    @property
    def too_many(self) -> bool:
        """Whether the run must end."""
        return self.in_a_row >= self.limit

    def give_up(self, step: int, rows: Iterable[dict[str, Any]]) -> None:
        """Write the batch at hand down and raise StageError. The newest checkpoint is from before, and finite."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{step}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        raise StageError(
            f"the gradients of {self.in_a_row} updates in a row were not finite, up to step {step} "
            f"(gr_vl.nonfinite_limit={self.limit}); the batch is in {path}"
        )

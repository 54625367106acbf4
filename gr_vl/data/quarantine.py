"""A quarantine file: of each row left out one line of JSON with file, row, id, field, value, reason, fix, or more."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gr_vl.data.build.files import replace_text


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write what `Broken.record` gives of every row; the file is the old one or the new one."""
    replace_text(path, "".join(f"{json.dumps(record)}\n" for record in records))

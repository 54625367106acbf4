"""A quarantine file: the rows that were left out, one JSON object a line: file, row, id, field, value, reason, fix.

It may say more of each, and never less.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gr_vl.data.build.files import replace_text


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write what `Broken.record` gives of every row; the file is the old one or the new one."""
    replace_text(path, "".join(f"{json.dumps(record)}\n" for record in records))

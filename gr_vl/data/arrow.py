"""Columns of parquet files: as Python values where they are asked for, and as the types that a corpus has."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gr_vl.errors import Broken, DataError
from gr_vl.schema import Task
from gr_vl.tasks import SHARED


def listed(batch: Any) -> Iterator[Mapping[str, Any]]:
    """The rows of an Arrow batch. A cell becomes a Python value when it is asked for, or `Broken` where it has none."""
    columns = _Columns(batch)
    return (_Cells(columns, number) for number in range(batch.num_rows))


class _Columns(dict[str, list[Any]]):
    """Columns of a batch as Python values, once they are asked for: a time that Python has no value for, in a column
    that nobody reads, costs no row."""

    def __init__(self, batch: Any) -> None:
        self.batch, self.names = batch, dict.fromkeys(batch.schema.names)

    def __missing__(self, name: str) -> list[Any]:
        if name not in self.names:
            raise KeyError(name)
        places = self.batch.schema.get_all_field_indices(name)
        if len(places) > 1:
            self[name] = [Broken.repeated(name)] * self.batch.num_rows
        else:
            self[name] = _values(name, self.batch.column(places[0]))
        return self[name]


class _Cells(Mapping[str, Any]):
    def __init__(self, columns: _Columns, row: int) -> None:
        self._columns, self._row = columns, row

    def __getitem__(self, name: str) -> Any:
        return self._columns[name][self._row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns.names)

    def __len__(self) -> int:
        return len(self._columns.names)


def _values(name: str, column: Any) -> list[Any]:
    # What is raised depends on the type, and on whether pandas and a database of time zones are there.
    try:
        plain = column.cast(_timeless(column.type))
        found: list[Any] = plain.to_pylist()
        return found
    except Exception:
        return [_value(name, scalar) for scalar in column]


def _value(name: str, scalar: Any) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return Broken(name, error.object[:80], "a text that is no UTF-8", "encode it again, or leave it out")
    except Exception:
        return Broken(name, None, f"a value of type {scalar.type} that Python has none for", "write it as text")


def _timeless(kind: Any) -> Any:
    """A type with numbers for the times inside of structs, lists and maps, which are read whole for another field."""

    def inner(kind: Any) -> Any:
        is_time = pa.types.is_temporal(kind) and not pa.types.is_interval(kind)
        return {32: pa.int32(), 64: pa.int64()}[kind.bit_width] if is_time else _timeless(kind)

    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(inner(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(inner(kind.key_type), inner(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.list_ if pa.types.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(inner(kind.value_type)))
    return kind


def cast(column: Any, field: pa.Field, where: str, start: int) -> Any:
    """A column as the type of a field, when every value has exactly one there that stands for it.

    Numbers with a point have none as text: 1 and 1.0 would be two ids. A column that holds nothing may be of any type.
    Raises DataError with `where` and the number of the first row that holds something; the column's is `start`.
    """
    if column.type == field.type:
        return column
    stored = column.storage if isinstance(column, pa.ExtensionArray) else column
    if _fits(stored.type, field.type) and not isinstance(column.type, pa.UuidType):
        # Bytes that are no UTF-8 are found row by row, as in a column of text.
        return pc.cast(stored, options=pc.CastOptions.unsafe(field.type))
    filled = pc.is_valid(stored)
    if pa.types.is_floating(stored.type):  # where pandas writes NaN for what is missing
        filled = pc.and_(filled, pc.invert(pc.is_nan(stored.cast(pa.float64())).fill_null(True)))
    if (place := pc.index(filled, True).as_py()) < 0:
        return pa.nulls(len(column), field.type)
    raise DataError(f"{where} {start + place}: {field.name} is a column of type {column.type}; {_wanted(field)}")


def _fits(given: Any, wanted: Any) -> bool:
    """Whether every value of a type has exactly one of another that stands for it."""
    is_ = pa.types
    if is_.is_dictionary(given):
        given = given.value_type
    if is_.is_string(wanted):
        texts = (is_.is_string, is_.is_large_string, is_.is_string_view, is_.is_integer, is_.is_null)
        return any(is_one(given) for is_one in texts) or _is_bytes(given)
    lists = (is_.is_list, is_.is_large_list, is_.is_fixed_size_list, is_.is_list_view, is_.is_large_list_view)
    if not is_.is_list(wanted) or not any(is_one(given) for is_one in lists):
        return False
    image = given.value_type
    if not is_.is_struct(image):
        return bool(is_.is_null(image))
    kinds = {name: [field.type for field in image if field.name == name] for name in ("bytes", "path")}
    return (
        len(kinds["bytes"]) == 1
        and (_is_bytes(kinds["bytes"][0]) or is_.is_null(kinds["bytes"][0]))
        and all(_fits(kind, pa.string()) for kind in kinds["path"])
    )


def _is_bytes(kind: Any) -> bool:
    is_ = pa.types
    tests = (is_.is_binary, is_.is_large_binary, is_.is_binary_view, is_.is_fixed_size_binary)
    return any(is_one(kind) for is_one in tests)


def _wanted(field: pa.Field) -> str:
    """What to do about a column of another type."""
    if field.name == "images":
        return "write list<struct<bytes: binary, path: string>>, the encoded file itself as bytes"
    task = next((task for task in SHARED if field.name.endswith(f"{task}_label")), None)
    return "write text, or whole numbers as such" if task is None else words(task)


def words(task: Task) -> str:
    """What to write for a label of a task."""
    return f"write {' or '.join(reversed(task.labels))}"

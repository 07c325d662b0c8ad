"""Rows of Parquet files as lines of JSON: columns are fields of events or items; some rows in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from streams.base.errors import ConfigurationError
from streams.commands.shell import extra
from streams.events.drafts import Line
from streams.events.wire import WireEvent, WireItem

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_MAGIC: Final = b"PAR1"
_ROWS: Final = 1_000
_BUFFER_BYTES: Final = 1 << 20
#: Fields with fields of their own: a struct, a map, or a string of JSON.
_NESTED: Final = ("item", "context", "media")
_LISTS: Final = ("items", "clicked", "categories", "tags")
_FIELDS: Final = frozenset({*WireEvent.__struct_fields__, *WireItem.__struct_fields__})
_encode = msgspec.json.Encoder().encode


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet by its first bytes; its name does not matter."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False  # whoever reads it says why


def read_rows(path: Path) -> Iterator[Line]:
    """The rows of a file as JSON, numbered from 1 over the whole file. Nulls and NaN are left out, times are in ms.

    ConfigurationError, with row group and row, where the file cannot be read or is of other columns.
    """
    number = 0
    with extra("parquet"):
        import pyarrow as pa
    try:
        file = _opened(path)
        columns = columns_of(path)[0]
        for batch in file.iter_batches(_ROWS, columns=list(columns)):
            rows = _in_ms(batch).to_pylist()
            for row in rows:
                number += 1
                yield Line(number, _body(row, path, number))
    except (pa.ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
        # Values that Python has no room for: a time in the year 300,000, a zone or a character that there is not.
        raise ConfigurationError(f"{place(path, number + 1)}: cannot be read: {_first_line(error)}") from error


def columns_of(path: Path) -> tuple[Sequence[str], Sequence[str]]:
    """The columns of a file that are fields of an event or item, and those that are not, which nobody reads.

    ConfigurationError where it has neither `user_id` nor `item_id`.
    """
    try:
        names = _opened(path).schema_arrow.names
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: cannot be read as Parquet: a column's name is no text") from error
    known = [name for name in names if name in _FIELDS]
    if not {"user_id", "item_id"} & set(known):
        raise ConfigurationError(
            f"{path}: expected columns named like fields (user_id, type, ts, item_id, …), got {', '.join(names[:8])}; "
            "rename them where you write the file"
        )
    return known, [name for name in names if name not in _FIELDS]


def count_rows(path: Path) -> int:
    """How many rows a file has, by its footer."""
    return int(_opened(path).metadata.num_rows)


def place(path: Path, number: int) -> str:
    """Where the row of a number lies: `events.parquet: row group 2, row 17`, both counted from 1."""
    before = 0
    try:
        metadata = _opened(path).metadata
    except ConfigurationError:
        return str(path)
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if number <= before + rows:
            return f"{path.name}: row group {group + 1}, row {number - before}"
        before += rows
    return f"{path.name}: after its last row"


def _opened(path: Path) -> pq.ParquetFile:
    with extra("parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise ConfigurationError(f"{path}: cannot be read as Parquet: {_first_line(error)}") from error


def _in_ms(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same with columns of timestamps as whole milliseconds, whatever their unit; those without a zone are UTC."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for at, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type):
            whole = pc.cast(batch.column(at), pa.timestamp("ms", tz=column.type.tz), safe=False)
            batch = batch.set_column(at, column.name, pc.cast(whole, pa.int64()))
    return batch


def _body(row: dict[str, Any], path: Path, number: int) -> bytes:
    try:
        kept = {name: _value(name, value) for name, value in row.items()}
        return _encode({name: value for name, value in kept.items() if value is not None})
    except (msgspec.DecodeError, UnicodeError, TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{place(path, number)}: {_first_line(error)}") from error


def _value(name: str, value: Any) -> Any:
    if name in _NESTED:
        if isinstance(value, (str, bytes)):
            return msgspec.json.decode(value) if value else None
        if isinstance(value, list) and name != "media":  # a map's entries
            value = dict(value)
    elif name in _LISTS and isinstance(value, str):
        return msgspec.json.decode(value) if value else None
    return _plain(value)


def _plain(value: Any) -> Any:
    """A value as JSON has it; None where it says nothing."""
    if isinstance(value, dict):
        inner = {key: _plain(one) for key, one in value.items()}
        return {key: one for key, one in inner.items() if one is not None} or None
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.isoformat() + "Z"
    if isinstance(value, (date, time)):
        raise TypeError(f"a {type(value).__name__} says no moment: expected a timestamp, or ms since 1970")
    return value.decode() if isinstance(value, bytes) else value


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]

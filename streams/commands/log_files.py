"""Files of a log: lines of JSON, gzip or not, or Parquet; which of them a file is, its first bytes say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from streams.commands import parquet_lines
from streams.commands.json_lines import read_lines
from streams.events.drafts import Line


def read_file(path: Path) -> Iterator[Line]:
    """The events or items of a file as JSON, with their numbers. ConfigurationError where it cannot be read."""
    return parquet_lines.read_rows(path) if parquet_lines.is_parquet(path) else read_lines(path)


def count(paths: Sequence[Path]) -> int:
    """How many events or items the files hold."""
    return sum(
        parquet_lines.count_rows(path) if parquet_lines.is_parquet(path) else sum(1 for _ in read_lines(path))
        for path in paths
    )


def place(path: Path, number: int) -> str:
    """Where a line or row lies, for people."""
    return parquet_lines.place(path, number) if parquet_lines.is_parquet(path) else f"{path.name}:{number}"


def ignored_columns(paths: Sequence[Path]) -> dict[str, Sequence[str]]:
    """By file, the columns that are no field, and that nobody reads therefore."""
    found = {path.name: parquet_lines.columns_of(path)[1] for path in paths if parquet_lines.is_parquet(path)}
    return {name: columns for name, columns in found.items() if columns}

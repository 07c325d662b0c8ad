"""A folder of Parquet files that never looks whole before it is: it is called `.partial` until all of it is on disk.

Files are written row group by row group, so that memory stays bounded. Only this user may read them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from streams.base.errors import ConfigurationError

#: Rows that wait to be written, over all files of a table: 25 MiB of vectors of 384 numbers.
_HELD_ROWS: Final = 16_384
_LEAST_ROWS: Final = 256
MANIFEST: Final = "export.json"


@dataclass(slots=True)
class _File:
    path: Path
    file: IO[bytes]
    writer: pq.ParquetWriter
    waiting: list[pa.Table] = field(default_factory=list)
    held: int = 0
    rows: int = 0


@dataclass(slots=True)
class _Written:
    """What there is of a table."""

    schema: pa.Schema
    rows: int = 0
    files: int = 0


class ExportFolder:
    """Tables in folders of their own, `parts` files each at most: `with ExportFolder(out, ...) as folder`.

    `metadata` is written into every file and, with rows and files by table, into `export.json`. ConfigurationError
    where the folder, or one that an export did not finish, is there already, or where it cannot be written.
    """

    def __init__(self, out: Path, schemas: Mapping[str, pa.Schema], metadata: Mapping[str, Any], parts: int) -> None:
        if out.name in ("", ".."):
            raise ConfigurationError(f"--out {out}: expected the name of a folder that is not there yet")
        self.out, self.partial, self.parts = out, out.with_name(out.name + ".partial"), parts
        for path in (self.out, self.partial):
            if path.exists():
                raise ConfigurationError(f"{path} is there already: delete it, or name another folder with --out")
        self._metadata = dict(metadata)
        self._tables = {name: _Written(schema) for name, schema in schemas.items()}
        self._files: dict[tuple[str, int], _File] = {}
        self._held_rows = max(_LEAST_ROWS, _HELD_ROWS // parts)

    def __enter__(self) -> ExportFolder:
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.partial.mkdir(mode=0o700)
            for name in self._tables:
                (self.partial / name).mkdir(mode=0o700)
        except OSError as error:
            raise ConfigurationError(f"{error.filename}: {error.strerror}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._files.values():
            one.writer.is_open = False  # or it writes a footer at last, as if the file were whole
            with suppress(OSError):  # what waits in its buffer finds no room either: the error under way says so
                one.file.close()

    def add(self, name: str, part: int, rows: pa.Table) -> None:
        """Write rows of a table into one of its parts, once enough of them are together."""
        if not rows.num_rows:
            return
        file = self._files.get((name, part)) or self._begin(name, part)
        file.waiting.append(rows)
        file.held += rows.num_rows
        if file.held >= self._held_rows:
            self._write(file)

    def finish(self) -> dict[str, int]:
        """Write what waits, the manifest, and give the folder its name; returns the rows of each table."""
        for name in self._tables:
            if not any(of == name for of, _ in self._files):
                self._begin(name, 0)  # a table without rows has columns all the same
        try:
            for (name, _), one in self._files.items():
                self._write(one)
                one.writer.close()
                one.file.flush()
                os.fsync(one.file.fileno())
                self._tables[name].rows += one.rows
                self._tables[name].files += 1
            manifest = self._metadata | {
                "tables": {
                    name: {"rows": table.rows, "files": table.files, "columns": table.schema.names}
                    for name, table in self._tables.items()
                }
            }
            with _opened(self.partial / MANIFEST) as file:
                file.write(json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self.partial.rename(self.out)
        except OSError as error:
            raise ConfigurationError(f"{error.filename or self.partial}: {error.strerror}") from error
        return {name: table.rows for name, table in self._tables.items()}

    def _begin(self, name: str, part: int) -> _File:
        path = self.partial / name / f"part-{part:05}.parquet"
        words = {
            f"interests.{key}": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in self._metadata.items()
        }
        schema = self._tables[name].schema.with_metadata({"interests.table": name, **words})
        file = _opened(path)
        writer = pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True)
        self._files[name, part] = made = _File(path, file, writer)
        return made

    def _write(self, one: _File) -> None:
        if one.held:
            try:
                one.writer.write_table(pa.concat_tables(one.waiting).cast(one.writer.schema))
            except OSError as error:
                raise ConfigurationError(f"{one.path}: {error.strerror or error}") from error
        one.rows += one.held
        one.waiting, one.held = [], 0


def _opened(path: Path) -> IO[bytes]:
    try:
        return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error

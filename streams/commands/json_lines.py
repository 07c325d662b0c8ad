"""JSON lines from a file, gzip or not, or from standard input; one line in memory at a time."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from streams.base.errors import ConfigurationError
from streams.events.drafts import Line

STDIN: Final = Path("-")
#: A longer line is cut: the parser refuses it by its size, and memory stays bounded.
MAX_LINE_BYTES: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file that hold anything, with their numbers. ConfigurationError where it cannot be read."""
    number = 0
    try:
        with _opened(path) as file:
            while raw := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
                    _skip_rest(file)
                if body := raw.strip():
                    yield Line(number, body)
    except (OSError, EOFError, zlib.error) as error:
        where = f" after line {number}" if number else ""
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigurationError(f"{path}: cannot be read{where}: {reason}") from error


def _skip_rest(file: IO[bytes]) -> None:
    while (raw := file.readline(MAX_LINE_BYTES)) and not raw.endswith(b"\n"):
        pass


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a path, through gzip where its first bytes say so (its name does not matter)."""
    if path == STDIN:
        yield _unzipped(sys.stdin.buffer)
        return
    with path.open("rb") as file:
        yield _unzipped(file)


def _unzipped(file: IO[bytes]) -> IO[bytes]:
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)  # type: ignore[type-var]  # any binary file will do
    return io.BufferedReader(gzip.GzipFile(fileobj=buffered)) if buffered.peek(2)[:2] == _GZIP else buffered

"""Records on disk, parted by user, so that a log of any length is folded some people at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec
import xxhash

from streams.base.errors import ConfigurationError
from streams.events.event import Header, RecordLike

#: Records of a part, about: some hundred MiB of trees while they are folded.
RECORDS_A_PART: Final = 50_000
MOST_PARTS: Final = 1_024
_HELD_BYTES: Final = 8 << 20
_LENGTH_BYTES: Final = 4
_PREFIX: Final = "interests-history-"
_LOCK: Final = "lock"


class SpooledRecord(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A record as it was read; fits `streams.events.event.RecordLike`."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: list[Header]


_encode = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(SpooledRecord)


def parts_for(records: int) -> int:
    """How many parts so many records make."""
    return max(1, min(MOST_PARTS, -(-records // RECORDS_A_PART)))


def part_of(user_id: str, parts: int) -> int:
    """The part of a user: the same in every run and every file."""
    return xxhash.xxh3_64_intdigest(user_id.encode()) % parts


def share_of(user_id: str) -> float:
    """Where a user lies in [0, 1): those below a share are a sample of it, the same one each time."""
    return xxhash.xxh3_64_intdigest(user_id.encode(), seed=1) / 2**64


def remove_left(root: Path) -> None:
    """Remove the folders of runs that were killed: they hold people's events, and nobody their lock."""
    for folder in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # one at work, one that is gone by now
            if folder.lstat().st_uid != os.getuid():
                continue
            with (folder / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


class Spool:
    """A folder of parts, removed when it is left: `with Spool(parts) as spool`. Only this user may read it.

    One that was left by a kill is removed by the next.
    """

    def __init__(self, parts: int, folder: Path | None = None) -> None:
        self.parts = parts
        self.counts = [0] * parts
        remove_left(folder or Path(tempfile.gettempdir()))
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=folder)
        self._lock = self._file("making").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._file("making").rename(self._file(_LOCK))  # nobody finds it without its lock
        self._held: dict[int, bytearray] = {}
        self._held_bytes = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()
        self._lock.close()

    def add(self, user_id: str, record: RecordLike) -> None:
        """Keep a record of a user. ConfigurationError where the disk is full."""
        part = part_of(user_id, self.parts)
        body = _encode(
            SpooledRecord(
                record.topic, record.partition, record.offset, record.timestamp, record.key, record.value,
                [*record.headers],
            )
        )  # fmt: skip
        held = self._held.setdefault(part, bytearray())
        held += len(body).to_bytes(_LENGTH_BYTES, "little") + body
        self._held_bytes += _LENGTH_BYTES + len(body)
        self.counts[part] += 1
        if self._held_bytes > _HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is still held."""
        try:
            for part, held in self._held.items():
                with self._file(part).open("ab") as file:
                    file.write(held)
        except OSError as error:
            free_mib = shutil.disk_usage(self._folder.name).free >> 20
            raise ConfigurationError(
                f"{self._folder.name}: {error.strerror}, {free_mib:,} MiB are free; name a larger disk with TMPDIR"
            ) from error
        self._held, self._held_bytes = {}, 0

    def read(self, part: int) -> list[SpooledRecord]:
        """The records of a part in the order in which they were written to the log, as far as their times say."""
        path = self._file(part)
        found: list[SpooledRecord] = []
        if path.exists():
            body, at = memoryview(path.read_bytes()), 0
            while at < len(body):
                end = at + _LENGTH_BYTES + int.from_bytes(body[at : at + _LENGTH_BYTES], "little")
                found.append(_decoder.decode(body[at + _LENGTH_BYTES : end]))
                at = end
        found.sort(key=lambda record: (record.timestamp or 0, record.topic, record.partition, record.offset))
        return found

    def _file(self, part: int | str) -> Path:
        return Path(self._folder.name) / str(part)

"""Records of the topic `ranking.examples`: lists that people chose from, as feature rows. No user id, no item id. Pure.

The worker makes them before it folds the event. They are keyed by the partition of the event's own record, so that the
records of one partition come in the order of its offsets and a repetition is known by them.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.base.errors import PoisonError
from streams.events.decode import own_record
from streams.events.event import Source
from streams.events.wire import MAX_ID_CHARS
from streams.interests.score import Floats
from streams.ranking.parts import Kind
from streams.ranking.rows import NAMES, NAMES_OF, VERSION

#: Targets of a list, at most.
MOST_TARGETS: Final = 200
_GREATEST: Final = 1e6
_GREATEST_WHOLE: Final = 2**63 - 1


Cohort = Literal["new", "light", "heavy"]
#: Up to so many events before, a person is new, or light; with more they are heavy.
_NEW, _LIGHT = 10, 50


def cohort_of(events: int) -> Cohort:
    """How much a person had done before, by their events."""
    return "new" if events <= _NEW else "light" if events <= _LIGHT else "heavy"


class Example(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One list: n targets as rows, and which of them were taken.

    `kind` says whether the list was shown as it is (`impression`) or sampled around one new item (`next`). `cohort` is
    how much the person had done before. `features` is the version of the rows, `rows` their
    float32 bytes, n of len(NAMES) each. `group` and `log` are the consumer group that read the event and the
    incarnation of its log.
    """

    group: str
    log: int
    topic: str
    partition: int
    offset: int
    ts_ms: int
    kind: Kind
    cohort: Cohort
    encoder: str
    features: int
    rows: bytes
    taken: tuple[int, ...]

    @property
    def source(self) -> Source:
        """Where the event's own record lies."""
        return Source(self.topic, self.partition, self.offset)

    @property
    def key(self) -> bytes:
        """The record's key: the partition of its event."""
        return f"{self.topic}/{self.partition}".encode()

    def values(self) -> Floats:
        """The rows, float64 (n, F). Only of the present version of the features."""
        return np.frombuffer(self.rows, "<f4").reshape(-1, len(NAMES)).astype(np.float64)

    def relevant(self) -> NDArray[np.bool_]:
        """Which targets were taken, bool (n,)."""
        found = np.zeros(len(self.rows) // (4 * len(NAMES)), bool)
        found[list(self.taken)] = True
        return found


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Example)


def packed_rows(values: Floats) -> bytes:
    """Rows as they are sent."""
    return values.astype("<f4").tobytes()


def pack_example(example: Example) -> bytes:
    """A record's value."""
    return _encode(example)


def unpack_example(value: bytes | None) -> Example | None:
    """Read back what `pack_example` wrote; None for rows of a version that is not known.

    Rows of an earlier version get 0 for what it did not have. PoisonError for anything that no worker can have sent.
    """
    example = own_record(value, _decoder, "a ranking example")
    names = NAMES_OF.get(example.features)
    if names is None:
        return None
    n, rest = divmod(len(example.rows), 4 * len(names))
    if rest or not 1 < n <= MOST_TARGETS:
        raise PoisonError(f"rows: expected 2 to {MOST_TARGETS} of {len(names)} numbers", reason="out_of_range")
    if not all(0 < len(name) <= MAX_ID_CHARS for name in (example.group, example.topic, example.encoder)):
        raise PoisonError(f"group, topic, encoder: expected 1 to {MAX_ID_CHARS} characters", reason="bad_source")
    if not all(0 <= number <= _GREATEST_WHOLE for number in (example.log, example.partition, example.offset)):
        raise PoisonError("log, partition, offset: expected numbers that a broker gives", reason="bad_source")
    taken = example.taken
    if not 0 < len(taken) < n or len(set(taken)) < len(taken) or not all(0 <= one < n for one in taken):
        raise PoisonError("taken: expected some of the rows, not all", reason="out_of_range")
    if not np.all(np.abs(np.frombuffer(example.rows, "<f4")) < _GREATEST):
        raise PoisonError("rows: a number is not finite or too great", reason="out_of_range")
    return example if example.features == VERSION else _of_this_version(example, n, len(names))


def _of_this_version(example: Example, n: int, had: int) -> Example:
    rows = np.zeros((n, len(NAMES)), "<f4")
    rows[:, :had] = np.frombuffer(example.rows, "<f4").reshape(n, had)
    return msgspec.structs.replace(example, features=VERSION, rows=rows.tobytes())

"""Features as they were: rows of the score for a user and an item before a past moment, of a replayed log.

Nothing of the moment itself or after it is known, but how items are described, which has no history.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np

from streams.evaluation.prequential import Replay
from streams.events.event import Event, RecordLike
from streams.ranking.rows import PastRow


class Asked(NamedTuple):
    """A row that is asked for: for whom, of what, before when, in which situation; `row` is its place in the file."""

    row: int
    user_id: str
    item_id: str
    ts_ms: int
    context: dict[str, str | float | bool]


async def backfill(
    replay: Replay, events: Iterator[tuple[Event, RecordLike]], asked: Iterable[Asked], now_ms: int
) -> AsyncIterator[list[PastRow]]:
    """Give the rows asked for, those of one user and moment together; both in time order, `events` by their own time.

    Times up to `now_ms` are believed. Raises as `apply` does.
    """
    ahead = next(events, None)
    for (ts_ms, user_id), group in groupby(asked, key=lambda one: (one.ts_ms, one.user_id)):
        while ahead is not None and ahead[0].ts_ms < ts_ms:
            await replay.follow(*ahead)
            ahead = next(events, None)
        rows = list(group)
        before = replay.events_before(user_id)
        known = [one for one in rows if one.item_id in replay.catalogue.rows]
        chosen = np.array([replay.catalogue.rows[one.item_id] for one in known], np.int64)
        values = (await replay.rows(user_id, ts_ms, chosen, now_ms, rows[0].context)).values if known else np.zeros(0)
        made = dict(zip((one.row for one in known), values, strict=True))
        yield [PastRow(one.row, user_id, one.item_id, ts_ms, before, made.get(one.row)) for one in rows]

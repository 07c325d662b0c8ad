"""How many bytes one call may take out of what was fetched, over all partitions, so that no crowd of them fills memory.

Written against aiokafka 0.14. It keeps a fetched answer packed until its records are asked for; what is not asked for
waits there, in its turn. So each agent of a worker has room for so many bytes, less those that it was handed and has
not acknowledged, and every other reader as many a call. A partition gives its turn up after as many bytes too
(`guarded_fetch`), so none waits behind another's whole log, and any record goes where there is any room: nobody waits
for room that only he could make.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult


class Room:
    """Bytes that are left for those who share it; the last record may take more."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class Rooms:
    """The room of each partition of a consumer: what it was given, else one that all share and each call has anew."""

    def __init__(self, fetcher: Fetcher, limit: int) -> None:
        self._limit = limit
        self._shared = Room(limit)
        self._given: Mapping[Any, Room] = {}
        self._fetched = fetcher.fetched_records
        fetcher.fetched_records = self._call

    def give(self, rooms: Mapping[Any, Room]) -> None:
        """Have the next calls keep to these rooms, by partition."""
        self._given = rooms

    async def _call(self, *args: Any, **options: Any) -> Any:
        self._shared = Room(self._limit)
        return await self._fetched(*args, **options)

    def bound(self, result: FetchResult) -> None:
        """Have a result give no more records than there is room for; the rest waits in it, not read."""
        result.getall = self._within(result, result._topic_partition)

    def _within(self, result: FetchResult, source: TopicPartition) -> Callable[..., list[Any]]:
        def getall(max_records: int | None = None) -> list[Any]:
            room = self._given.get(source, self._shared)
            if room.left <= 0 or not result.check_assignment(source) or not result.has_more():
                return []
            reader, records = result._partition_records, []
            before = reader.read_bytes
            until = before + room.left
            for record in reader:
                records.append(record)
                if reader.read_bytes >= until or len(records) == max_records:
                    result._update_position()
                    break
            else:
                result._update_position()
                result._partition_records = None
            room.left -= reader.read_bytes - before
            return records

        return getall

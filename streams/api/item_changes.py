"""Changes of items as they are produced: one follower of the topic `items` a process, so that no card outlives one."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import msgspec
import structlog

from streams.base.errors import InterestsError
from streams.broker.config import KafkaConfig
from streams.broker.follow import TopicFollower
from streams.store.catalogue import Catalogue

log = structlog.get_logger(__name__)


class _Head(msgspec.Struct, gc=False):
    deleted: bool | None = None


_HEAD = msgspec.json.Decoder(_Head)


class ItemChanges:
    """Tells the catalogue of every record of the topic; after a gap it forgets all that it kept."""

    def __init__(self, config: KafkaConfig, topic: str, catalogue: Catalogue) -> None:
        self._follower, self._catalogue = TopicFollower(config, topic), catalogue
        self._following: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow, in the background; a broker that is away is waited for."""
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self) -> None:
        try:
            async with aclosing(self._follower.batches()) as batches:
                async for records in batches:
                    if records is None:
                        self._catalogue.forget()
                        continue
                    for record in records:
                        note_change(self._catalogue, record.key, record.value)
        except InterestsError:  # the broker refuses this client: cards are as old as `api.cards_ttl_s` lets them be
            log.exception("item_changes_ended")


def note_change(catalogue: Catalogue, key: bytes | None, value: bytes | None) -> None:
    """Tell the catalogue of a record of the topic `items`; what no worker could read changes nothing."""
    try:
        item_id = (key or b"").decode()
        deleted = value is None or bool(_HEAD.decode(value).deleted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if item_id:
        catalogue.changed(item_id, deleted=deleted)

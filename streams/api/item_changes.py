"""Changes of items as they are produced: one follower of the topic `items` a process, so that no card outlives one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streams.api.background_follower import BackgroundFollower
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Record
from streams.broker.follow import TopicFollower
from streams.store.catalogue import Catalogue


class _Head(msgspec.Struct, gc=False):
    deleted: bool | None = None


_HEAD = msgspec.json.Decoder(_Head)


class ItemChanges(BackgroundFollower):
    """Tells the catalogue of every record of the topic; after a gap it forgets all that it kept."""

    def __init__(self, config: KafkaConfig, topic: str, catalogue: Catalogue) -> None:
        # Where the broker refuses this client, cards are as old as `api.cards_ttl_s` lets them be.
        super().__init__(TopicFollower(config, topic), "item_changes_ended")
        self._catalogue = catalogue

    async def _take(self, records: Sequence[Record] | None) -> None:
        if records is None:
            self._catalogue.forget()
            return
        for record in records:
            note_change(self._catalogue, record.key, record.value)


def note_change(catalogue: Catalogue, key: bytes | None, value: bytes | None) -> None:
    """Tell the catalogue of a record of the topic `items`; what no worker could read changes nothing."""
    try:
        item_id = (key or b"").decode()
        deleted = value is None or bool(_HEAD.decode(value).deleted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if item_id:
        catalogue.changed(item_id, deleted=deleted)

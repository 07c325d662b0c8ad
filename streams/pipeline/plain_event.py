"""A plain event through the path, beside the real nodes: where it fails, no record is to blame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from streams.events.dead_letters import DeadLetter
from streams.events.event import Header
from streams.events.side_outputs import Waiting
from streams.pipeline.apply import PipelineDependencies, apply, send_nothing
from streams.pipeline.ranking_examples import make_none
from streams.store.base import Fence
from streams.store.memory import MemoryStore

_BODY: Final = {
    "event_id": "plain", "user_id": "plain", "type": "comment", "item_id": "plain", "text": "A good cup of tea.",
    "item": {"title": "How to make a cup of tea", "categories": ["Food", "Drinks"]},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _PlainRecord:
    timestamp: int
    topic: str = "plain"
    partition: int = 0
    offset: int = 0
    key: bytes = b"plain"
    value: bytes = msgspec.json.encode(_BODY)  # bytes, the same for every record
    headers: Sequence[Header] = ()


class _Nowhere:
    """Takes what leaves the path, and keeps nothing."""

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        """Send none."""

    async def defer(self, waiting: Sequence[Waiting]) -> None:
        """Send none."""


async def apply_plain_event(deps: PipelineDependencies, now_ms: int) -> None:
    """Apply an event whose like has always worked, with the real encoder and tree, to a store in memory.

    Raises whatever the path raises, and RuntimeError where the event is not applied.
    """
    beside = replace(
        deps, store=MemoryStore(deps.policy), outbox=_Nowhere(), home=lambda _: True, send_derived=send_nothing,
        make_examples=make_none,
    )  # fmt: skip
    report = await apply([_PlainRecord(now_ms)], beside, Fence(1, 1), 1, now_ms=now_ms)
    if len(report.events["applied"]) != 1:
        raise RuntimeError("a plain event was not applied")

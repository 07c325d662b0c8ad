"""Erasure: a user's nodes go, and a tombstone stays that holds against what comes again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.events.event import Event
from streams.interests.nodes import Node, profile_key
from streams.store.base import Fence, Store


async def erase(
    events: Sequence[Event], profiles: dict[str, Node], store: Store, dim: int, fence: Fence
) -> tuple[list[Event], list[Event]]:
    """Delete the trees of the users who ask for it in this batch, and put their tombstones in `profiles`.

    Returns the events that remain, the erasures themselves among them, and those that lie before an erasure.
    A tombstone is the profile with no vector, no evidence and no event ids; it keeps `applied`, so that a replay
    of the log changes nothing, and the time, so that an older event under a new offset changes nothing either.
    The erasure's own record is marked as applied with the batch: until then it is simply done again.
    """
    erased_at: dict[str, int] = {}
    for event in events:
        if event.type == "erase":
            erased_at[event.user_id] = max(event.ts_ms, erased_at.get(event.user_id, 0))
    if not erased_at:
        return list(events), []
    tombstones = [_tombstone(user, ts_ms, profiles.get(user), dim) for user, ts_ms in erased_at.items()]
    await store.erase(tombstones, fence)
    profiles.update({node.key.user_id: node for node in tombstones})
    gone = [event for event in events if event.type != "erase" and event.ts_ms <= erased_at.get(event.user_id, -1)]
    before = {event.source for event in gone}
    return [event for event in events if event.source not in before], gone


def _tombstone(user_id: str, ts_ms: int, profile: Node | None, dim: int) -> Node:
    node = Node(profile_key(user_id), np.zeros(dim, dtype=np.float32), t0_ms=ts_ms, erased_at_ms=ts_ms)
    if profile is not None:
        node.applied = profile.applied
        node.erased_at_ms = max(ts_ms, profile.erased_at_ms)
    return node

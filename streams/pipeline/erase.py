"""Erasure: a user's nodes go, and a tombstone stays that holds against what comes again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from streams.events.event import Event
from streams.interests.applied import Applied
from streams.interests.nodes import Node, is_younger, profile_key
from streams.store.base import Fence, Store


class Erasure(NamedTuple):
    """What is left of a batch: the events that remain, those that an erasure ended, and the profiles after it."""

    kept: Sequence[Event]
    erased: list[Event]
    profiles: Mapping[str, Node]


async def erase(events: Sequence[Event], profiles: Mapping[str, Node], store: Store, dim: int, fence: Fence) -> Erasure:
    """Delete the trees of the users who ask for it in this batch; their profiles are tombstones from there on.

    A tree that is all younger than its erasure stays as it is. One that holds both goes whole: sums cannot be parted.

    The erasures themselves are among the events that remain; events no younger than one are not. A tombstone is the
    profile with no vector, no evidence and no event ids; it keeps `applied`, so that a replay of the log changes
    nothing, and the time, so that an older event under a new offset changes nothing either. The erasure's own record
    is marked as applied with the batch: until then it is simply done again.
    """
    erased_at: dict[str, int] = {}
    for event in events:
        if event.type == "erase":
            erased_at[event.user_id] = max(event.ts_ms, erased_at.get(event.user_id, 0))
    if not erased_at:
        return Erasure(events, [], profiles)
    younger = _younger(erased_at, profiles)
    gone = {user: at_ms for user, at_ms in erased_at.items() if user not in younger}
    tombstones = [_tombstone(user, ts_ms, profiles.get(user), dim) for user, ts_ms in gone.items()]
    await store.erase(tombstones, fence)
    await store.write([*younger.values()], fence)
    erased = [event for event in events if event.type != "erase" and event.ts_ms <= erased_at.get(event.user_id, -1)]
    before = {event.source for event in erased}
    kept = [event for event in events if event.source not in before]
    return Erasure(kept, erased, {**profiles, **younger, **{node.key.user_id: node for node in tombstones}})


def _younger(erased_at: Mapping[str, int], profiles: Mapping[str, Node]) -> dict[str, Node]:
    """The profiles of those whose trees are all of after their erasure: nothing goes, and they remember it."""
    return {
        user: replace(profile, erased_at_ms=max(at_ms, profile.erased_at_ms))
        for user, at_ms in erased_at.items()
        if (profile := profiles.get(user)) is not None and is_younger(profile, at_ms)
    }


def _tombstone(user_id: str, ts_ms: int, profile: Node | None, dim: int) -> Node:
    return Node(
        key=profile_key(user_id), direction=np.zeros(dim, dtype=np.float32), t0_ms=ts_ms,
        applied=profile.applied if profile else Applied(),
        erased_at_ms=max(ts_ms, profile.erased_at_ms) if profile else ts_ms,
    )  # fmt: skip

"""Erasure: a user's nodes go, and a tombstone stays that holds against what comes again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from streams.encoder.base import Encoder
from streams.events.event import Event, Source
from streams.events.spans import ReadSpans
from streams.interests.ballot import VoteChange, withdrawn_votes
from streams.interests.neighbours import withdrawn_pairs
from streams.interests.nodes import Node, NodePolicy, Vector, is_younger, profile_key, recents_of
from streams.interests.pair_records import PairChange
from streams.interests.priors import CohortFirst, withdrawn_firsts
from streams.interests.recents import pack_recents, younger
from streams.pipeline.in_flight import InFlight
from streams.store.base import Fence, Store


class Erasure(NamedTuple):
    """What is left of a batch: the events that remain, those that an erasure ended, and the profiles after it."""

    kept: Sequence[Event]
    erased: list[Event]
    profiles: Mapping[str, Node]


class DerivedChanges(NamedTuple):
    """What changes in the sums over everybody: votes for items, pairs of items, newcomers' first events by cohort."""

    votes: Sequence[VoteChange] = ()
    pairs: Sequence[PairChange] = ()
    firsts: Sequence[CohortFirst] = ()


SendDerived = Callable[[DerivedChanges, int], Awaitable[None]]
"""Sends on what changes in the sums over everybody, and of which log that is."""


class Erasing(Protocol):
    """What an erasure needs of the path's dependencies."""

    @property
    def store(self) -> Store: ...
    @property
    def encoder(self) -> Encoder: ...
    @property
    def policy(self) -> NodePolicy: ...
    @property
    def together_places(self) -> int: ...
    @property
    def send_derived(self) -> SendDerived: ...
    @property
    def read_spans(self) -> ReadSpans | None: ...


async def erase(
    events: Sequence[Event], profiles: Mapping[str, Node], deps: Erasing, fence: Fence, log: int, flight: InFlight
) -> Erasure:
    """Delete the trees of the users who ask for it in this batch; their profiles are tombstones from there on.

    A tree that is all younger than its erasure stays as it is. One that holds both goes whole, since sums cannot be
    parted, and its tombstone says that the younger events are to be read again. First all of up to the erasure is taken
    back that the profiles of those who go know of them in the sums over everybody: once a tombstone stands, nobody
    knows it any more.

    The erasures themselves are among the events that remain; events no younger than one are not. A tombstone is the
    profile with no vector, no evidence and no event ids; it keeps `applied`, so that a replay of the log changes
    nothing, and the time, so that an older event under a new offset changes nothing either. The erasure's own record
    is marked as applied with the batch: until then it is simply done again.
    """
    erased_at: dict[str, int] = {}
    by: dict[str, Source] = {}
    for event in events:
        if event.type == "erase":
            erased_at[event.user_id] = max(event.ts_ms, erased_at.get(event.user_id, 0))
            by.setdefault(event.user_id, event.source)  # the first: a batch that is done again may end before the next
    if not erased_at:
        return Erasure(events, [], profiles)
    await flight.after_those_before()  # what is deleted is what is stored
    stay = _younger(erased_at, profiles)
    gone = {user: at_ms for user, at_ms in erased_at.items() if user not in stay}
    nothing = np.zeros(deps.encoder.dim, dtype=np.float32)
    before = {user: profiles.get(user) or Node(key=profile_key(user), direction=nothing) for user in gone}
    tombstones = [
        _tombstone(before[user], at_ms, nothing, log, deps.read_spans is not None) for user, at_ms in gone.items()
    ]
    await _withdraw([(before[one.key.user_id], one.erased_at_ms, by[one.key.user_id]) for one in tombstones], deps, log)
    await deps.store.erase(tombstones, fence)
    await deps.store.write([*stay.values()], fence)
    erased = [event for event in events if event.type != "erase" and event.ts_ms <= erased_at.get(event.user_id, -1)]
    ended = {event.source for event in erased}
    kept = [event for event in events if event.source not in ended]
    return Erasure(kept, erased, {**profiles, **stay, **{node.key.user_id: node for node in tombstones}})


def _younger(erased_at: Mapping[str, int], profiles: Mapping[str, Node]) -> dict[str, Node]:
    """The profiles of those whose trees are all of after their erasure: they stay, and remember it.

    What came to nothing is in no tree, such as a like that its unlike came before, but it is a recent item.
    """
    return {
        user: replace(profile, erased_at_ms=max(at_ms, profile.erased_at_ms), recents=_left(profile, at_ms))
        for user, at_ms in erased_at.items()
        if (profile := profiles.get(user)) is not None and is_younger(profile, at_ms)
    }


async def _withdraw(ended: Iterable[tuple[Node, int, Source]], deps: Erasing, log: int) -> None:
    """Take back what is no younger than its erasure: profiles, the erasures' times and their records' places."""
    half_life_ms = deps.policy.half_life_ms("profile")
    votes: list[VoteChange] = []
    pairs: list[PairChange] = []
    firsts: list[CohortFirst] = []
    for profile, at_ms, by in ended:
        votes += withdrawn_votes(profile.votes, at_ms, by, half_life_ms)
        pairs += withdrawn_pairs(profile.votes, at_ms, by, half_life_ms, deps.together_places)
        firsts += withdrawn_firsts((one for one in profile.firsts if one.ts_ms <= at_ms), by)
    if votes or firsts:
        await deps.send_derived(DerivedChanges(votes, pairs, firsts), log)


def _tombstone(profile: Node, ts_ms: int, nothing: Vector, log: int, rereads: bool) -> Node:
    at_ms = max(ts_ms, profile.erased_at_ms)
    return Node(
        key=profile.key, direction=nothing, t0_ms=at_ms, applied=profile.applied,
        erased_at_ms=at_ms, votes=tuple(one for one in profile.votes if one.ts_ms > at_ms),
        firsts=tuple(one for one in profile.firsts if one.ts_ms > at_ms), recents=_left(profile, at_ms),
        reread=rereads and (profile.reread or (profile.last_ms > at_ms and profile.applied.log == log)),
    )  # fmt: skip


def _left(profile: Node, at_ms: int) -> str:
    """The recent items that an erasure of that time leaves."""
    return pack_recents(younger(recents_of(profile), at_ms))

"""Records of the topic `interests.updated`: which nodes of whose tree a batch has changed, and by which events. Pure.

A record is the JSON of `streams.api.models.LiveUpdate` without names, titles, shares and evidence, which the reader
adds. No text of an event is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from streams.events.event import Event, Outcome
from streams.interests.levels import Level
from streams.interests.nodes import Node, NodePolicy, expires_at_ms, mass_at
from streams.interests.plan import Weighed

#: A tree of which more has changed is to be read again as a whole: a record stays far under Kafka's limit of 1 MiB.
MAX_NODES: Final = 200
#: Header that names the sender's group: while a second group fills another encoder's collections, its changes are
#: not those that people look at.
GROUP = "group"
#: The latest events of a batch are named, no more.
MAX_EVENTS: Final = 50


class ChangedNode(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A node as the batch left it; mass decayed to the update's `at_ms`, `net` as a share of it."""

    id: str
    level: Level
    path: str
    mass: float
    net: float
    count: int
    first_ms: int
    last_ms: int
    expires_at_ms: int
    name: str = ""
    share: float = 0.0


class Happened(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event and its signed weight, never its text."""

    event_id: str
    type: str
    ts_ms: int
    weight: float
    item_id: str | None = None


class Update(msgspec.Struct, omit_defaults=True, gc=False):
    """One user's record. `resync` asks the reader to read the whole tree: what changed is not all in here."""

    user_id: str
    at_ms: int
    erased: bool = False
    resync: bool = False
    nodes: list[ChangedNode] = []
    events: list[Happened] = []


_encode = msgspec.json.Encoder().encode


def updates_of(
    nodes: Iterable[Node], outcomes: Mapping[Outcome, Sequence[Event]], weighed: Iterable[Weighed], policy: NodePolicy,
    at_ms: int,
) -> dict[str, Update]:  # fmt: skip
    """One update a user whose tree a batch has changed or may have changed.

    `outcomes` are a report's events by what became of them. Where an event came again, an earlier attempt may have
    written the nodes and died before it announced them: its user is announced too, to be read as a whole.
    """
    updates: dict[str, Update] = {}

    def of(user_id: str) -> Update:
        if (update := updates.get(user_id)) is None:
            update = updates[user_id] = Update(user_id, at_ms)
        return update

    for event in outcomes.get("applied", ()):
        update = of(event.user_id)
        if event.type == "erase":  # what was younger may have stayed: it is read again
            update.resync = update.erased = True
    for event in outcomes.get("redelivered", ()):
        update = of(event.user_id)
        update.resync, update.erased = True, update.erased or event.type == "erase"
    for event in outcomes.get("erased", ()):
        if event.type == "erase":
            update = of(event.user_id)
            update.resync = update.erased = True
    for node in nodes:
        of(node.key.user_id).nodes.append(_changed(node, policy, at_ms))
    for one in weighed:
        if one.event.type != "impression" or one.item_id in one.event.clicked:
            of(one.event.user_id).events.append(_happened(one))
    for update in updates.values():
        _bound(update)
    return updates


def encoded(updates: Mapping[str, Update]) -> list[tuple[bytes, bytes | None]]:
    """Key and value of each update's record; an erasure's is followed by one without a value.

    That one is Kafka's own tombstone: compaction then forgets the user, whose id is the key.
    """
    records: list[tuple[bytes, bytes | None]] = []
    for user_id, update in updates.items():
        records.append((user_id.encode(), _encode(update)))
        if update.erased:
            records.append((user_id.encode(), None))
    return records


def _changed(node: Node, policy: NodePolicy, at_ms: int) -> ChangedNode:
    key = node.key
    return ChangedNode(
        id=node.id, level=key.level, path=key.path, mass=mass_at(node, at_ms, policy),
        net=node.net / node.mass if node.mass else 0.0, count=node.count, first_ms=node.first_ms, last_ms=node.last_ms,
        expires_at_ms=expires_at_ms(node, policy),
    )  # fmt: skip


def _happened(one: Weighed) -> Happened:
    event = one.event
    return Happened(
        event_id=event.event_id, type=event.type, ts_ms=event.ts_ms, weight=one.weight, item_id=one.item_id or None
    )


def _bound(update: Update) -> None:
    if len(update.nodes) > MAX_NODES:
        update.nodes, update.resync = [], True
    if len(update.events) > MAX_EVENTS:
        update.events = sorted(update.events, key=lambda event: event.ts_ms)[-MAX_EVENTS:]

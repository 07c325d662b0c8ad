"""Encoders and the groups that fold with them, noted among the control points: which serves, which did before.

An encoder serves where the aliases point at its collections. A switch moves both aliases in one request; what was
served before is noted just before that, so that a switch can be taken back, and so that the group that served sends on
what it has not read yet.
"""

from __future__ import annotations

import uuid
from typing import Any, Final, NamedTuple

import msgspec

from streams.interests.nodes import NAMESPACE
from streams.store import codec, versions
from streams.store.collections import ALIASES, CONTROL, CONTROL_SHAPE, aliases, ensure
from streams.store.connection import guarded
from streams.store.filters import all_of, any_of
from streams.store.points import PointsClient
from streams.store.wire import Point

_SWITCH_ID: Final = str(uuid.uuid5(NAMESPACE, "encoder switch"))


class GroupNote(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer group folds with, as its worker that began or changed last noted it.

    `model` is the encoder's name in Triton, `concepts` the version of the concept tree and its file's digest, `weights`
    the digest of the weights of events.
    """

    group: str
    encoder: str
    model: str
    concepts: str = ""
    weights: str = ""
    at_ms: int = 0


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """The last switch of the aliases: from which encoder to which, and when, in ms."""

    before: str
    now: str
    at_ms: int


class Served(NamedTuple):
    """The encoder behind the alias, None before there is one; the groups that fill its collections; the last switch."""

    encoder: str | None
    groups: frozenset[str]
    switch: Switch | None


class EncoderPoints:
    """What is noted of encoders on one server. Calls raise StoreUnavailable past the deadline."""

    def __init__(self, points: PointsClient) -> None:
        self._points = points

    async def prepare(self) -> None:
        """Make the collection of control points where it is missing."""
        points = self._points
        await guarded(ensure(points.collections, CONTROL_SHAPE), "prepare")

    async def served(self) -> Served:
        """Which encoder serves. One whose collection is none of ours is named by the whole of it."""
        behind = (await aliases(self._points.collections)).get(ALIASES[0])
        found = await self._points.get(CONTROL, [_SWITCH_ID], deciding=True)
        for point in found:
            versions.require_known(point.payload, versions.ENCODER_NOTES, "notes of encoders")
        switch = msgspec.json.decode(found[0].payload["switch"].string_value, type=Switch) if found else None
        encoder = None if behind is None else behind.removeprefix(f"{ALIASES[0]}__")
        groups = frozenset(note.group for note in await self.notes() if note.encoder == encoder)
        return Served(encoder, groups, switch)

    async def switch(self, switch: Switch) -> None:
        """Note a switch, then point both aliases at the new encoder's collections, in one request."""
        payload = {"switch": msgspec.json.encode(switch).decode(), versions.FIELD: versions.ENCODER_NOTES}
        point = Point(_SWITCH_ID, codec.ONE, payload)
        await self._points.upsert(CONTROL, [point], None)
        known = await aliases(self._points.collections)
        wanted = [(alias, f"{alias}__{switch.now}") for alias in ALIASES]
        await guarded(self._points.collections.point(wanted, list(known)), "switching the aliases")

    async def note(self, note: GroupNote) -> None:
        """Note what a group folds with, over what was noted of it."""
        payload: dict[str, Any] = {"kind": "group", "note": msgspec.json.encode(note).decode()}
        payload[versions.FIELD] = versions.ENCODER_NOTES
        await self._points.upsert(CONTROL, [Point(_note_id(note.group), codec.ONE, payload)], None)

    async def notes(self) -> list[GroupNote]:
        """What is noted of every group, the latest first; none before a worker has begun."""
        if not await guarded(self._points.collections.exists(CONTROL), "asking for a collection"):
            return []
        found: list[GroupNote] = []
        async for page in self._points.pages(CONTROL, all_of(any_of("kind", ["group"])), doing="groups"):
            for point in page:
                versions.require_known(point.payload, versions.ENCODER_NOTES, "notes of encoders")
                found.append(msgspec.json.decode(point.payload["note"].string_value, type=GroupNote))
        return sorted(found, key=lambda note: -note.at_ms)

    async def forget(self, group: str) -> None:
        """Delete what is noted of a group."""
        await self._points.delete_ids(CONTROL, [_note_id(group)])


def _note_id(group: str) -> str:
    return str(uuid.uuid5(NAMESPACE, f"group\x1f{group}"))

"""Two encoders side by side: what each has in Qdrant and how far its group is. Shared by compare, switch and prune."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from streams.base.errors import ConfigurationError
from streams.commands.connections import ANSWER_WITHIN_S, named, quick
from streams.commands.lag_wait import by_topic
from streams.commands.topics import read_topics

if TYPE_CHECKING:
    from streams.broker.admin import Admin
    from streams.settings.service import Settings
    from streams.store.collections import Collections
    from streams.store.encoder_data import EncoderData
    from streams.store.encoders import EncoderPoints, GroupNote
    from streams.store.points import PointsClient
    from streams.store.scan import Scan

#: An encoder that has fewer of the other's items than this share is not complete.
LEAST_ITEMS: Final = 0.99


@dataclass(frozen=True, slots=True)
class Side:
    """An encoder as it stands: what Qdrant has of it, and of its group, if any, the lag by topic and its members."""

    encoder: str
    model: str
    group: str
    nodes: int
    people: int
    items: int
    members: int
    lag: Mapping[str, int] = field(default_factory=dict)
    erased: Mapping[str, int] = field(default_factory=dict)

    @property
    def behind(self) -> int:
        """The lag over all topics."""
        return sum(self.lag.values())


def objections(now: Side, wanted: Side, erased: Mapping[str, int], most_lag: int) -> list[str]:
    """Why `wanted` is not to serve in place of `now`; `erased` are the erasures that its people's profiles know."""
    found = []
    if not wanted.group:
        found.append(f"no group is known that fills the collections of {wanted.encoder}: start its workers")
    elif not wanted.members:
        found.append(f"no worker of group {wanted.group} runs: after the switch nobody would fold")
    if wanted.group and wanted.behind > most_lag:
        behind = ", ".join(f"{lag:,} in {topic}" for topic, lag in wanted.lag.items() if lag)
        found.append(f"group {wanted.group} is {wanted.behind:,} records behind ({behind}), allowed are {most_lag:,}")
    # Without workers it sends nothing on after the switch either.
    if now.behind > (most_lag if now.members else 0):
        found.append(
            f"group {now.group}, which serves, is {now.behind:,} records behind with {now.members} workers: it alone "
            "sends dead letters and changes of what it has not read, and stops a minute after the switch"
        )
    if wanted.items < LEAST_ITEMS * now.items:
        found.append(f"{wanted.encoder} has {wanted.items:,} items, {now.encoder} has {now.items:,}")
    missing = sum(user in erased and erased[user] < at_ms for user, at_ms in now.erased.items())
    if missing:
        found.append(f"{missing:,} people were erased in {now.encoder} and are not yet in {wanted.encoder}")
    return found


@dataclass(frozen=True, slots=True)
class Servers:
    """Connections to Qdrant and Kafka, for looking at encoders and changing which serves."""

    settings: Settings
    admin: Admin
    points: PointsClient
    encoders: EncoderPoints
    data: EncoderData
    scan: Scan

    async def collections(self, encoder: str) -> Collections:
        """An encoder's collections. ConfigurationError where there are none."""
        from streams.store.collections import Collections, dim_of
        from streams.store.connection import guarded

        names = Collections(encoder, 1)
        client = self.points.collections
        for name in (names.interests, names.items):
            if not await guarded(client.exists(name), "asking for a collection"):
                raise ConfigurationError(
                    f"Qdrant has no collection {name}: interests encoder migrate makes and fills those of a new encoder"
                )
        info = await guarded(client.describe(names.interests), "describing a collection")
        return Collections(encoder, dim_of(info))

    async def note_of(self, wanted: str) -> GroupNote | None:
        """The latest group of an encoder, by the encoder's id or its model's name in Triton."""
        return next((one for one in await self.encoders.notes() if wanted in (one.encoder, one.model)), None)

    async def side(self, encoder: str) -> Side:
        """An encoder as it stands now."""
        names, note = await self.collections(encoder), await self.note_of(encoder)
        lag: dict[str, int] = {}
        members = 0
        if note is not None:
            lag = by_topic(await self.admin.lag(note.group, read_topics(self.settings)))
            members = len((await self.admin.group(note.group)).members)
        return Side(
            encoder, note.model if note else "", note.group if note else "",
            nodes=await self.scan.count(names.interests), people=await self.scan.count_people(names),
            items=await self.scan.count(names.items), members=members, lag=lag, erased=await self.scan.erased(names),
        )  # fmt: skip

    async def objections(self, now: Side, wanted: Side, most_lag: int) -> list[str]:
        """Why `wanted` is not to serve in place of `now`."""
        erased = await self.data.erased_at(await self.collections(wanted.encoder), list(now.erased))
        return objections(now, wanted, erased, most_lag)

    async def serving(self) -> str:
        """The encoder behind the alias. ConfigurationError where there is none yet."""
        served = await self.encoders.served()
        if served.encoder is None:
            raise ConfigurationError("no encoder serves yet: start a worker first (interests worker)")
        return served.encoder


@asynccontextmanager
async def servers_of(settings: Settings, deadline_s: float = ANSWER_WITHIN_S) -> AsyncIterator[Servers]:
    """Connect to Qdrant and Kafka."""
    from streams.broker.admin import Admin
    from streams.settings.wiring import kafka_config, qdrant_config
    from streams.store.encoder_data import EncoderData
    from streams.store.encoders import EncoderPoints
    from streams.store.points import PointsClient
    from streams.store.scan import Scan

    config = qdrant_config(settings)
    async with AsyncExitStack() as stack:
        with named(f"Kafka at {settings.kafka.brokers}"):
            admin = await stack.enter_async_context(Admin(quick(kafka_config(settings.kafka), deadline_s)))
        points, scan = PointsClient(config), Scan(config)
        stack.push_async_callback(points.close)
        stack.push_async_callback(scan.close)
        encoders = EncoderPoints(points)
        with named(f"Qdrant at {config.address}"):
            await encoders.prepare()
        yield Servers(settings, admin, points, encoders, EncoderData(points), scan)


def rows_of(sides: Sequence[Side]) -> list[tuple[str, ...]]:
    """What is shown of encoders, a row each: encoder, group, workers, people, nodes, items, erased, lag."""
    return [
        (one.encoder, one.group or "unknown", str(one.members), f"{one.people:,}", f"{one.nodes:,}", f"{one.items:,}",
         f"{len(one.erased):,}", f"{one.behind:,}")
        for one in sides
    ]  # fmt: skip


HEADINGS: Final = ("encoder", "group", "workers", "people", "nodes", "items", "erased", "lag")

"""What a newer release has written is refused and stays as it is; a Qdrant that is too old is refused as well."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from qdrant_client import AsyncQdrantClient, grpc
from structlog.testing import capture_logs

from streams.base.errors import ConfigurationError
from streams.events.items import Item
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import Node, NodeKey, profile_key
from streams.interests.popularity import ItemPopularity
from streams.interests.together import ItemPartners
from streams.settings.policies import PopulationSettings
from streams.store import versions
from streams.store.base import Control, Fence
from streams.store.catalogue import Catalogue
from streams.store.codec import item_point_id
from streams.store.cohort_store import CohortStore
from streams.store.collections import CONTROL, POPULARITY, TOGETHER, Collections
from streams.store.connection import QdrantConfig
from streams.store.crash_marks import CrashMark, QdrantCrashMarks
from streams.store.learner_state import LearnerStates
from streams.store.qdrant import QdrantStore
from streams.store.reader import StoreReader
from streams.store.server_version import fault_of
from tests.contract.test_store import config_of
from tests.fixtures.interposer import Forward, Interposer
from tests.fixtures.plain_path import DIM, POLICY, T0, VECTORS, PlainPath, drafts, event
from tests.fixtures.qdrant import QdrantServer, official

FENCE = Fence(1, 1)


class Kept:
    """Points of every kind, as this release writes them; `raise_versions` makes them those of a newer one."""

    def __init__(self, server: QdrantServer) -> None:
        self.config: QdrantConfig = config_of(server)
        self.names, self.group = Collections(uuid.uuid4().hex, DIM), uuid.uuid4().hex
        self.store = QdrantStore(self.config, POLICY, self.names)
        self.cohorts = CohortStore(
            self.config, PopulationSettings().policy(), self.names, group=self.group, half_life_s=60.0
        )
        self.states = LearnerStates(self.config, self.group, "me")
        self.marks = QdrantCrashMarks(self.config, self.group)
        self.reader = StoreReader(self.config, collections=self.names)
        self.client: AsyncQdrantClient = official(self.config)

    async def fill(self) -> None:
        await self.store.prepare()
        await self.cohorts.prepare()
        path = PlainPath(self.store)
        await path.describe_items()
        await path.apply(drafts([event("ann", "like", "ball", 1)]))
        await self.cohorts.write([Node(key=profile_key("*"), direction=VECTORS[0], mass=1.0, count=1)], FENCE)
        popular = ItemPopularity(item_id=self.group, masses=(1.0, 0.0, 0.0, 0.0), t0_ms=T0, count=1)
        await self.cohorts.put_popularity([popular], FENCE)
        await self.cohorts.put_partners([ItemPartners(item_id=self.group, counts={"a": 1.0}, total=1.0)], FENCE)
        await self.store.put_control(self.group, Control(epoch=1, log=1), if_epoch=0)
        await self.states.take()
        await self.states.write("known")
        await self.marks.write([CrashMark("clicks", 0)])

    async def payloads(self, collection: str) -> list[dict[str, object]]:
        found, _ = await self.client.scroll(collection, limit=10_000, with_payload=True)
        return [dict(point.payload or {}) for point in found]

    async def raise_versions(self) -> None:
        for collection in (self.names.interests, self.names.items, self.names.population, *SHARED):
            points, _ = await self.client.scroll(collection, limit=10_000, with_payload=True)
            ours = [point.id for point in points if collection not in SHARED or self._is_ours(point.payload or {})]
            await self.client.set_payload(collection, {versions.FIELD: 99}, points=ours, wait=True)

    def _is_ours(self, payload: dict[str, object]) -> bool:
        return self.group in (payload.get("group"), payload.get("crash_group")) or payload.get("writer") == "me"

    async def close(self) -> None:
        for one in (self.store, self.cohorts, self.states, self.marks, self.reader, self.client):
            await one.close()  # type: ignore[attr-defined]  # each has it


SHARED = (CONTROL, POPULARITY, TOGETHER)


@pytest.fixture
async def kept(qdrant: QdrantServer) -> AsyncIterator[Kept]:
    made = Kept(qdrant)
    await made.fill()
    yield made
    await made.close()


async def test_every_kind_of_point_carries_its_version(kept: Kept) -> None:
    for collection, version in (
        (kept.names.interests, versions.NODES), (kept.names.items, versions.ITEMS),
        (kept.names.population, versions.NODES),
    ):  # fmt: skip
        found = await kept.payloads(collection)
        assert found
        assert {point["v"] for point in found} == {version}
    for collection in SHARED:
        ours = [point for point in await kept.payloads(collection) if kept._is_ours(point)]
        assert ours
        assert {point["v"] for point in ours} == {1}, collection


async def test_a_newer_point_of_any_kind_is_refused(kept: Kept) -> None:
    await kept.raise_versions()
    again = LearnerStates(kept.config, kept.group, "another")
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "nodes": lambda: kept.store.read([profile_key("ann")]),
        "items": lambda: kept.store.items(["ball"]),
        "control": lambda: kept.store.control(kept.group),
        "cohorts": lambda: kept.cohorts.read([profile_key("*")]),
        "popularity": lambda: kept.cohorts.popularity([kept.group]),
        "partners": lambda: kept.cohorts.partners([kept.group]),
        "learner": again.take,
        "marks": lambda: kept.marks.read(["clicks/0"]),
        "tree": lambda: kept.reader.tree("ann"),
        "people": lambda: kept.reader.people(5, None),
        "near": lambda: kept.reader.groups(VECTORS[0], ["topic"], None, T0, users=5, floor=-1.0),
        "cards": lambda: Catalogue(kept.reader, cards_bytes=1, cards_ttl_s=1).cards(["ball"]),
        "titles": lambda: Catalogue(kept.reader, cards_bytes=1, cards_ttl_s=1).titles(["ball"]),
    }
    refused = {}
    for name, read in reads.items():
        try:
            refused[name] = f"read: {await read()}"
        except versions.NewerPoints as error:
            refused[name] = str(error)
    assert [name for name, said in refused.items() if "are of version 99, this release reads up to" not in said] == []
    await again.close()


async def test_a_newer_node_is_not_folded_over(kept: Kept) -> None:
    await kept.raise_versions()
    before = await kept.payloads(kept.names.interests)
    path = PlainPath(kept.store)
    with pytest.raises(ConfigurationError):
        await path.apply(drafts([event("ann", "like", "record", 2)], 1))
    assert await kept.payloads(kept.names.interests) == before


async def test_a_newer_release_in_the_group_is_seen_at_the_control_point(kept: Kept) -> None:
    await kept.store.check_control(kept.group)
    points, _ = await kept.client.scroll(CONTROL, limit=10_000, with_payload=True)
    mine = [point.id for point in points if (point.payload or {}).get("group") == kept.group]
    await kept.client.set_payload(CONTROL, {"nodes": versions.NODES + 1}, points=mine, wait=True)
    with pytest.raises(versions.NewerPoints, match=f"nodes in Qdrant are of version {versions.NODES + 1}"):
        await kept.store.check_control(kept.group)
    with pytest.raises(versions.NewerPoints):
        await kept.store.put_control(kept.group, Control(epoch=1, log=1), if_epoch=1)


@pytest.mark.parametrize(
    ("version", "refused"), [("1.20.0", False), ("1.19.0-dev", False), ("v1.18.3", True), ("1.9.7", True), ("", False)]
)
async def test_an_old_server_is_refused_or_warned_of(qdrant: QdrantServer, version: str, refused: bool) -> None:
    way = Interposer(f"{qdrant.host}:{qdrant.grpc_port}")
    await way.start()

    async def old(method: str, request: bytes, forward: Forward) -> bytes:
        reply = await forward()
        made: bytes = grpc.HealthCheckReply(title="qdrant", version=version).SerializeToString()
        return made if method == "HealthCheck" else reply

    way.act = old
    config = replace(config_of(qdrant), grpc_port=way.port)
    fatal = version == "1.9.7"
    assert bool(fault_of(version)) == refused
    try:
        for old_servers in ("refuse", "warn"):
            for one in (
                QdrantStore(replace(config, old_servers=old_servers), POLICY, Collections(uuid.uuid4().hex, DIM)),
                LearnerStates(replace(config, old_servers=old_servers), "x", "y"),
            ):
                with capture_logs() as said:
                    if refused and (fatal or old_servers == "refuse"):
                        with pytest.raises(ConfigurationError, match=r"upgrade it to 1\.19 or newer"):
                            await one.prepare()
                    else:
                        await one.prepare()
                        assert [line["event"] for line in said] == ["old_qdrant"] * refused
                await one.close()
    finally:
        await way.stop()


async def test_what_was_renewed_while_a_sweep_looks_is_not_deleted(qdrant: QdrantServer) -> None:
    names, way = Collections(uuid.uuid4().hex, DIM), Interposer(f"{qdrant.host}:{qdrant.grpc_port}")
    await way.start()
    direct = QdrantStore(config_of(qdrant), POLICY, names)
    await direct.prepare()
    keys = [NodeKey("ann", "session", "/"), NodeKey("bob", "session", "/")]
    faint = [Node(key=key, direction=VECTORS[0], norm=1.0, mass=1.0, t0_ms=T0, first_ms=T0, count=1) for key in keys]
    await direct.write(faint, FENCE)
    at_ms = T0 + 400 * 86_400_000

    async def renewing(method: str, request: bytes, forward: Forward) -> bytes:
        if method == "Delete" and way.calls["Delete"] == 1:
            await direct.write([replace(faint[0], t0_ms=at_ms, count=2)], FENCE)
        return await forward()

    way.act = renewing
    sweeping = QdrantStore(replace(config_of(qdrant), grpc_port=way.port), POLICY, names)
    await sweeping.sweep(at_ms)
    assert way.calls["Delete"] >= 1
    assert {key: node.count for key, node in (await direct.read(keys)).items()} == {keys[0]: 2}
    await sweeping.close()
    await direct.close()
    await way.stop()


async def test_items_written_before_versions_are_read(kept: Kept) -> None:
    await kept.client.delete_payload(kept.names.items, ["v"], points=[item_point_id("ball")], wait=True)
    assert (await kept.store.items(["ball"])).keys() == {"ball"}
    await kept.store.put_items([ItemPoint(Item(item_id="ball", title="a ball"), VECTORS[0], "/sports")])
    assert {point["v"] for point in await kept.payloads(kept.names.items)} == {versions.ITEMS}

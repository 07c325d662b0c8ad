"""Two replicas that a lost write left apart: what decides waits for them to agree, and what comes again mends both.

A front plays a collection of two replicas over two collections, as Qdrant's source has it: a write goes to both, is an
error where fewer have it than must, and nothing is taken back; a read of several leaves out what differs.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

import grpc as transport
import numpy as np
import pytest
from qdrant_client import grpc

from streams.base.errors import StoreUnavailable
from streams.interests.nodes import Node, NodeKey
from streams.store.cached import CachedStore
from streams.store.collections import Collections
from streams.store.connection import QdrantConfig
from streams.store.consistency import Consistency, Reads
from streams.store.memory import MemoryStore
from streams.store.qdrant import QdrantStore
from tests.fixtures.interposer import Forward, Interposer, Refusal
from tests.fixtures.plain_path import DIM, FIRST, POLICY, PlainPath, drafts, event
from tests.fixtures.qdrant import QdrantServer

TWIN: Final = "-twin"
MESSAGES: Final = {"Upsert": grpc.UpsertPoints, "Delete": grpc.DeletePoints, "Get": grpc.GetPoints}
EVENTS: Final = [
    event(user, kind, item, hour)
    for hour, (user, kind, item) in enumerate(
        [("ann", "like", "ball"), ("bob", "click", "bread"), ("ann", "click", "record"), ("ann", "click", "racket")]
    )
]


@dataclass
class Twins:
    """What stands before the collections and their twins. `lose` says which write the twin gets nothing of."""

    names: Collections
    call: Any
    lose: Callable[[str, Any], bool] = lambda method, message: False
    first_read: bool = True
    read: list[str] = field(default_factory=list)

    async def __call__(self, method: str, request: bytes, forward: Forward) -> bytes:
        if method not in MESSAGES:
            return await forward()
        message = MESSAGES[method].FromString(request)
        if not message.collection_name.endswith(self.names.encoder_id) or (method == "Get" and not message.ids):
            return await forward()  # the call that describes a collection is called Get too
        twin = MESSAGES[method].FromString(request)
        twin.collection_name += TWIN
        if method == "Get":
            return await self._read(message, twin, forward)
        lost, reply = self.lose(method, message), await forward()
        if lost:
            raise Refusal(transport.StatusCode.UNAVAILABLE, "1 of 2 replicas has it")
        await self.call(method, twin.SerializeToString())
        return reply

    async def _read(self, message: Any, twin: Any, forward: Forward) -> bytes:
        asks = message.HasField("read_consistency")
        self.read.append("both" if asks else "one")
        if not asks and self.first_read:
            return await forward()
        other: bytes = await self.call("Get", twin.SerializeToString())
        if not asks:
            return other
        theirs = {point.id.uuid: point for point in grpc.GetResponse.FromString(other).result}
        first = grpc.GetResponse.FromString(await forward()).result
        same = [point for point in first if theirs.get(point.id.uuid) == point]
        agreed: bytes = grpc.GetResponse(result=same).SerializeToString()
        return agreed


@dataclass
class Pair:
    """The collections, their twins, the front before them, and stores on it."""

    server: QdrantServer
    front: Interposer
    twins: Twins
    stores: list[QdrantStore] = field(default_factory=list)

    def config(self, port: int, reads: Reads = 1) -> QdrantConfig:
        return QdrantConfig(
            host=self.server.host, grpc_port=port, http_port=self.server.http_port,
            consistency=Consistency(reads=reads),
        )  # fmt: skip

    async def store(self, reads: Reads = 1) -> CachedStore:
        """The store of a worker that has just started."""
        made = QdrantStore(self.config(self.front.port, reads), POLICY, self.twins.names)
        await made.prepare()
        made._copies = made._copies._replace(replicas=2)  # as a cluster would describe the collection
        self.stores.append(made)
        return CachedStore(made, nodes_bytes=1 << 20, items_bytes=1 << 20, items_ttl_s=60)

    async def kept(self) -> list[dict[NodeKey, Node]]:
        """What each replica holds of everybody."""
        held = []
        for suffix in ("", TWIN):
            names = replace(self.twins.names, encoder_id=self.twins.names.encoder_id + suffix)
            store = QdrantStore(self.config(self.server.grpc_port), POLICY, names)
            nodes = [*await store.tree("ann"), *await store.tree("bob")]
            held.append({node.key: node for node in nodes})
            await store.close()
        return held


@pytest.fixture
async def pair(qdrant: QdrantServer) -> AsyncIterator[Pair]:
    front = Interposer(f"{qdrant.host}:{qdrant.grpc_port}")
    await front.start()
    channel = transport.aio.insecure_channel(f"{qdrant.host}:{qdrant.grpc_port}")

    async def call(method: str, request: bytes) -> bytes:
        answer: bytes = await channel.unary_unary(f"/qdrant.Points/{method}")(request, timeout=10)
        return answer

    names = Collections(uuid.uuid4().hex, DIM)
    made = Pair(qdrant, front, Twins(names, call))
    twin = QdrantStore(made.config(qdrant.grpc_port), POLICY, replace(names, encoder_id=names.encoder_id + TWIN))
    await twin.prepare()
    await twin.close()
    front.act = made.twins
    await PlainPath(await made.store()).describe_items()
    yield made
    for store in made.stores:
        await store.close()
    await channel.close()
    await front.stop()


def same(one: dict[NodeKey, Node], two: dict[NodeKey, Node]) -> bool:
    return one.keys() == two.keys() and all(
        np.allclose(node.direction, two[key].direction, atol=1e-6)
        and np.isclose(node.mass, two[key].mass)
        and (node.count, node.applied) == (two[key].count, two[key].applied)
        for key, node in one.items()
    )


async def fresh() -> dict[NodeKey, Node]:
    """What folding all of it at once gives, where nothing fails."""
    path = PlainPath(MemoryStore(POLICY))
    await path.describe_items()
    await path.apply(drafts(EVENTS))
    return {node.key: node for user in ("ann", "bob") for node in await path.store.tree(user)}


def of_nodes(method: str, message: Any) -> bool:
    return method == "Upsert" and message.collection_name.startswith("interests__")


async def test_a_write_that_one_replica_lost_is_written_to_both_when_the_batch_comes_again(pair: Pair) -> None:
    path = PlainPath(await pair.store())
    await path.apply(drafts(EVENTS[:2]))
    pair.twins.lose = of_nodes
    with pytest.raises(StoreUnavailable):
        await path.apply(drafts(EVENTS[2:], 2))
    ahead, behind = await pair.kept()
    assert not same(ahead, behind)
    pair.twins.lose = lambda method, message: False
    again = PlainPath(await pair.store())  # the worker died; the next one reads the replica that is ahead
    report = await again.apply(drafts(EVENTS[2:], 2))
    assert report.nodes == [], "nothing changed, so nothing is announced"
    ahead, behind = await pair.kept()
    assert same(ahead, behind)
    assert same(behind, await fresh())


async def test_a_batch_that_one_replica_lost_is_folded_on_the_one_that_is_behind(pair: Pair) -> None:
    path = PlainPath(await pair.store())
    await path.apply(drafts(EVENTS[:2]))
    pair.twins.lose = of_nodes
    with suppress(StoreUnavailable):
        await path.apply(drafts(EVENTS[2:], 2))
    pair.twins.lose, pair.twins.first_read = (lambda method, message: False), False
    await PlainPath(await pair.store()).apply(drafts(EVENTS[2:], 2))
    ahead, behind = await pair.kept()
    assert same(ahead, behind)
    assert same(behind, await fresh())


async def test_nodes_that_differ_are_never_begun_anew(pair: Pair) -> None:
    path = PlainPath(await pair.store(reads=2))
    await path.apply(drafts(EVENTS[:2]))
    assert "both" in pair.twins.read
    pair.twins.lose = of_nodes
    with suppress(StoreUnavailable):
        await path.apply(drafts(EVENTS[2:3], 2))
    pair.twins.lose = lambda method, message: False
    again = PlainPath(await pair.store(reads=2))
    with pytest.raises(StoreUnavailable, match="differ in 1 points"):
        await again.apply(drafts(EVENTS[2:], 2))
    mending = PlainPath(await pair.store(reads=1))  # as docs/qdrant.md says to do
    await mending.apply(drafts(EVENTS[2:], 2))
    await again.apply(drafts(EVENTS[2:], 2))
    ahead, behind = await pair.kept()
    assert same(ahead, behind)
    assert same(behind, await fresh())


async def test_an_erasure_whose_tombstone_one_replica_lost_is_done_again_on_both(pair: Pair) -> None:
    path = PlainPath(await pair.store())
    await path.apply(drafts(EVENTS))
    pair.twins.lose = of_nodes
    erasure = drafts([event("ann", "erase", None, 50)], len(EVENTS))
    with suppress(StoreUnavailable):
        await path.apply(erasure)
    pair.twins.lose = lambda method, message: False
    await PlainPath(await pair.store()).apply(erasure)
    for held in await pair.kept():
        assert {key.level for key in held if key.user_id == "ann"} == {"profile"}
        assert [node.count for key, node in held.items() if key.user_id == "ann"] == [0]


async def test_an_ended_owner_is_fenced_on_both(pair: Pair) -> None:
    old, new = PlainPath(await pair.store()), PlainPath(await pair.store())
    await new.apply(drafts(EVENTS), FIRST._replace(generation=2))
    await old.apply(drafts(EVENTS[:1]), FIRST)
    first, second = await pair.kept()
    assert same(first, second)
    assert same(first, await fresh())

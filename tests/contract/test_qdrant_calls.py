"""Every call asks Qdrant for what the table of docs/qdrant.md says: recorded before a real engine, whole path."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from qdrant_client import grpc

from streams.interests.nodes import Node, NodeKey
from streams.interests.popularity import ItemPopularity
from streams.interests.together import ItemPartners
from streams.settings.policies import PopulationSettings
from streams.settings.servers import QdrantSettings
from streams.store.base import Control, Fence
from streams.store.catalogue import Catalogue, ItemFilter
from streams.store.cohort_store import Bounds, CohortStore
from streams.store.cohorts import CohortReader
from streams.store.collections import Collections
from streams.store.connection import QdrantConfig
from streams.store.crash_marks import CrashMark, QdrantCrashMarks
from streams.store.encoder_data import EncoderData
from streams.store.encoders import EncoderPoints, GroupNote
from streams.store.learner_state import LearnerStates
from streams.store.points import PointsClient
from streams.store.qdrant import QdrantStore
from streams.store.reader import StoreReader
from streams.store.scan import Scan
from streams.store.survey import Surveyor
from tests.fixtures.interposer import Forward, Interposer
from tests.fixtures.plain_path import DIM, NOW, POLICY, T0, VECTORS, PlainPath, drafts, event
from tests.fixtures.qdrant import QdrantServer

ROOT: Final = Path(__file__).resolve().parents[2]
MESSAGES: Final = {
    "Upsert": grpc.UpsertPoints, "Delete": grpc.DeletePoints, "Get": grpc.GetPoints, "Scroll": grpc.ScrollPoints,
    "Query": grpc.QueryPoints, "QueryBatch": grpc.QueryBatchPoints, "QueryGroups": grpc.QueryPointGroups,
    "Facet": grpc.FacetCounts, "Count": grpc.CountPoints,
}  # fmt: skip
MADE: Final = {"Create": grpc.CreateCollection, "CreateFieldIndex": grpc.CreateFieldIndexCollection}
GROUP: Final = "calls"
COHORTS: Final = PopulationSettings().policy()
LONG_AGO: Final = T0 - 10 * 365 * 86_400_000  # forgotten by now


class Row(NamedTuple):
    """A row of the table, without what it is for."""

    collection: str
    call: str
    order: str
    replicas: str


@dataclass
class Recorder:
    """Reads each request on its way, and notes what it asks for."""

    rows: set[Row] = field(default_factory=set)
    made: list[Any] = field(default_factory=list)
    not_waiting: list[str] = field(default_factory=list)
    unfenced: list[str] = field(default_factory=list)

    async def __call__(self, method: str, request: bytes, forward: Forward) -> bytes:
        if method in MADE:
            self.made.append(MADE[method].FromString(request))
        elif method in MESSAGES:
            self._note(method, MESSAGES[method].FromString(request))
        return await forward()

    def _note(self, method: str, message: Any) -> None:
        if (method == "Get" and not message.ids) or (method == "Delete" and not message.HasField("points")):
            return  # of the service of collections, whose calls have the same names
        name = message.collection_name
        kind = name if name.startswith("interests__control") else name.partition("__")[0]
        if method in ("Upsert", "Delete"):
            assert message.HasField("ordering"), f"{method} of {kind} names no order"
            order = grpc.WriteOrderingType.Name(message.ordering.type)
            self.rows.add(Row(kind, method, {"Weak": "as set", "Strong": "never weak"}[order], ""))
            if not message.wait:
                self.not_waiting.append(f"{method} of {kind}")
            if method == "Upsert" and kind in ("interests", "population", "popularity", "together"):
                fenced = [one.field.key for one in message.update_filter.must]
                if fenced != ["fence"]:
                    self.unfenced.append(kind)
            return
        if message.HasField("read_consistency"):
            assert message.read_consistency.type == grpc.ReadConsistencyType.Quorum
            self.rows.add(Row(kind, method, "", "as set"))
        else:
            self.rows.add(Row(kind, method, "", "one"))


def table() -> set[Row]:
    """The rows of docs/qdrant.md."""
    text = (ROOT / "docs/qdrant.md").read_text("utf-8")
    section = text[text.index("## Every call") : text.index("## Why")]
    cells = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in section.splitlines() if "|" in line]
    return {Row(one[0], one[1], one[3], one[4]) for one in cells[2:]}


@pytest.fixture
async def recorded(qdrant: QdrantServer) -> AsyncIterator[tuple[QdrantConfig, Recorder]]:
    """A way to Qdrant on which everything is noted: writes are set to weak, reads that decide to a quorum."""
    way = Interposer(f"{qdrant.host}:{qdrant.grpc_port}")
    await way.start()
    way.act = recorder = Recorder()
    settings = QdrantSettings(
        host=qdrant.host, grpc_port=way.port, http_port=qdrant.http_port, write_ordering="weak",
        read_consistency="quorum", shard_number=4, replication_factor=3,
    )  # fmt: skip
    yield (
        QdrantConfig(
            host=qdrant.host, grpc_port=way.port, http_port=qdrant.http_port, placement=settings.placement,
            consistency=settings.consistency,
        ),
        recorder,
    )  # fmt: skip
    await way.stop()


async def fold(store: QdrantStore) -> None:
    path = PlainPath(store)
    await path.describe_items()
    liked = [event("ann", "like", item, hour) for hour, item in enumerate(("ball", "record", "bread"))]
    await path.apply(drafts(liked))
    await path.apply(drafts([event("ann", "erase", None, 10), event("bob", "like", "ball", 11)], 3))
    await store.delete_items(["single"])
    await store.tree("bob")
    stale = Node(key=NodeKey("bob", "session", "/"), direction=VECTORS[0], mass=1.0, t0_ms=T0, first_ms=T0, count=1)
    await store.write([stale], Fence(1, 1))
    await store.sweep(NOW)


async def own(store: QdrantStore) -> None:
    await store.put_control(GROUP, Control(epoch=1, log=1, generation=1), if_epoch=0)
    await store.check_control(GROUP)
    await store.answers()


async def derive(config: QdrantConfig, names: Collections) -> None:
    cohorts = CohortStore(
        config, COHORTS, names, group=GROUP, half_life_s=60.0, knows=lambda name: name == "*", most=Bounds(9, 1)
    )
    await cohorts.prepare()
    fence = Fence(1, 1)
    await cohorts.popularity(["ball"])
    await cohorts.put_popularity(
        [ItemPopularity(item_id="ball", masses=(1.0, 1.0, 1.0, 1.0), t0_ms=LONG_AGO, count=1)], fence
    )
    await cohorts.partners(["ball"])
    await cohorts.put_partners([ItemPartners(item_id="ball", counts={"record": 1.0}, total=1.0, t0_ms=LONG_AGO)], fence)
    nodes = [
        Node(key=NodeKey(cohort, level, path), direction=VECTORS[0], mass=9.0, t0_ms=NOW, count=1)  # type: ignore[arg-type]
        for cohort, level, path in (
            ("*", "profile", "/"), ("*", "topic", "/a"), ("*", "topic", "/b"), ("lost", "profile", "/"),
        )
    ]  # fmt: skip
    await cohorts.read([node.key for node in nodes])
    await cohorts.write(nodes, fence)
    await cohorts.sweep(NOW + 1000)
    await cohorts.close()


async def learn(config: QdrantConfig) -> None:
    states = LearnerStates(config, f"calls-{time.time_ns()}", "me")
    await states.prepare()
    await states.take()
    await states.write("something")
    await states.keep_aside("something else")
    await states.close()
    marks = QdrantCrashMarks(config, GROUP)
    await marks.write([CrashMark("clicks", 0)])
    await marks.read(["clicks/0"])
    await marks.close()


async def answer(config: QdrantConfig, names: Collections) -> None:
    reader = StoreReader(config, collections=names)
    await reader.tree("bob")
    await reader.stored("bob")
    await reader.profile("bob")
    await reader.people(10, None)
    await reader.alike(VECTORS[0], "ann", 5, T0)
    await reader.paths_of(["bob"], T0)
    await reader.groups(VECTORS[0], ["topic", "profile"], None, T0, users=5, floor=-1.0)
    await reader.nodes_near(VECTORS[0], ["topic"], None, T0, users=["bob"], limit=5, floor=-1.0)
    catalogue = Catalogue(reader, cards_bytes=1 << 20, cards_ttl_s=60)
    await catalogue.cards(["ball"])
    await catalogue.titles(["record"])
    wanted = ItemFilter(category="/sports", lang="en", since_ms=1)
    await catalogue.near([VECTORS[0]], wanted, 5)
    await catalogue.newest(wanted, 5)
    await catalogue.drawn(7, 3)
    cohorts = CohortReader(reader, GROUP, 60.0)
    await cohorts.popularity(["ball"], NOW)
    await cohorts.partners(["ball"])
    await cohorts.cohorts(["*"])
    await reader.close()
    surveyor = Surveyor(config)
    await surveyor.survey()
    await surveyor.crash_marks(GROUP)
    await surveyor.close()


async def scan_and_move(config: QdrantConfig, names: Collections) -> None:
    scan = Scan(config)
    _ = [page async for page in scan.nodes(names)]
    _ = [page async for page in scan.items(names)]
    _ = [page async for page in scan.popularity(GROUP)]
    await scan.count_people(names)
    await scan.trees(names, ["bob"])
    await scan.erased(names)
    await scan.close()
    points = PointsClient(config)
    encoders, data = EncoderPoints(points), EncoderData(points)
    await encoders.prepare()
    await encoders.note(GroupNote(group=GROUP, encoder=names.encoder_id, model="m"))
    await encoders.served()
    await data.put_tombstones(names, {"gone": T0}, POLICY)
    await data.alike(names, names, 3)
    await data.delete(names, [GROUP], ["a learner"])
    await points.close()


async def test_every_call_asks_for_what_the_table_says(recorded: tuple[QdrantConfig, Recorder]) -> None:
    config, recorder = recorded
    names = Collections(f"calls-{time.time_ns()}", DIM)
    store = QdrantStore(config, POLICY, names)
    await store.prepare()
    await fold(store)
    await own(store)
    await derive(config, names)
    await learn(config)
    await answer(config, names)
    await scan_and_move(config, names)
    await store.close()
    assert recorder.rows - table() == set(), "calls that the table does not have"
    assert table() - recorder.rows == set(), "rows that no call was seen of"
    assert (recorder.not_waiting, recorder.unfenced) == ([], [])
    made = {one.collection_name: one for one in recorder.made if isinstance(one, grpc.CreateCollection)}
    placed = {(one.shard_number, one.replication_factor, one.write_consistency_factor) for one in made.values()}
    assert {names.interests, names.items, names.population} <= made.keys()
    assert placed <= {(4, 3, 2), (1, 3, 2)}
    assert made[names.interests].shard_number == 4
    indexes = [one for one in recorder.made if isinstance(one, grpc.CreateFieldIndexCollection)]
    assert indexes
    assert {(one.wait, one.HasField("ordering")) for one in indexes} == {(True, True)}

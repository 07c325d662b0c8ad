"""Marks of crashes: one suite for the store in Qdrant and for the fake; and what is seen of them from outside."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from streams.store.collections import Collections
from streams.store.crash_marks import CrashMark, CrashMarks, QdrantCrashMarks, SetAside
from streams.store.qdrant import QdrantStore
from streams.store.survey import Surveyor
from tests.contract.test_store import DIM, POLICY, config_of
from tests.fixtures.crash_marks import MemoryCrashMarks
from tests.fixtures.qdrant import QdrantServer

WHOLE = CrashMark(
    "clicks", 3, log=2, first=17, writer="worker-é", deaths=2, hand=19, suspect=18, tries=1,
    aside=(SetAside(2, 4, 1_760_000_000_000, "KeyError"),), total=9,
)  # fmt: skip


async def prepare(qdrant: QdrantServer) -> QdrantServer:
    store = QdrantStore(config_of(qdrant), POLICY, Collections(uuid.uuid4().hex, DIM))
    await store.prepare()
    await store.close()
    return qdrant


@pytest.fixture(params=["qdrant", "memory"])
async def marks(request: pytest.FixtureRequest) -> AsyncIterator[CrashMarks]:
    if request.param == "memory":
        yield MemoryCrashMarks()
        return
    qdrant: QdrantServer = request.getfixturevalue("qdrant")  # only where it is needed
    made = QdrantCrashMarks(config_of(await prepare(qdrant)), uuid.uuid4().hex)
    yield made
    await made.close()


async def test_what_is_written_is_read_back_and_the_last_counts(marks: CrashMarks) -> None:
    assert await marks.read(["clicks/3"]) == {}
    await marks.write([CrashMark("clicks", 3), CrashMark("clicks", 1, first=5)])
    await marks.write([WHOLE])
    assert await marks.read(["clicks/3", "clicks/2"]) == {"clicks/3": WHOLE}
    assert (await marks.read(["clicks/1"]))["clicks/1"].first == 5


async def test_from_outside_a_groups_own_are_seen_and_its_control_point_is_none_of_them(qdrant: QdrantServer) -> None:
    config, group = config_of(await prepare(qdrant)), uuid.uuid4().hex
    mine, others = QdrantCrashMarks(config, group), QdrantCrashMarks(config, uuid.uuid4().hex)
    surveyor = Surveyor(config)
    try:
        assert await surveyor.crash_marks(group) == []
        await mine.write([WHOLE])
        await others.write([CrashMark("clicks", 3)])
        assert await surveyor.crash_marks(group) == [WHOLE]
    finally:
        for one in (mine, others, surveyor):
            await one.close()

"""The learner's state on a real Qdrant engine: one writer at a time, and nothing late undoes what came after it."""

from __future__ import annotations

import asyncio

import pytest

from streams.base.errors import Fenced
from streams.store.connection import QdrantConfig
from streams.store.learner_state import LearnerStates
from tests.fixtures.brokers import Broker
from tests.fixtures.qdrant import QdrantServer

pytestmark = pytest.mark.integration


def states(qdrant: QdrantServer, name: str, writer: str) -> LearnerStates:
    return LearnerStates(
        QdrantConfig(host=qdrant.host, grpc_port=qdrant.grpc_port, http_port=qdrant.http_port), name, writer
    )


async def test_what_is_written_is_read_by_the_next(qdrant: QdrantServer) -> None:
    name = Broker.unique("state")
    first, second = states(qdrant, name, "a"), states(qdrant, name, "b")
    await first.prepare()
    assert await first.take() is None
    await first.write("x" * 300_000)
    await first.write("two")
    assert await second.take() == "two"
    await second.write("three")
    assert await states(qdrant, name, "c").take() == "three"
    assert await states(qdrant, Broker.unique("state"), "c").take() is None
    await first.close()
    await second.close()


async def test_who_was_replaced_writes_no_more(qdrant: QdrantServer) -> None:
    name = Broker.unique("state")
    old, new = states(qdrant, name, "old"), states(qdrant, name, "new")
    await old.prepare()
    await old.take()
    await old.write("before")
    assert await new.take() == "before"
    with pytest.raises(Fenced, match="another learner"):
        await old.write("late")
    await new.write("after")
    with pytest.raises(Fenced):
        await old.write("later")
    assert await states(qdrant, name, "reader").take() == "after"


async def test_a_write_whose_answer_was_lost_is_written_again_and_undoes_nothing(qdrant: QdrantServer) -> None:
    name = Broker.unique("state")
    learner = states(qdrant, name, "a")
    await learner.prepare()
    await learner.take()
    held = learner._held
    await learner.write("one")
    learner._held = held  # as if no answer had come
    await learner.write("one, again")
    await learner.write("two")
    late = states(qdrant, name, "a")
    late._held = held  # the request of the first try, on its way until now
    with pytest.raises(Fenced):
        await late.write("one")
    assert await states(qdrant, name, "b").take() == "two"


async def test_of_many_at_once_one_owns_it(qdrant: QdrantServer) -> None:
    name = Broker.unique("state")
    many = [states(qdrant, name, f"w{n}") for n in range(5)]
    await many[0].prepare()
    await asyncio.gather(*(one.take() for one in many))
    outcomes = await asyncio.gather(*(one.write(one._writer) for one in many), return_exceptions=True)
    (owner,) = (one for one, outcome in zip(many, outcomes, strict=True) if outcome is None)
    assert all(outcome is None or isinstance(outcome, Fenced) for outcome in outcomes)
    assert await states(qdrant, name, "last").take() == owner._writer

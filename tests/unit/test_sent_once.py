"""Of a batch that is tried again, whole or in halves, everything that leaves the path leaves it once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from streams.base.errors import BrokerUnavailable, StoreUnavailable
from streams.events.dead_letters import DeadLetter
from streams.events.event import RecordLike
from streams.events.items import Item
from streams.events.side_outputs import Waiting
from streams.events.unresolved import RetryPolicy
from streams.interests.ballot import VoteChange
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import Node, profile_key
from streams.interests.signed_weight import WeightTable
from streams.pipeline.apply import PipelineDependencies, apply
from streams.pipeline.erase import DerivedChanges
from streams.store.base import Fence, Write
from streams.store.memory import MemoryStore
from streams.worker.crashes import Crashes, CrashSurroundings
from streams.worker.sent_once import SentOnce
from tests.fixtures.crash_marks import MemoryCrashMarks
from tests.fixtures.records import NOW_MS, click, record
from tests.property.test_ballot import Texts
from tests.property.test_fold import POLICY, VECTORS
from tests.unit.test_crashes import FakeBatch, Group, once


class Gone:
    """What has left: dead letters and waiting events by topic and offset. Topics in `away` are refused once."""

    def __init__(self, *away: str) -> None:
        self.dead: list[tuple[str, int, str]] = []
        self.waits: list[int] = []
        self.away = set(away)

    async def dead_letter(self, dead: Sequence[DeadLetter]) -> None:
        for letter in dead:
            if letter.record.topic in self.away:
                self.away.discard(letter.record.topic)
                raise BrokerUnavailable("away")
            self.dead.append((letter.record.topic, letter.record.offset, letter.reason))

    async def defer(self, waiting: Sequence[Waiting]) -> None:
        self.waits += [one.record.offset for one in waiting]


class Fragile(MemoryStore):
    """A store that cannot encode the nodes of `evil`, and is away for its first writes."""

    def __init__(self, away: int) -> None:
        super().__init__(POLICY)
        self._away = away

    def encoded(self, nodes: Sequence[Node], fence: Fence) -> Write:
        if any(node.key.user_id == "evil" for node in nodes):
            raise OverflowError
        return super().encoded(nodes, fence)

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        if self._away:
            self._away -= 1
            raise StoreUnavailable("away")
        await super().write(nodes, fence)


def records() -> list[Any]:
    """A record that cannot be read, an event that waits, good ones, and one whose nodes cannot be encoded."""
    bodies = [
        click(user_id=user, event_id=f"e{n}", item_id=item)
        for n, (user, item) in enumerate([("a", "x"), ("b", "nowhere"), ("evil", "x"), ("c", "x"), ("d", "nowhere")])
    ]
    made = [record(body, topic="clicks", partition=0, offset=n) for n, body in enumerate(bodies)]
    return [*made, record(value=b"{", topic="clicks", partition=0, offset=5)]


async def dependencies(store: MemoryStore, gone: Gone) -> tuple[PipelineDependencies, SentOnce, list[VoteChange]]:
    outbox, votes = SentOnce(gone), list[VoteChange]()

    async def send_derived(changes: DerivedChanges, log: int) -> None:
        votes.extend(changes.votes)

    deps = PipelineDependencies(
        encoder=Texts(), store=store, outbox=outbox, tree=None, policy=POLICY, weights=WeightTable(),  # type: ignore[arg-type]  # nothing has a text
        retries=RetryPolicy(1_000, 1_000, 60_000), home=lambda _: True, send_derived=send_derived,
    )  # fmt: skip
    await store.put_items([ItemPoint(Item("x", title="x"), VECTORS[0], "/a")])
    return deps, outbox, votes


async def through(store: MemoryStore, gone: Gone, tries: int) -> tuple[SentOnce, list[VoteChange]]:
    """A batch on its way as a worker takes it there; each work is done again up to `tries` times."""
    deps, outbox, votes = await dependencies(store, gone)
    group = Group()
    _, identity = group.worker()
    around = CrashSurroundings(
        marks=MemoryCrashMarks(), members=group._members, committed=lambda _: None, dead_letter=outbox.dead_letter,
        healthy=group._healthy, count=lambda _: None, budget=5,
    )  # fmt: skip
    crashes, batch = Crashes(around), FakeBatch(range(6), identity)
    batch.records = records()

    async def work(some: Sequence[RecordLike]) -> bool:
        await apply(some, deps, Fence(1, 1), 1, now_ms=NOW_MS)
        return True

    async def retry(something: Any) -> bool:
        for _ in range(tries):
            try:
                return bool(await something())
            except (StoreUnavailable, BrokerUnavailable):
                continue
        raise AssertionError("tried too often")

    await crashes.begin(batch, 1)  # type: ignore[arg-type]  # as much of it as is used
    assert await crashes.through(batch, batch.records, work, retry if tries > 1 else once)  # type: ignore[arg-type]
    return outbox, votes


@pytest.mark.parametrize("away", [0, 2])
async def test_a_batch_that_raises_and_is_halved_sends_one_of_a_kind_once(away: int) -> None:
    store, gone = Fragile(away), Gone()
    outbox, votes = await through(store, gone, tries=1 + away)
    assert sorted(gone.dead) == [("clicks", 2, "raised"), ("clicks", 5, "bad_json")]
    assert sorted(gone.waits) == [1, 4]
    assert {vote.source.offset for vote in votes} == {0, 3}  # and none of the one that was set aside
    applied = await store.read([profile_key(user) for user in ("a", "c", "evil")])
    assert {key.user_id for key in applied} == {"a", "c"}
    outbox.forget(records())
    assert not outbox._dead | outbox._waiting


async def test_while_a_server_is_away_nothing_is_sent_again() -> None:
    gone = Gone()
    outbox = SentOnce(gone)
    letters = [
        DeadLetter(record=record(click(), topic=topic, offset=7), stage="parse", reason="bad_json", message="")
        for topic in ("clicks", "comments")
    ]
    gone.away = {"comments"}
    with pytest.raises(BrokerUnavailable):
        await outbox.dead_letter(letters)
    await outbox.dead_letter(letters)
    await outbox.dead_letter([letters[0]])
    assert gone.dead == [("clicks", 7, "bad_json"), ("comments", 7, "bad_json")]
    outbox.forget(letter.record for letter in letters)
    await outbox.dead_letter([letters[0]])
    assert gone.dead[2:] == [("clicks", 7, "bad_json")]

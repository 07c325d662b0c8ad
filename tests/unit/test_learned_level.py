"""The level `learned` beside the path: who is asked about when, what fails, and that nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from streams.base.errors import ConfigurationError, EncoderUnavailable, StoreUnavailable, WrongModelOutput
from streams.encoder.triton import Busy, RequestRefused
from streams.interests.item_vectors import StoredItem
from streams.interests.nodes import Node, NodeKey, profile_key, recents_of
from streams.interests.recents import Recent, pack_recents
from streams.settings.policies import NodeSettings
from streams.store.base import Fence
from streams.store.memory import MemoryStore
from streams.worker import learned_level
from streams.worker.learned_level import LearnedLevel, LearnedLimits, LearnedSources
from streams.worker.learned_queue import LearnedQueue
from tests.fixtures.interest_model import Heard, MeanModel, lengths

DIM, T0 = 4, 1_780_000_000_000
POLICY = NodeSettings().policy()
OLD, NEW = Fence(1, 1), Fence(1, 2)
ROWS = np.eye(DIM, dtype=np.float32)
ITEMS = {f"i{at}": StoredItem(f"i{at}", row, "/") for at, row in enumerate(ROWS)}


def profile(user: str, item: str = "i0", at_ms: int = T0, erased_at_ms: int = 0, count: int = 1) -> Node:
    """A profile whose person has dealt with one item."""
    return Node(
        key=profile_key(user), direction=ROWS[0], norm=2.0, mass=2.0, net=2.0, t0_ms=at_ms, first_ms=at_ms,
        last_ms=at_ms, count=count, recents=pack_recents([Recent(item, at_ms, 2.0, "like")]), erased_at_ms=erased_at_ms,
    )  # fmt: skip


class Level:
    """A level on a store in memory, with a model in this process."""

    def __init__(self, people_a_call: int = 4, queue: int = 8) -> None:
        self.model, self.heard, self.store = MeanModel(DIM), Heard(), MemoryStore(POLICY)
        self.at_s, self.broken = 0.0, []  # type: tuple[float, list[BaseException]]
        self.queue = LearnedQueue(queue, self.heard.learned_dropped, lambda: self.at_s)
        self.sources = LearnedSources(model=self.model, items=self.items, write=self.write, observer=self.heard)
        self.level = LearnedLevel(self.sources, self.queue, LearnedLimits(people_a_call=people_a_call, linger_s=0.0))

    async def items(self, item_ids: Iterable[str]) -> Mapping[str, StoredItem]:
        return {one: ITEMS[one] for one in item_ids if one in ITEMS}

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        if self.broken:
            raise self.broken.pop(0)
        await self.store.write(nodes, fence)

    async def learned(self, user: str) -> dict[str, Node]:
        return {node.key.path: node for node in await self.store.tree(user) if node.key.level == "learned"}

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not met():
                await asyncio.sleep(0.001)


@asynccontextmanager
async def running(made: Level) -> AsyncIterator[Level]:
    task = asyncio.create_task(made.level.run())
    try:
        yield made
    finally:
        made.level.stop()
        async with asyncio.timeout(5):
            await task


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that failed is tried again at once."""
    monkeypatch.setattr(learned_level, "_FIRST_WAIT_S", 0.001)


async def test_many_people_are_one_call_and_their_nodes_are_written() -> None:
    made = Level()
    topic = Node(key=NodeKey("ana", "topic", "/x"), direction=ROWS[0])
    made.level.changed([profile("ana", "i1"), topic, profile("ben", "i2")], OLD)
    async with running(made):
        await made.until(lambda: len(made.heard.written) == 1)
    assert lengths(made.model.asked) == [2]
    assert (made.heard.written, made.heard.models) == ([(2, 8)], [made.model.model_id])
    assert (await made.learned("ana"))["/click"].direction.argmax() == 1
    assert (await made.learned("ben"))["/"].direction.argmax() == 2


async def test_who_changes_again_is_asked_about_once_as_they_are_then() -> None:
    made = Level()
    made.level.changed([profile("ana", "i1")], OLD)
    made.at_s = 3.0
    made.level.changed([profile("ana", "i2"), profile("ben")], OLD)
    assert (len(made.queue), made.queue.oldest_s()) == (2, 3.0)
    async with running(made):
        await made.until(lambda: not len(made.queue) and made.heard.rounds == 1)
        assert made.queue.oldest_s() == 0.0
    assert lengths(made.model.asked) == [2]
    assert (await made.learned("ana"))["/"].direction.argmax() == 2


async def test_past_its_bound_the_queue_loses_who_waits_longest_and_holds_up_nobody() -> None:
    made = Level(queue=3)
    made.level.changed([profile(f"u{at}") for at in range(5)], OLD)
    assert len(made.queue) == 3
    assert made.heard.dropped == [("queue_full", 2)]
    async with running(made):
        await made.until(lambda: not len(made.queue))
    assert [bool(await made.learned(f"u{at}")) for at in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (EncoderUnavailable("away"), "triton"),
        (Busy("UNAVAILABLE", "Request for unknown model: 'x' is not found"), "model"),
        (ConfigurationError("of another encoder"), "model"), (StoreUnavailable("away"), "qdrant"),
    ],
)  # fmt: skip
async def test_what_fails_is_counted_and_its_people_wait_on(error: BaseException, reason: str) -> None:
    made = Level()
    (made.broken if reason == "qdrant" else made.model.failures).extend([error, error])
    made.level.changed([profile("ana", "i1"), profile("ben")], OLD)
    async with running(made):
        await made.until(lambda: len(made.heard.written) == 1)
    assert made.heard.failed == [reason, reason]
    assert made.heard.dropped == []
    assert len(await made.learned("ana")) == 4


async def test_while_a_call_fails_who_changes_anew_is_asked_about_as_they_are_then() -> None:
    made = Level()
    made.model.gate, made.model.failures = asyncio.Event(), [EncoderUnavailable("away")]
    made.level.changed([profile("ana", "i1"), profile("ben", "i1")], OLD)
    async with running(made):
        await made.until(lambda: bool(made.model.asked))
        made.level.changed([profile("ana", "i2")], NEW)
        made.model.gate.set()
        await made.until(lambda: bool(made.heard.written) and not len(made.queue))
    assert (await made.learned("ana"))["/"].direction.argmax() == 2
    assert (await made.learned("ben"))["/"].direction.argmax() == 1
    assert sorted(made.heard.written) == [(1, 4), (1, 4)]  # each under its own fence


@pytest.mark.parametrize("error", [WrongModelOutput("nan"), RequestRefused("no"), ValueError("not finite")])
async def test_whom_the_model_cannot_answer_about_costs_nobody_else(error: Exception) -> None:
    made = Level()

    async def answers(histories: object, ask: Callable[[object], object] = made.model.answers) -> object:
        if (histories.weights == 2.0).any() and (histories.vectors[..., 3] == 1).any():  # type: ignore[attr-defined]
            raise error
        return await ask(histories)  # type: ignore[misc]

    made.model.answers = answers  # type: ignore[method-assign,assignment]
    made.level.changed([profile("ana", "i0"), profile("bad", "i3"), profile("ben", "i1")], OLD)
    async with running(made):
        await made.until(lambda: sum(people for people, _ in made.heard.written) == 2)
        await made.until(lambda: bool(made.heard.dropped))
    assert (made.heard.dropped, made.heard.failed) == ([("refused", 1)], [])
    assert [bool(await made.learned(user)) for user in ("ana", "bad", "ben")] == [True, False, True]


async def test_a_model_that_answers_nobody_rightly_drops_nobody() -> None:
    made = Level()
    made.model.failures = [WrongModelOutput("nan")] * 4  # two rounds, and whether it answers about nobody
    made.level.changed([profile("ana"), profile("ben")], OLD)
    async with running(made):
        await made.until(lambda: len(made.heard.written) == 1)
    assert (made.heard.failed, made.heard.dropped) == (["triton", "triton"], [])


async def test_a_defect_costs_the_people_of_one_round() -> None:
    made = Level(people_a_call=1)
    made.broken.append(TypeError("a defect"))
    made.level.changed([profile("ana"), profile("ben")], OLD)
    async with running(made):
        await made.until(lambda: len(made.heard.written) == 1)
    assert made.heard.dropped == [("refused", 1)]
    assert [bool(await made.learned(user)) for user in ("ana", "ben")] == [False, True]


async def test_a_node_of_a_newer_owner_stays_and_one_of_an_older_goes() -> None:
    made = Level()
    for fence, item, stays in ((NEW, "i1", 1), (OLD, "i2", 1), (NEW, "i3", 3)):
        made.level.changed([profile("ana", item)], fence)
        before = len(made.heard.written)
        task = asyncio.create_task(made.level.run())
        await made.until(lambda before=before: len(made.heard.written) > before)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await made.learned("ana"))["/"].direction.argmax() == stays


async def test_another_model_is_noticed_and_people_are_answered_by_it_as_they_come() -> None:
    made = Level()
    async with running(made):
        made.level.changed([profile("ana"), profile("ben")], OLD)
        await made.until(lambda: len(made.heard.written) == 1)
        made.model.model_id = "interest-mean-00000002"
        made.level.changed([profile("ana")], OLD)
        await made.until(lambda: len(made.heard.written) == 2)
    assert made.heard.models == ["interest-mean-00000001", "interest-mean-00000002"]
    by = [node.learned.model for user in ("ana", "ben") for node in (await made.learned(user)).values() if node.learned]
    assert by == ["interest-mean-00000002"] * 4 + ["interest-mean-00000001"] * 4


async def test_a_model_that_reads_fewer_items_and_answers_in_place_of_another_answers_everybody() -> None:
    made = Level()
    recents = [Recent(f"i{at}", T0 - at, 2.0, "like") for at in range(4)]
    made.model.gate = asyncio.Event()
    async with running(made):
        made.level.changed([replace(profile("ana"), recents=pack_recents(recents)), profile("ben")], OLD)
        await made.until(lambda: len(made.model.asked) == 1)
        made.model.history, made.model.model_id = 2, "interest-mean-00000002"
        made.model.gate.set()
        await made.until(lambda: made.heard.rounds == 1)
    assert (made.heard.dropped, made.heard.written) == ([], [(2, 8)])
    node = (await made.learned("ana"))["/"]
    assert {one.item_id: one.weight for one in node.evidence} == pytest.approx({"i0": 2 / 3, "i1": 1 / 3})


async def test_who_was_erased_is_forgotten_in_the_queue_and_in_hand() -> None:
    made = Level(people_a_call=1)
    made.model.gate = asyncio.Event()
    made.level.changed([profile("ana"), profile("ben")], OLD)
    async with running(made):
        await made.until(lambda: bool(made.model.asked))
        made.level.changed([profile(user, erased_at_ms=T0, count=0) for user in ("ana", "ben")], OLD)
        made.model.gate.set()
    assert made.heard.dropped == [("erased", 2)]
    assert made.heard.written == []


async def test_what_is_written_after_its_persons_erasure_is_hidden_and_swept() -> None:
    """The erasure is in the store, and has not been heard of here."""
    made = Level()
    made.model.gate = asyncio.Event()
    made.level.changed([profile("ana")], OLD)
    async with running(made):
        await made.until(lambda: bool(made.model.asked))
        tombstone = Node(key=profile_key("ana"), direction=np.zeros(DIM, np.float32), t0_ms=T0, erased_at_ms=T0)
        await made.store.erase([tombstone], OLD)
        made.model.gate.set()
    assert made.heard.written == [(1, 4)]
    assert await made.store.tree("ana") == [tombstone]
    assert await made.store.oldest_put_back() == T0
    await made.store.sweep(T0)
    assert await made.store.oldest_put_back() == 0


async def test_who_comes_back_after_an_erasure_has_nodes_again() -> None:
    made = Level()
    tombstone = Node(key=profile_key("ana"), direction=np.zeros(DIM, np.float32), t0_ms=T0, erased_at_ms=T0)
    await made.store.erase([tombstone], OLD)
    made.level.changed([profile("ana", "i1", T0 + 5, erased_at_ms=T0)], OLD)
    async with running(made):
        await made.until(lambda: len(made.heard.written) == 1)
    assert len(await made.learned("ana")) == 4


async def test_it_rests_after_each_round_so_that_the_path_has_most_of_the_processor() -> None:
    made, now = Level(people_a_call=1), [0.0]
    made.level = LearnedLevel(made.sources, made.queue, LearnedLimits(people_a_call=1, linger_s=0.0), lambda: now[0])
    rests: list[float] = []

    async def pause(seconds: float) -> None:
        rests.append(seconds)

    async def write(nodes: Sequence[Node], fence: Fence) -> None:
        now[0] += 0.5

    made.level._pause = pause  # type: ignore[method-assign]
    made.store.write = write  # type: ignore[method-assign]
    made.level.changed([profile("ana"), profile("ben")], OLD)
    async with running(made):
        await made.until(lambda: len(made.heard.written) == 2)
        await made.until(lambda: rests.count(1.5) == 2)


async def test_a_worker_that_stops_works_off_what_waits() -> None:
    made = Level(people_a_call=2)
    async with running(made):
        made.level.changed([profile(f"u{at}") for at in range(7)], OLD)
        made.level.stop()
    assert sum(people for people, _ in made.heard.written) == 7


async def test_a_worker_that_stops_does_not_wait_for_who_fails() -> None:
    made = Level()
    made.model.failures = [EncoderUnavailable("away")] * 3
    made.level.changed([profile("ana")], OLD)
    made.level.stop()
    async with asyncio.timeout(5):
        await made.level.run()
    assert (made.heard.failed, len(made.queue)) == (["triton"], 1)


async def test_who_is_cancelled_in_hand_waits_again() -> None:
    made = Level()
    made.model.gate = asyncio.Event()
    made.level.changed([profile("ana"), profile("ben")], OLD)
    task = asyncio.create_task(made.level.run())
    await made.until(lambda: bool(made.model.asked))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(made.queue) == 2


def offered(made: Level, node: Node, fence: Fence) -> bool:
    """Offer somebody as a page of a sweep has them."""
    made.queue.note_changes(wanted=True)
    return made.queue.offer(node, fence)


def test_a_sweep_puts_in_nobody_of_whom_something_younger_is_known() -> None:
    made = Level()
    made.queue.note_changes(wanted=True)
    made.level.changed([profile("ana", "i2")], OLD)
    made.queue.take(1)
    made.queue.done(made.queue.in_hand())  # answered before the page came
    assert not made.queue.offer(profile("ana", "i1"), OLD)
    made.level.changed([profile("ben", "i2")], OLD)
    assert not offered(made, profile("ben", "i1"), OLD)  # waits
    made.queue.take(1)
    assert not offered(made, profile("ben", "i1"), OLD)  # in hand
    assert offered(made, profile("cyd", "i1"), OLD)
    assert len(made.queue) == 1


def test_who_waits_of_before_their_partition_was_anothers_is_asked_about_as_the_store_has_them() -> None:
    made = Level()
    made.level.changed([profile("ana", "i1"), profile("ben", "i1")], OLD)
    made.queue.take(1)
    assert all(offered(made, profile(user, "i2"), NEW) for user in ("ana", "ben"))
    made.queue.done(made.queue.in_hand())
    made.queue.take(2)
    assert [(one.source.recents[:2], one.fence) for one in made.queue.in_hand()] == [("i2", NEW)] * 2


def test_a_sweep_puts_in_nobody_who_has_nothing_to_read() -> None:
    made = Level()
    assert not offered(made, replace(profile("ana"), recents=""), OLD)
    assert not offered(made, profile("ben", erased_at_ms=T0, count=0), OLD)


def test_what_a_profile_says_is_what_the_queue_keeps() -> None:
    made = Level()
    made.level.changed([profile("ana", "i1")], NEW)
    made.queue.take(1)
    (one,) = made.queue.in_hand()
    assert one.source.items() == recents_of(profile("ana", "i1"))
    assert one.fence == NEW

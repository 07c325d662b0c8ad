"""An erasure forgets what happened up to its time and nothing else, in whatever order it and the events come."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events.drafts import Draft
from streams.events.items import Item
from streams.events.spans import Found, Slot, Span
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import Node, NodeKey, profile_key
from streams.pipeline.apply import PipelineDependencies, apply
from streams.store.base import Fence
from streams.store.memory import MemoryStore
from tests.fixtures.loops import completed
from tests.property.test_ballot import Died, Town
from tests.property.test_fold import ITEMS, PATHS, POLICY, T0, VECTORS, same

FENCE = Fence(1, 1)
LOG = 1
TOPICS = ("clicks", "comments", "events")
KINDS = ("click", "like", "unlike", "purchase", "hide")
H = 3_600_000
NOW = T0 + 100 * H

happened = st.tuples(st.sampled_from(KINDS), st.sampled_from(sorted(ITEMS)), st.integers(0, 48), st.sampled_from("ab"))
Happened = tuple[str, str, int, str]
logs = st.lists(happened, min_size=1, max_size=14, unique_by=lambda e: (e[1], e[2], e[3]))
erasures = st.lists(st.tuples(st.integers(0, 48), st.sampled_from("ab")), min_size=1, max_size=3)


class Log:
    """Topics of one partition each, as far as they have been written: the log that is read again."""

    def __init__(self, records: Sequence[Draft], holds_from_ms: int = 0) -> None:
        self.records, self.holds_from_ms, self.read = records, holds_from_ms, 0

    async def __call__(self, spans: Mapping[Slot, Span], wanted: Callable[[bytes | None], bool]) -> Found:
        self.read += 1
        asked = [one for one in self.records if one.offset <= spans.get(one[:2], Span(0, -1)).last and wanted(one.key)]
        young = [one for one in asked if (one.timestamp or 0) >= spans[one[:2]].since_ms]
        held = [one for one in young if (one.timestamp or 0) >= self.holds_from_ms]
        return Found(held, frozenset(one[:2] for one in young if one not in held))


class Mortal(MemoryStore):
    """A store whose worker dies before or after the writes that it is told."""

    def __init__(self, dies: Callable[[], bool]) -> None:
        super().__init__(POLICY)
        self._dies = dies

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        if self._dies():
            raise Died
        await super().write(nodes, fence)
        if self._dies():
            raise Died


def drafts(log: Sequence[Happened], ended: Sequence[tuple[int, str]]) -> list[tuple[int, str, bytes]]:
    """Events and erasures at whole hours: some fall together, and an event of that very time is not younger."""
    said = [(hours, user, {"type": kind, "item_id": item}) for kind, item, hours, user in log]
    said += [(hours, user, {"type": "erase"}) for hours, user in ended]
    return [
        (T0 + hours * H, user, json.dumps({"event_id": f"{n}-{hours}-{body.get('item_id')}-{body['type']}",
         "user_id": user, "ts": T0 + hours * H, **body}).encode())
        for n, (hours, user, body) in enumerate(said)
    ]  # fmt: skip


def placed(events: list[tuple[int, str, bytes]], choose: Any) -> list[Draft]:
    """The same events as records of several topics, each in the order they come."""
    following = dict.fromkeys(TOPICS, 0)
    out = []
    for at_ms, user, value in events:
        topic = choose(TOPICS)
        out.append(Draft(topic, 0, following[topic], at_ms + 1000, user.encode(), value))
        following[topic] += 1
    return out


def dependencies(store: MemoryStore, log: Log | None) -> PipelineDependencies:
    deps = Town(policy=POLICY).deps
    deps.store, deps.read_spans, deps.encoder.dim = store, log, VECTORS.shape[1]  # type: ignore[misc]
    points = [ItemPoint(Item(name, title=name), VECTORS[n], PATHS[n]) for name, n in ITEMS.items()]
    completed(store.put_items(points))
    return deps


def tree_of(store: MemoryStore) -> dict[NodeKey, Node]:
    """Both trees; what was taken back or never was counts as absent."""
    trees = [completed(store.tree(user)) for user in "ab"]
    return {node.key: node for tree in trees for node in tree if node.count > 0}


def lived(records: Sequence[Draft], size: int, random: Random | None = None) -> dict[NodeKey, Node]:
    """The trees after the records came, see `stored_after`."""
    return tree_of(stored_after(records, size, random))


def stored_after(records: Sequence[Draft], size: int, random: Random | None = None) -> MemoryStore:
    """The store after the records came in batches of about `size`, each again as after a lost acknowledgement.

    With `random` workers die between writes too, and whoever follows takes other batches from where topics stand.
    """
    deaths = 0

    def dies() -> bool:
        nonlocal deaths
        deaths += random is not None and random.random() < 0.15
        return deaths > died

    died = 0
    store = Mortal(dies)
    deps = dependencies(store, Log(records))
    left = list(records)
    while left:
        batch = left[:size]
        try:
            for _ in range(2):
                completed(apply(batch, deps, FENCE, LOG, now_ms=NOW))
            left = left[size:]
        except Died:
            died = deaths
            left = _in_another_order(left, random)
    return store


def _in_another_order(records: Sequence[Draft], random: Random) -> list[Draft]:
    """What is still to come: each topic's records in their order, topics among each other in another."""
    queues = {topic: [one for one in records if one.topic == topic] for topic in TOPICS}
    order = [one.topic for one in records]
    random.shuffle(order)
    return [queues[topic].pop(0) for topic in order]


def said(draft: tuple[int, str, bytes]) -> Happened:
    body = json.loads(draft[2])
    return body["type"], body["item_id"], (draft[0] - T0) // H, draft[1]


def assert_same(found: dict[NodeKey, Node], expected: dict[NodeKey, Node], kept: Sequence[Happened]) -> None:
    same(expected, found, [(kind, item, hours * H, user) for kind, item, hours, user in kept])


def test_a_log_that_no_longer_holds_them_forgets_more_says_so_and_is_read_once() -> None:
    records = placed(
        drafts([("click", "i1", 1, "a"), ("like", "i2", 9, "a"), ("click", "i3", 12, "a")], []), lambda _: "clicks"
    )
    erasure = placed(drafts([], [(5, "a")]), lambda _: "events")
    store, log = MemoryStore(POLICY), Log(records, holds_from_ms=T0 + 10 * H)
    deps = dependencies(store, log)
    completed(apply(records, deps, FENCE, LOG, now_ms=NOW))
    report = completed(apply(erasure, deps, FENCE, LOG, now_ms=NOW))
    assert report.reread_incomplete == 1
    assert [event.ts_ms for event in report.events["reread"]] == [T0 + 12 * H]
    profile = tree_of(store)[profile_key("a")]
    assert (profile.count, profile.reread, profile.first_ms) == (1, False, T0 + 12 * H)
    completed(apply([*records, *erasure], deps, FENCE, LOG, now_ms=NOW))
    assert (log.read, tree_of(store)[profile_key("a")].count) == (1, 1)


def test_where_nothing_is_left_of_the_log_nothing_is_asked_of_it_again() -> None:
    records = placed(drafts([("click", "i1", 1, "a"), ("like", "i2", 9, "a")], []), lambda _: "clicks")
    erasure = placed(drafts([], [(5, "a")]), lambda _: "events")
    store, log = MemoryStore(POLICY), Log(records, holds_from_ms=NOW)
    deps = dependencies(store, log)
    for batch in (records, erasure, erasure, records):
        completed(apply(batch, deps, FENCE, LOG, now_ms=NOW))
    profile = completed(store.read([profile_key("a")]))[profile_key("a")]
    assert (log.read, profile.count, profile.reread) == (1, 0, False)


def test_an_erasure_that_meets_no_younger_event_reads_nothing_again() -> None:
    """As those through the API are: their cost is what it was."""
    records = placed(drafts([("click", "i1", 1, "a"), ("like", "i2", 9, "b")], [(2, "a")]), lambda _: "clicks")
    store, log = MemoryStore(POLICY), Log(records)
    completed(apply(records, dependencies(store, log), FENCE, LOG, now_ms=NOW))
    assert log.read == 0


def test_a_second_erasure_keeps_what_a_first_was_to_read_again() -> None:
    """The worker dies when the first one's tombstone stands; then another comes that is younger, if not than all."""
    happened_ = [("click", "i1", 1, "a"), ("click", "i2", 20, "a"), ("click", "i3", 30, "a")]
    records = placed(drafts(happened_, []), lambda _: "clicks")
    erased = placed(drafts([], [(5, "a"), (25, "a")]), lambda _: "events")
    writes = 0

    def dies() -> bool:
        nonlocal writes
        writes += 1
        return writes == 4  # after the tombstone

    store, log = Mortal(dies), Log(records)
    deps = dependencies(store, log)
    completed(apply(records, deps, FENCE, LOG, now_ms=NOW))
    with pytest.raises(Died):
        completed(apply(erased[:1], deps, FENCE, LOG, now_ms=NOW))
    assert completed(store.read([profile_key("a")]))[profile_key("a")].reread
    completed(apply(erased, deps, FENCE, LOG, now_ms=NOW))
    profile = tree_of(store)[profile_key("a")]
    assert (profile.count, profile.first_ms, profile.erased_at_ms) == (1, T0 + 30 * H, T0 + 25 * H)


def test_the_same_event_sent_twice_is_read_again_once() -> None:
    (first, second) = drafts([("click", "i1", 1, "a"), ("click", "i2", 20, "a")], [])
    records = placed([first, second], lambda _: "clicks")
    store = MemoryStore(POLICY)
    again = [Draft("comments", 0, 0, second[0], b"a", second[2]), *placed(drafts([], [(5, "a")]), lambda _: "events")]
    deps = dependencies(store, Log([*records, *again]))
    completed(apply(records, deps, FENCE, LOG, now_ms=NOW))
    completed(apply(again, deps, FENCE, LOG, now_ms=NOW))
    assert tree_of(store)[profile_key("a")].count == 1


def younger(log: Sequence[Happened], ended: Sequence[tuple[int, str]]) -> list[Happened]:
    """What no erasure of its person is as late as."""
    return [one for one in log if all(user != one[3] or hours < one[2] for hours, user in ended)]


@settings(deadline=None, max_examples=150)
@given(logs, erasures, st.integers(1, 6), st.integers(0, 2**32))
def test_in_any_order_what_is_no_younger_goes_and_all_that_is_younger_stays(
    log: list[Happened], ended: list[tuple[int, str]], size: int, seed: int
) -> None:
    """All orders, topics, splits into batches, redeliveries and deaths; trees that hold both among them."""
    random = Random(seed)
    events = drafts(log, ended)
    random.shuffle(events)
    found = lived(placed(events, random.choice), size, random)
    kept = younger(log, ended)
    assert_same(found, lived(placed([one for one in drafts(log, []) if said(one) in kept], random.choice), size), kept)

"""An erasure forgets what happened up to its time, in whatever order it and the events come."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.events.event import Event, Source
from streams.interests.fold import fold
from streams.interests.nodes import Node, NodeKey, is_put_back, profile_key, without_erased
from streams.interests.plan import Weighed, gate, plan
from streams.interests.signed_weight import signed_weight
from streams.pipeline.erase import erase
from streams.store.base import Fence
from streams.store.memory import MemoryStore
from tests.property.test_fold import DIM, ITEMS, PATHS, POLICY, T0, TABLE, VECTORS, same

FENCE = Fence(1, 1)
TOPICS = ("clicks", "comments", "events")
KINDS = ("click", "like", "purchase", "hide")
H = 3_600_000

happened = st.tuples(st.sampled_from(KINDS), st.sampled_from(sorted(ITEMS)), st.integers(0, 48), st.sampled_from("ab"))
logs = st.lists(happened, min_size=1, max_size=14, unique_by=lambda e: (e[1], e[2], e[3]))
erasures = st.lists(st.tuples(st.integers(0, 48), st.sampled_from("ab")), min_size=1, max_size=3)


def event(kind: str, item: str | None, hours: int, user: str, number: int) -> Event:
    return Event(
        f"{kind}-{item}-{hours}-{number}", user, kind, T0 + hours * H, item, None, None, None, (), (), None, {},
        Source("", 0, 0),
    )  # type: ignore[arg-type]  # the kinds are kinds  # fmt: skip


def events_of(log: list[tuple[str, str, int, str]], ended: list[tuple[int, str]]) -> list[Event]:
    """Events and erasures at whole hours: some fall together, and an event of that very time is not younger."""
    made = [event(kind, item, hours, user, n) for n, (kind, item, hours, user) in enumerate(log)]
    return made + [event("erase", None, hours, user, 100 + n) for n, (hours, user) in enumerate(ended)]


def placed(events: list[Event], choose: Any) -> list[Event]:
    """The same events as records of several topics, each in the order they come."""
    following = dict.fromkeys(TOPICS, 0)
    out = []
    for one in events:
        topic = choose(TOPICS)
        out.append(_at(one, Source(topic, 0, following[topic])))
        following[topic] += 1
    return out


def _at(one: Event, source: Source) -> Event:
    fields = {name: getattr(one, name) for name in one.__struct_fields__}
    return Event(**{**fields, "source": source})


@dataclass
class Deps:
    """What an erasure needs; nobody keeps sums over everybody here."""

    store: MemoryStore
    encoder = SimpleNamespace(dim=DIM)
    policy = POLICY

    async def send_derived(self, *_: object) -> None:
        """Nothing is kept of it."""


async def applied(batch: list[Event], store: MemoryStore) -> None:
    """The path of a batch, without its servers: gate, erase, weigh, plan, fold, write."""
    keys = [profile_key(user) for user in {one.user_id for one in batch}]
    stored = {key.user_id: node for key, node in (await store.read(keys)).items()}
    gated = gate(batch, stored, 1, whole_trees=True)
    erasure = await erase(gated.fresh, stored, Deps(store), FENCE, 1)
    weighed = [
        Weighed(one, ITEMS[one.item_id], PATHS[ITEMS[one.item_id]], signed_weight(one, None, TABLE), one.item_id)
        for one in erasure.kept
        if one.item_id
    ]
    planned = plan(weighed, erasure.kept, erasure.profiles, POLICY, 1)
    nodes = without_erased((await store.read(planned.touched())).values())
    await store.write(fold(planned, VECTORS, {node.key: node for node in nodes}, POLICY, 1), FENCE)


def lived(events: list[Event], size: int) -> dict[NodeKey, Node]:
    """The trees after the events came in batches of `size`; what was taken back or never was counts as absent."""

    async def live() -> dict[NodeKey, Node]:
        store = MemoryStore(POLICY)
        for at in range(0, len(events), size):
            await applied(events[at : at + size], store)
            await applied(events[at : at + size], store)  # and once more, as after a lost acknowledgement
        trees = [await store.tree(user) for user in "ab"]
        return {node.key: node for tree in trees for node in tree}

    return {key: node for key, node in asyncio.run(live()).items() if node.count > 0}


def younger(log: list[tuple[str, str, int, str]], ended: list[tuple[int, str]]) -> list[tuple[str, str, int, str]]:
    """What no erasure of its person is as late as."""
    return [one for one in log if all(user != one[3] or hours < one[2] for hours, user in ended)]


@settings(deadline=None)
@given(logs, erasures, st.integers(1, 6), st.randoms(use_true_random=False))
def test_in_any_order_nothing_of_before_an_erasure_is_left(
    log: list[tuple[str, str, int, str]], ended: list[tuple[int, str]], size: int, random: Any
) -> None:
    events = events_of(log, ended)
    random.shuffle(events)
    for node in lived(placed(events, random.choice), size).values():
        for hours, user in ended:
            if user == node.key.user_id:
                assert not is_put_back(node.key.level, node.first_ms, T0 + hours * H)
                assert all(entry.ts_ms > T0 + hours * H for entry in node.evidence)


@settings(deadline=None)
@given(logs, erasures, st.integers(1, 6), st.randoms(use_true_random=False))
def test_who_has_only_younger_or_only_later_events_keeps_them_in_any_order(
    log: list[tuple[str, str, int, str]], ended: list[tuple[int, str]], size: int, random: Any
) -> None:
    """All orders but those in which a tree holds older *and* younger events when its erasure is read."""
    kept = younger(log, ended)
    expected = lived(placed(events_of(kept, []), random.choice), size)
    late = events_of(kept, ended)
    random.shuffle(late)  # all that is left is younger: an erasure may come before, between or after it
    same(expected, lived(placed(late, random.choice), size), kept)
    older = events_of([one for one in log if one not in kept], ended)
    random.shuffle(older)
    after = events_of(kept, [])
    random.shuffle(after)
    same(expected, lived(placed(older + after, random.choice), size), kept)

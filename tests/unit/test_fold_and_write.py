"""A plan is written part by part: side by side but bounded, sent on before it is written, and nothing goes on after."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from streams.base.errors import StoreUnavailable
from streams.events.event import Event, Source
from streams.interests.ballot import VoteChange
from streams.interests.nodes import Node, NodePolicy
from streams.interests.plan import Plan, Weighed, plan
from streams.pipeline.erase import DerivedChanges
from streams.pipeline.fold_and_write import fold_and_write
from streams.pipeline.in_flight import InFlight
from streams.settings.policies import NodeSettings
from streams.store.base import Fence, Write
from streams.store.memory import MemoryStore

POLICY = NodeSettings().policy()
VECTORS = np.eye(4, dtype=np.float32)
PARTS = 6
PEOPLE = 512 * (PARTS - 1) + 100  # of four nodes each


class Recording(MemoryStore):
    """Says what happens, and may fail at a part's write."""

    def __init__(self, fails_at: int = 0) -> None:
        super().__init__(POLICY)
        self.said: list[str] = []
        self.most = self._now = self._parts = 0
        self._fails_at = fails_at

    def encoded(self, nodes: Sequence[Node], fence: Fence) -> Write:
        self._parts += 1
        part, behind = self._parts, super().encoded(nodes, fence)
        self.said.append(f"folded {part}")

        async def write() -> None:
            self._now += 1
            self.most = max(self.most, self._now)
            try:
                await asyncio.sleep(0.01)
                if part == self._fails_at:
                    raise StoreUnavailable("away")
                await behind()
                self.said.append(f"written {part}")
            finally:
                self._now -= 1

        return write


@dataclass
class Deps:
    store: Recording
    policy: NodePolicy = field(default_factory=lambda: POLICY)
    sent: list[VoteChange] = field(default_factory=list)

    async def send_derived(self, changes: DerivedChanges, log: int) -> None:
        self.store.said.append("sent")
        self.sent += changes.votes


def planned() -> Plan:
    events = [
        Event(f"e{n}", f"u{n}", "click", 1_700_000_000_000, f"i{n % 9}", None, None, None, (), (), None, {},
              Source("clicks", 0, n))
        for n in range(PEOPLE)
    ]  # fmt: skip
    weighed = [Weighed(event, n % 4, "/a/b", 1.0, event.item_id or "") for n, event in enumerate(events)]
    return plan(weighed, events, {}, POLICY, 1)


async def run(deps: Deps) -> list[Node]:
    return await fold_and_write(
        planned(),
        VECTORS,
        [],
        deps,
        Fence(1, 1),
        1,
        nodes_of=lambda nodes: {node.key: node for node in nodes},
        flight=InFlight(),
    )  # fmt: skip


async def test_the_next_parts_are_folded_while_one_is_written_and_all_is_sent_on_before_that() -> None:
    deps = Deps(Recording())
    changed = await run(deps)
    said = deps.store.said
    assert len(changed) == 4 * PEOPLE
    assert said.count("sent") == 1
    assert said.index("sent") < said.index("written 1")
    assert 2 <= deps.store.most <= 4
    assert said.index("folded 2") < said.index("written 1") < said.index("folded 5")
    assert len(deps.sent) == len({vote.source for vote in deps.sent}) == PEOPLE
    assert len(await deps.store.read([node.key for node in changed])) == len(changed)


@pytest.mark.parametrize("part", [1, 2, PARTS])
async def test_a_part_that_fails_ends_all_and_leaves_nothing_under_way(part: int) -> None:
    deps = Deps(Recording(fails_at=part))
    with pytest.raises(StoreUnavailable):
        await run(deps)
    said = list(deps.store.said)
    await asyncio.sleep(0.05)
    assert deps.store.said == said, "something went on"
    assert f"written {part}" not in said
    again = Deps(deps.store)
    deps.store._fails_at = 0
    assert len(await run(again)) == 4 * PEOPLE - 4 * _whole(said), "a part that was written is not folded again"


def _whole(said: list[str]) -> int:
    """How many people are in the parts that were written."""
    return sum(512 if one.startswith("written") and one != f"written {PARTS}" else 0 for one in said)

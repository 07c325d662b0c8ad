"""What the worker's cache of nodes says it holds is what the process grew by: no node holds its whole batch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fixtures.path import ROOT

#: Folds batches of clicks of many users into cached nodes; prints what the cache says, and what the process grew by.
_FOLDS = """
import asyncio, gc, random, sys
from pathlib import Path
import numpy as np
from streams.events.event import Event, Source
from streams.interests.plan import Weighed, gate, plan
from streams.interests.fold import fold_part, parts
from streams.settings.policies import NodeSettings
from streams.store.base import Fence
from streams.store.cached import CachedStore
from streams.store.memory import MemoryStore
from streams.store.node_wire import nodes_bytes

class Nowhere(MemoryStore):
    def encoded(self, nodes, fence):
        assert not nodes or nodes_bytes(nodes, NodeSettings().policy(), fence)
        async def write(): pass
        return write

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

async def main():
    policy, chance = NodeSettings().policy(), random.Random(1)
    vectors = np.random.default_rng(1).normal(size=(50, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    limit, one_in = map(int, sys.argv[1:])
    store = CachedStore(Nowhere(policy), nodes_bytes=limit, items_bytes=1 << 20, items_ttl_s=60)
    def user(number, n):  # one in so many is somebody new, whom no later batch touches
        return f"new-{number * 1000 + n}" if n % one_in == 0 else f"often-{chance.randrange(250)}"
    async def batch(number):
        events = [
            Event(f"e-{number}-{n}", user(number, n), "click", 1_700_000_000_000 + n, f"i{n % 50}",
                  None, None, None, (), (), None, {}, Source("clicks", 0, number * 1000 + n))
            for n in range(1000)
        ]
        weighed = [Weighed(e, n % 50, f"/t{n % 5}/s{n % 10}", 1.0, e.item_id) for n, e in enumerate(events)]
        planned = plan(weighed, events, {}, policy, 1)
        for part in parts(planned, 512):
            nodes = await store.read(part.keys)
            await store.write(fold_part(planned, part, vectors, nodes, policy, 1), Fence(1, 1))
    await batch(0)
    before, said = resident(), store.readers()["nodes"]().nbytes
    for number in range(1, 25):
        await batch(number)
    print(store.readers()["nodes"]().nbytes - said, resident() - before)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("limit", "one_in"), [(1 << 30, 8), (160 << 20, 1)], ids=["all fits", "most was there and is gone"]
)
def test_a_worker_grows_by_what_its_cache_says(limit: int, one_in: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FOLDS, str(limit), str(one_in)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    said, grew = map(int, done.stdout.split())
    assert said > 20 << 20
    assert 0.5 * said < grew < 1.5 * said

"""One fault on an arena: its rig, its events and their ledger, its workers, and what the oracle says in the end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from deploy.embedded.ports import free_ports
from streams.base.errors import BrokerUnavailable
from streams.base.retrying import answered
from streams.broker.admin import Admin
from streams.interests.levels import is_sum
from streams.interests.popularity import ItemPopularity
from streams.settings.service import Settings
from streams.settings.wiring import qdrant_config
from streams.store.cohort_store import CohortStore
from streams.store.collections import Collections
from tests.fault.arena import Arena, FaultyWorker
from tests.fault.whole import StubbornClient
from tests.fixtures.interposer import Interposer
from tests.fixtures.path import Rig
from tests.oracle import check, raw
from tests.oracle.expect import World, erasures
from tests.oracle.generate import Generator, Made
from tests.oracle.ledger import Entry, Ledger, read_log
from tests.oracle.watch import Watch
from tests.oracle.world import encode


class Trial:
    """One fault: a rig, events from a seed, the ledger, and the workers it is done to."""

    def __init__(self, arena: Arena, rig: Rig, name: str, *, users: int = 8) -> None:
        self.arena, self.rig, self.options = arena, rig, arena.options
        self.settings = rig.settings  # what workers get: their way to a server may lead through an interposer
        self._interposed: list[Interposer] = []
        self.run = Rig.unique_run().replace("_", "-")
        kinds = {"clicks": rig.clicks, "comments": rig.comments, "events": rig.events, "items": rig.items_topic}
        kinds["unresolved"] = rig.settings.kafka.unresolved_topic
        self._topics = kinds
        self.path = arena.work / f"{self.run}.ledger"
        self.ledger = Ledger(self.path, kinds, rig.broker.bootstrap)
        items = [item["item_id"] for item in arena.items]
        self.made = Generator(f"{arena.options.seed}/{name}", self.run, items, _now_ms(), users)
        self.users = [self.made.user(n) for n in range(users)]
        self.watch = Watch(rig.store(), self.users)
        self.over_s = time.monotonic()
        self.injected = ""
        self.client = StubbornClient(self.ledger, arena.stack) if arena.stack is not None else None
        self.judged: check.Verdict | None = None  # set by a fault that asks the oracle itself
        self._late: dict[str, str] = {}
        self._said: list[str] = []
        self.starts = 0
        self._supervised: set[asyncio.Task[None]] = set()

    # -- what scenarios use -------------------------------------------------------------------------------------

    async def play(self, count: int, *, rounds: int = 0) -> None:
        """Produce `count` events, some twice; and `rounds` clicks of every user besides."""
        await self.send([*self.made.events(count), *self.made.every_user(rounds)])

    async def send(self, records: Iterable[Made], partition: int | None = None, **how: str) -> int:
        """Produce records and write them into the ledger; returns how many were acknowledged."""
        return await self.ledger.produce(records, partition=partition, **how)

    async def say(self, count: int, *besides: Made) -> None:
        """Searches by words that nobody has encoded yet, so that Triton is needed; `besides` goes in the middle."""
        records = self.made.searches([f"what is the number {len(self._said) + n} of {self.run}" for n in range(count)])
        self._said += [json.loads(made.value)["text"] for made in records]
        await self.send([*records[: count // 2], *besides, *records[count // 2 :]])

    async def describe_late(self, item_id: str) -> None:
        """Describe an item that events have been waiting for; it reads as the first of the catalogue."""
        first = self.arena.items[0]
        self._late[item_id] = first["item_id"]
        item = {**first, "item_id": item_id}
        await self.send([Made("items", item_id.encode(), json.dumps(item).encode(), "item")])

    async def allow_large(self) -> None:
        """Let the topic of clicks take records of 12 MiB, where the broker has a limit of its own."""
        if self.rig.broker.kind == "kafka":
            admin = AIOKafkaAdminClient(bootstrap_servers=self.rig.broker.bootstrap)
            await admin.start()
            try:
                change = ConfigResource(ConfigResourceType.TOPIC, self.rig.clicks, {"max.message.bytes": str(12 << 20)})
                await admin.alter_configs([change])
            finally:
                await admin.close()

    async def delete_topic(self, name: str) -> None:
        """Delete a topic."""
        async with Admin(self.rig.config) as admin:
            await admin.delete_topics([name])

    def worker(self, faults: str = "", module: str = "", **env: str) -> FaultyWorker:
        """A worker, started with fault points."""
        settings = self._changed("worker", metrics_port=free_ports(1)[0])
        log = self.arena.work / f"{self.run}-{len(self.rig.workers)}.log"
        made = FaultyWorker(settings, log, self.options.mutant, module, **env)
        made.start(faults)
        self.rig.workers.append(made)
        return made

    def _changed(self, section: str, **change: Any) -> Settings:
        changed = getattr(self.settings, section).model_copy(update=change)
        return self.settings.model_copy(update={section: changed})

    async def interpose(self, server: str) -> Interposer:
        """A peer that may misbehave, before `triton` or `qdrant`, for workers that are started from here on."""
        arena = self.arena
        target = arena.triton.grpc_url if server == "triton" else f"{arena.qdrant.host}:{arena.qdrant.grpc_port}"
        peer = Interposer(target)
        await peer.start()
        self._interposed.append(peer)
        change = {"url": peer.url} if server == "triton" else {"grpc_port": peer.port}
        self.settings = self._changed(server, **change)
        return peer

    async def waits_for(self, worker: FaultyWorker, server: str, times: int = 1) -> None:
        """Until the worker has waited for a server that is away, so often."""
        name = f'interests_retries_total{{server="{server}"}}'

        async def waited() -> bool:
            return (await worker.metrics()).get(name, 0) >= times

        await self.until(waited, f"the worker waits for {server}")

    async def joined(self, worker: FaultyWorker) -> None:
        """Until the worker has had a batch."""

        async def worked() -> bool:
            return (await worker.metrics()).get("interests_batch_records_count", 0) >= 1

        await self.until(worked, "the worker is at work")

    def over(self) -> None:
        """The fault has ended: recovery is counted from here."""
        self.over_s = time.monotonic()

    async def until(self, met: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 60.0) -> None:
        """Wait for a condition."""
        end = time.monotonic() + timeout_s
        while not await met():
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not within {timeout_s:g} s\n{self.logs()}")
            await asyncio.sleep(0.1)

    async def quiet(self, timeout_s: float = 90.0, *, resolved: bool = True) -> None:
        """Wait until the group has committed the end of every topic it reads, twice in a row.

        Without `resolved` events may still be waiting for their items.
        """
        kafka, end, still = self.rig.settings.kafka, time.monotonic() + timeout_s, 0
        topics = [*kafka.event_topics, kafka.items_topic, *([kafka.unresolved_topic] if resolved else [])]
        topics += kafka.derived_topics
        while still < 2:
            behind = await self._behind(topics)
            still = still + 1 if behind == {} else 0
            if time.monotonic() > end:
                raise AssertionError(f"still behind after {timeout_s:g} s: {behind}\n{self.logs()}")
            await asyncio.sleep(0.3)

    async def _behind(self, topics: list[str]) -> dict[str, int] | None:
        try:
            async with Admin(self.rig.config) as admin:
                return {
                    f"{lag.topic}/{lag.partition}": lag.lag
                    for lag in await admin.lag(self.rig.config.group_id, topics)
                    if lag.lag
                }
        except (BrokerUnavailable, KafkaError):
            return None

    def supervise(self, worker: FaultyWorker, faults: str = "") -> None:
        """Start a worker again whenever it ends, with `faults` only, as whatever runs it in production does."""
        task = asyncio.create_task(self._start_again(worker, faults))
        self._supervised.add(task)

    async def _start_again(self, worker: FaultyWorker, faults: str) -> None:
        while True:
            await asyncio.sleep(0.1)
            if not worker.running:
                self.starts += 1
                worker.start(faults)

    async def read(self, topic: str) -> list[Any]:
        """Every record of a topic, as the broker has them."""
        return (await read_log(self.rig.broker.bootstrap, [topic]))[topic]

    def logs(self) -> str:
        """The ends of the workers' logs."""
        return "\n".join(f"--- worker {n}\n{worker.log()[-3000:]}" for n, worker in enumerate(self.rig.workers))

    async def stop(self) -> None:
        """End all workers: in order where they can, at once where not."""
        for task in self._supervised:
            task.cancel()
        for worker in self.rig.workers:
            if worker.running:
                worker.signal(signal.SIGCONT)
                worker.signal(signal.SIGTERM)
        for worker in self.rig.workers:
            with suppress(subprocess.TimeoutExpired):
                if worker.running:
                    await asyncio.to_thread(worker.wait, 15)
            worker.kill()
        for peer in self._interposed:
            await peer.stop()

    # -- the oracle ---------------------------------------------------------------------------------------------

    async def verdict(self) -> check.Verdict:
        """Compare everything; called when all is quiet."""
        if self.client is not None:
            # A broker that forgets has no log to look into; all that was acknowledged must be there.
            events = check.events_of(self.client.entries(_now_ms()))
            return await self._judge(events, [], check.Verdict(events=len(events)))
        kafka, verdict = self.rig.settings.kafka, check.Verdict()
        sources = [*kafka.event_topics, kafka.unresolved_topic]
        log = await read_log(self.rig.broker.bootstrap, [*sources, *(f"{topic}.dead" for topic in sources)])
        entries = check.sent([e for e in self.ledger.entries() if e.topic != kafka.items_topic], log, verdict)
        events = check.events_of(entries, [record.value for record in log[kafka.unresolved_topic]])
        verdict.events = len(events) + sum(entry.fate in ("dead", "unread") for entry in entries)
        check.dead_letters(entries, log, [r for topic in sources for r in log[f"{topic}.dead"]], verdict)
        return await self._judge(events, entries, verdict)

    async def _judge(self, events: list[dict[str, Any]], entries: list[Entry], verdict: check.Verdict) -> check.Verdict:
        store = self.rig.store()
        try:
            trees = [await answered(_patiently, store.tree, user) for user in self.users]
        finally:
            await store.close()
        found = {node.key: node for tree in trees for node in tree if is_sum(node.key.level)}
        world, nodes = self._world(), self.rig.settings.nodes
        half_lives: Mapping[str, float] = {str(level): s for level, s in nodes.policy().half_life_s.items()}
        check.compare(events, found, world, half_lives, nodes.evidence_length, verdict)
        check.popularity(
            events,
            await self._popularity(world),
            world,
            self.rig.settings.population.popularity_half_life_s,
            half_lives["profile"],
            verdict,
        )
        check.rolled_back(self.watch.rolled_back, entries, verdict)
        if ended := erasures(events):
            await self._erased(ended, verdict)
        return verdict

    async def _erased(self, ended: Mapping[str, int], verdict: check.Verdict) -> None:
        """Look for what should be gone: hidden nodes too, once a worker's sweep has passed over them."""
        store, config = self.rig.store(), qdrant_config(self.rig.settings)
        try:
            await store.sweep(now_ms=0)  # 0: nothing has expired by then, so that others' nodes stay
        finally:
            await store.close()
        updated = self.rig.settings.kafka.updated_topic
        updates = (await read_log(self.rig.broker.bootstrap, [updated]))[updated]
        check.erased(ended, await raw.nodes(config, [*ended]), await raw.mentions(config, ended), updates, verdict)

    async def put_back(self, users: Iterable[str], erased_at_ms: int) -> int:
        """How many points of these users there are that began before their erasure, whether readers are given them."""
        found = await raw.nodes(qdrant_config(self.rig.settings), [*users])
        return sum(node.key.level != "profile" and node.first_ms <= erased_at_ms for node in found)

    async def _popularity(self, world: World) -> dict[str, ItemPopularity]:
        settings = self.rig.settings
        store = CohortStore(
            qdrant_config(settings), settings.nodes.policy(), Collections("any", world.dim),
            group=settings.kafka.group, half_life_s=1.0,
        )  # fmt: skip
        try:
            return await answered(_patiently, store.popularity, world.items)
        finally:
            await store.close()

    def _world(self) -> World:
        world = self.arena.world(self.rig.settings)
        items = {**world.items, **{item_id: world.items[first] for item_id, first in self._late.items()}}
        said = encode(self.arena.triton.grpc_url, self._said) if self._said else {}
        return replace(world, items=items).knowing(said)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _patiently(_: str) -> None:
    """A server that has just been started again is asked again."""


@asynccontextmanager
async def trial(arena: Arena, name: str, users: int = 8, **sections: dict[str, Any]) -> AsyncIterator[Trial]:
    """A trial on an arena, its topics made; its workers are ended afterwards."""
    await arena.describe()
    rig = arena.rig(**sections)
    if arena.stack is not None:
        await arena.stack.start(rig.settings)
    await rig.prepare()
    made = Trial(arena, rig, name, users=users)
    try:
        if arena.stack is not None:
            described = [Made("items", i["item_id"].encode(), json.dumps(i).encode()) for i in arena.items]
            await made.send(described)
            await made.quiet()
        async with made.watch:
            yield made
    finally:
        await made.stop()

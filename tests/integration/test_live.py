"""Live trees from a real broker: fan-out, slow watchers, new partitions, a broker that goes away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from streams.api.live_hub import WAITING, Hub, TooManyWatchers, Watcher
from streams.api.models import LiveUpdate
from streams.broker import KafkaConfig
from streams.broker.admin import Admin, TopicSpec
from streams.broker.producer import Outgoing, Producer
from tests.fixtures.brokers import Broker
from tests.fixtures.workers import until

pytestmark = pytest.mark.integration


@asynccontextmanager
async def hub_on(config: KafkaConfig, topic: str, **options: float) -> AsyncIterator[Hub]:
    hub = Hub(config, topic, **options)  # type: ignore[arg-type]
    await hub.start()
    try:
        yield hub
    finally:
        await hub.close()


async def change(config: KafkaConfig, topic: str, *users: str, at_ms: int = 1, group: str | None = None) -> None:
    headers = (("group", (group or config.group_id).encode()),)
    records = [
        Outgoing(user.encode(), json.dumps({"user_id": user, "at_ms": at_ms + n}).encode(), headers=headers)
        for n, user in enumerate(users)
    ]
    async with Producer(config) as producer:
        await producer.send_many(topic, records)


async def heard(watcher: Watcher, count: int = 1, timeout_s: float = 15) -> list[LiveUpdate]:
    async with asyncio.timeout(timeout_s):
        return [await anext(watcher) for _ in range(count)]


async def test_everybody_who_watches_a_user_hears_of_every_change_from_now_on(broker: Broker, topic: str) -> None:
    config = broker.config()
    await change(config, topic, "ana", "bo", "ana")
    async with hub_on(config, topic) as hub:
        assert hub.ready
        async with hub.subscribe("ana") as one, hub.subscribe("ana") as two, hub.subscribe("bo") as three:
            await change(config, topic, *["ana", "cy", "bo", "ana"] * 10, at_ms=100)
            first, second, third = await heard(one, 20), await heard(two, 20), await heard(three, 10)
            assert first == second
            assert sorted(u.at_ms for u in first) == sorted(100 + n for n in range(40) if n % 4 in (0, 3))
            assert [u.at_ms for u in first] == sorted(u.at_ms for u in first)
            assert {u.user_id for u in third} == {"bo"}
            assert not any(u.resync for u in first + third)
        assert not hub._watchers


async def test_a_slow_watcher_learns_that_it_lost_updates_and_keeps_nobody_waiting(broker: Broker, topic: str) -> None:
    config = broker.config()
    async with hub_on(config, topic) as hub, hub.subscribe("ana") as slow, hub.subscribe("bo") as quick:
        for _ in range(3):
            await change(config, topic, *["ana"] * WAITING)
        await change(config, topic, "bo")
        [update] = await heard(quick)
        assert not update.resync
        await until(lambda: slow._lost, 15)
        await change(config, topic, "ana", "bo", at_ms=7_000)
        await heard(quick)
        [first] = await heard(slow)
        assert first.resync
        rest = []
        while not rest or rest[-1].at_ms < 7_000:
            rest += await heard(slow)
        assert len(rest) <= WAITING


async def test_another_groups_changes_and_what_is_no_update_are_passed_over(broker: Broker, topic: str) -> None:
    config = broker.config()
    async with hub_on(config, topic) as hub, hub.subscribe("ana") as watcher:
        await change(config, topic, "ana", at_ms=1, group="another")
        async with Producer(config) as producer:
            for value in (b"{", b"\xff", b'{"user_id": 3}', None):
                await producer.send_many(topic, [Outgoing(b"ana", value)])
        await change(config, topic, "ana", at_ms=2)
        assert [update.at_ms for update in await heard(watcher)] == [2]


async def test_the_hub_ends_its_watchers_and_takes_no_more_than_its_limit(broker: Broker, topic: str) -> None:
    hub = Hub(broker.config(), topic, watchers=1)
    await hub.start()
    async with hub.subscribe("ana") as watcher:
        with pytest.raises(TooManyWatchers):
            async with hub.subscribe("bo"):
                pass
        waiting = asyncio.create_task(anext(watcher))
        await asyncio.sleep(0)
        await asyncio.wait_for(hub.close(), 5)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 5)
    assert not hub.ready


async def test_without_a_topic_nothing_is_followed() -> None:
    async with hub_on(KafkaConfig(brokers=("127.0.0.1:1",)), "") as hub:
        assert not hub.ready


async def test_a_broker_that_went_away_is_followed_again_and_watchers_learn_it(tansu: Broker) -> None:
    config = tansu.config()
    topic = await tansu.new_topic(partitions=1)
    async with hub_on(config, topic, check_s=0.3) as hub, hub.subscribe("ana") as watcher:
        await change(config, topic, "ana", at_ms=5)
        assert [u.at_ms for u in await heard(watcher)] == [5]
        tansu.kill()
        await until(lambda: not hub.ready, 15)
        tansu.start()
        async with Admin(config) as admin:
            await admin.create_topics([TopicSpec(topic, 1)])
        await until(lambda: hub.ready, 30)
        [update] = await heard(watcher)
        assert update.resync
        await change(config, topic, "ana", at_ms=6)
        assert [u.at_ms for u in await heard(watcher)] == [6]


async def test_a_hub_may_start_before_its_broker(tansu: Broker) -> None:
    config, topic = tansu.config(), await tansu.new_topic(partitions=1)
    tansu.stop()
    async with hub_on(config, topic, check_s=0.3) as hub, hub.subscribe("ana") as watcher:
        assert not hub.ready
        tansu.start()
        async with Admin(config) as admin:
            await admin.create_topics([TopicSpec(topic, 1)])
        assert (await heard(watcher, timeout_s=30))[0].resync
        await change(config, topic, "ana", at_ms=6)
        assert [u.at_ms for u in await heard(watcher)] == [6]


async def test_a_partition_added_later_is_followed_too(kafka: Broker) -> None:
    from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

    config, topic = kafka.config(metadata_max_age_s=1.0), await kafka.new_topic(partitions=1)
    async with hub_on(config, topic, check_s=0.3) as hub, hub.subscribe("ana") as watcher:
        client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await client.start()
        await client.create_partitions({topic: NewPartitions(3)})
        await client.close()
        assert (await heard(watcher))[0].resync
        async with Producer(config) as producer:
            for number in range(3):
                out = Outgoing(b"ana", json.dumps({"user_id": "ana", "at_ms": number}).encode(), partition=number)
                await producer.send_many(topic, [out])
        assert {u.at_ms for u in await heard(watcher, 3)} == {0, 1, 2}

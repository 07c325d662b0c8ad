"""Where a group begins to read, committed before it has members, and that it can be forgotten."""

from __future__ import annotations

import pytest

from streams.base.errors import ConfigurationError
from streams.broker.admin import Admin
from streams.broker.fetched_batch import Partition
from streams.broker.group_offsets import begin_group, has_begun, starts_of
from streams.broker.producer import Outgoing, Producer
from streams.broker.read_spans import read_latest
from tests.fixtures.brokers import Broker

pytestmark = pytest.mark.integration
T0 = 1_760_000_000_000


async def test_a_group_begins_where_it_is_told_to(broker: Broker, topic: str) -> None:
    config = broker.config(group_id=Broker.unique("second"))
    async with Producer(config) as producer:
        records = [Outgoing(b"a", b"%d" % n, partition=0, timestamp_ms=T0 + 1000 * n) for n in range(10)]
        await producer.send_many(topic, records)
    first, empty = Partition(topic, 0), Partition(topic, 3)
    assert (await starts_of(config, {topic: "beginning"}))[first] == (0, 10)
    assert (await starts_of(config, {topic: "end"}))[first] == (10, 10)
    if broker.kind == "kafka":
        assert (await starts_of(config, {topic: T0 + 6_500}))[first] == (7, 10)
        assert (await starts_of(config, {topic: T0 + 60_000}))[first] == (10, 10)
    else:
        with pytest.raises(ConfigurationError, match="no times"):
            await starts_of(config, {topic: T0})
    assert await read_latest(config, topic, {0: (0, 10), 3: (0, 0)}, 6) == [b"7", b"8", b"9"]

    async with Admin(config) as admin:
        assert not has_begun(await admin.lag(config.group_id, [topic]))
        await begin_group(config, {first: 7, empty: 0})
        begun = await admin.lag(config.group_id, [topic])
        assert has_begun(begun)
        assert {row.partition: row.lag for row in begun} == {0: 3, 1: 0, 2: 0, 3: 0}
        await admin.delete_group(config.group_id)
        assert not has_begun(await admin.lag(config.group_id, [topic]))
        await admin.delete_group(Broker.unique("nobody"))

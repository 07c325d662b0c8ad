"""Where a user's records belong: in one partition number of every topic that carries users."""

from __future__ import annotations

import pytest

from streams.broker.partitions import partition_of
from streams.events.parse import parse_events
from streams.worker.servers import home
from tests.fixtures.records import NOW_MS, click, record

PARTITIONS = {"clicks": 4, "events.unresolved": 4}


@pytest.mark.parametrize("topic", PARTITIONS)
def test_a_record_in_another_partition_than_its_users_is_astray_on_every_topic(topic: str) -> None:
    """Else two workers would read and write one user's nodes: on the topic of waiting events too, where a producer or
    a changed number of partitions may have put it."""
    theirs = partition_of("u1", 4)
    for partition in range(4):
        parsed = parse_events([record(click(), topic=topic, partition=partition)], now_ms=NOW_MS)
        assert home(PARTITIONS)(parsed.events[0]) == (partition == theirs)

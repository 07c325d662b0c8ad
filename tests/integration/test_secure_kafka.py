"""SCRAM over TLS, mutual TLS and access lists against the real Apache Kafka."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streams.base.errors import BrokerUnavailable, ConfigurationError, InterestsError
from streams.broker.admin import Admin, TopicSpec
from streams.broker.follow import TopicFollower
from streams.broker.producer import Outgoing, Producer
from streams.broker.topic_session import topic_session
from tests.fixtures.secure_kafka import SecureKafka

pytestmark = pytest.mark.integration
RECORD = [Outgoing(b"me", b"{}")]


async def test_scram_over_tls(secure_kafka: SecureKafka) -> None:
    async with Admin(secure_kafka.scram("interests-admin")) as admin:
        await admin.create_topics([TopicSpec("clicks", 4), TopicSpec("secret", 1)])
        assert {"clicks", "secret"} <= (await admin.topics()).keys()
    async with Producer(secure_kafka.scram("interests-producer")) as producer:
        assert await producer.send_many("clicks", RECORD)


async def test_what_the_api_does_it_may_do(secure_kafka: SecureKafka) -> None:
    mine = secure_kafka.scram("interests-api")
    async with Admin(secure_kafka.config()) as admin:
        names = ("clicks", "events.unresolved", "interests.updated", "secret")
        await admin.create_topics([TopicSpec(name, 1 if name == "secret" else 4) for name in names])
    async with Producer(mine) as producer:
        await producer.send_many("clicks", RECORD)
    async with Admin(mine) as admin:
        told = await admin.retention_ms(["clicks", "events.unresolved", "secret"])
    assert told.keys() == {"clicks", "events.unresolved"}
    assert all(told.values())
    tail = TopicFollower(mine, "interests.updated")
    batches = tail.batches()
    async with asyncio.timeout(20):
        assert await anext(batches) is None
        async with Producer(secure_kafka.config()) as producer:
            await producer.send_many("interests.updated", RECORD)
        records = await anext(batches)
    assert records is not None
    assert [record.key for record in records] == [b"me"]
    await batches.aclose()


async def test_what_the_learner_does_it_may_do(secure_kafka: SecureKafka) -> None:
    mine = secure_kafka.scram("interests-learner")
    async with Admin(secure_kafka.config()) as admin:
        names = ("ranking.examples", "ranking.weights", "ranking.examples.dead")
        await admin.create_topics([TopicSpec(name, 1) for name in names])
    async with Producer(mine) as producer:
        for topic in ("ranking.weights", "ranking.examples.dead"):
            await producer.send_many(topic, RECORD)
    async with Producer(secure_kafka.scram("interests-worker")) as producer:
        await producer.send_many("ranking.examples", RECORD)
    async with asyncio.timeout(20), topic_session(mine, "ranking.examples") as session:
        assert (await session.begins(), await session.ends()) == ({0: 0}, {0: 1})


async def test_what_scales_workers_may_ask_for_their_lag_and_no_more(secure_kafka: SecureKafka) -> None:
    mine = secure_kafka.scram("interests-keda")
    async with Admin(secure_kafka.config()) as admin:
        await admin.create_topics([TopicSpec("comments", 4), TopicSpec("items", 4)])
    async with Producer(secure_kafka.scram("interests-producer")) as producer:
        await producer.send_many("comments", RECORD)
    async with Admin(mine) as admin:
        assert sum(row.lag for row in await admin.lag("interests", ["comments"])) == 1
        assert await admin.lag("interests", ["items"]) == []  # it does not see the topic
        with pytest.raises(InterestsError):
            await admin.lag("another", ["comments"])
    with pytest.raises(InterestsError):
        async with asyncio.timeout(20), Producer(mine) as producer:
            await producer.send_many("comments", RECORD)


async def test_mutual_tls(secure_kafka: SecureKafka) -> None:
    async with Admin(secure_kafka.config()) as admin:
        await admin.create_topics([TopicSpec("events.unresolved", 4)])
    async with Producer(secure_kafka.mutual()) as producer:
        await producer.send_many("events.unresolved", RECORD)


@pytest.mark.parametrize(
    "changes",
    [{"password": "wrong-secret"}, {"username": "nobody"}, {"sasl_mechanism": "SCRAM-SHA-256"}, {"cafile": None}],
    ids=lambda changes: next(iter(changes)),
)
async def test_who_cannot_prove_it_is_refused(
    secure_kafka: SecureKafka, changes: dict[str, str | None], caplog: pytest.LogCaptureFixture
) -> None:
    wrong = replace(
        secure_kafka.scram("interests-producer", request_timeout_s=3.0, producer_timeout_s=3.0),
        **changes,  # type: ignore[arg-type]  # names of fields
    )
    with pytest.raises((BrokerUnavailable, ConfigurationError), match=r"certificate|mechanism"):
        async with Producer(wrong):
            pass
    assert "secret" not in caplog.text.replace("secret topic", "")


async def test_without_a_certificate_of_ours_the_other_port_is_closed(secure_kafka: SecureKafka) -> None:
    bare = replace(secure_kafka.mutual(request_timeout_s=3.0), certfile=None, keyfile=None)
    with pytest.raises(BrokerUnavailable):
        async with Admin(bare):
            pass


async def test_access_lists_let_nobody_do_more_than_documented(secure_kafka: SecureKafka) -> None:
    async with Admin(secure_kafka.config()) as admin:
        await admin.create_topics([TopicSpec("clicks", 4), TopicSpec("secret", 1), TopicSpec("interests.updated", 4)])
        await admin.create_topics([TopicSpec("ranking.examples", 1)])
    for user, topic in {
        "interests-producer": "interests.updated", "interests-api": "interests.updated", "interests-worker": "clicks",
        "interests-learner": "ranking.examples",
    }.items():  # fmt: skip
        async with Producer(secure_kafka.scram(user, producer_timeout_s=5.0)) as producer:
            with pytest.raises((ConfigurationError, BrokerUnavailable)):
                await asyncio.wait_for(producer.send_many(topic, RECORD), 10)
    for user in ("interests-worker", "interests-learner", "interests-api", "interests-producer"):
        async with Admin(secure_kafka.scram(user)) as admin:
            assert "secret" not in await admin.topics()
            with pytest.raises(ConfigurationError):
                await admin.create_topics([TopicSpec("mine", 1)])

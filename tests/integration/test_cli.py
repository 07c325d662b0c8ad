"""The commands against real servers: a broker, Qdrant's engine, and once the whole path with Triton and a worker."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from typer.testing import CliRunner, Result

from deploy.embedded.ports import free_ports
from streams.base.clock import now_ms
from streams.broker.admin import Admin, TopicSpec
from streams.broker.partitions import partition_of
from streams.broker.producer import Outgoing
from streams.commands.cli import app
from streams.commands.connections import admin_of, producer_of, surveyor_of
from streams.commands.lag_wait import Waited, until_folded
from streams.commands.progress import Meter
from streams.events.items import Item
from streams.interests.evidence import Evidence
from streams.interests.item_vectors import ItemPoint
from streams.interests.nodes import Node, NodeKey
from streams.ranking.rows import NAMES, VERSION
from streams.ranking.weights import PublishedWeights, pack_weights
from streams.settings.servers import TritonSettings
from streams.settings.service import ConceptSettings, Settings
from streams.settings.wiring import qdrant_config, topic_specs
from streams.store.base import Fence
from streams.store.collections import Collections
from streams.store.qdrant import QdrantStore
from tests.fixtures.brokers import Broker
from tests.fixtures.path import ROOT, Rig, environment
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.triton import TritonServer
from tests.fixtures.workers import produce as produce_numbers
from tests.fixtures.workers import running

pytestmark = pytest.mark.integration
T0 = 1_600_000_000_000
#: Where no API answers: at the usual address another test's may.
NO_API = {"INTERESTS_CLIENT__URL": "http://127.0.0.1:9"}


def settings_for(broker: Broker, **more: dict[str, Any]) -> Settings:
    name = Broker.unique("cli")
    kafka = {
        "brokers": broker.bootstrap, "implementation": broker.kind, "group": name, "partitions": 3,
        "event_topics": [f"{name}-clicks", f"{name}-events"], "items_topic": f"{name}-items",
        "unresolved_topic": f"{name}-unresolved",
    }  # fmt: skip
    return Settings(kafka=kafka, **more)  # type: ignore[arg-type]  # pydantic reads dictionaries


def call(settings: Settings | None, *arguments: str, stdin: str | None = None, width: int = 100) -> Result:
    env = {"COLUMNS": str(width), "NO_COLOR": "1", **NO_API, **(environment(settings) if settings else {})}
    result = CliRunner().invoke(app, list(arguments), input=stdin, env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def made(broker: Broker) -> Settings:
    """Settings whose topics exist."""
    settings = settings_for(broker)
    assert call(settings, "topics", "create").exit_code == 0
    return settings


def records(broker: Broker, topic: str) -> dict[int, list[Any]]:
    """Every record of a topic, by partition."""

    async def read() -> dict[int, list[Any]]:
        async with Admin(broker.config()) as admin:
            lags = await admin.lag("nobody", [topic])
        found: dict[int, list[Any]] = {lag.partition: [] for lag in lags}
        if not sum(lag.end for lag in lags):
            return found
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
        consumer.assign([TopicPartition(topic, lag.partition) for lag in lags])
        await consumer.start()
        try:
            async with asyncio.timeout(20):
                while sum(map(len, found.values())) < sum(lag.end for lag in lags):
                    for at, fetched in (await consumer.getmany(timeout_ms=200)).items():
                        found[at.partition] += fetched
        finally:
            await consumer.stop()
        return found

    return asyncio.run(read())


def write(path: Path, rows: Sequence[Any]) -> Path:
    data = b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def event(n: int, **more: Any) -> dict[str, Any]:
    return {"event_id": f"e{n}", "user_id": f"u{n % 5}", "type": "click", "item_id": "i1", "ts": T0 + n * 1000, **more}


# -- topics ------------------------------------------------------------------------------------------------------------


def test_topics_are_made_once_and_listed_with_their_lag(broker: Broker) -> None:
    settings = settings_for(broker)
    missing = call(settings, "topics", "list").stdout
    count = len(topic_specs(settings.kafka))
    assert missing.count("missing") == count + 1  # each topic, and what to do
    first, second = (call(settings, "topics", "create") for _ in range(2))
    assert (first.stdout.count("created"), second.stdout.count("existed")) == (count, count)
    if broker.kind == "kafka":
        assert asyncio.run(examples_kept(settings)) == {"retention.ms": "604800000", "retention.bytes": "1073741824"}
    clicks = settings.kafka.event_topics[0]
    assert call(settings, "produce", "--user", "u", "--type", "click", "--item", "i").exit_code == 0
    listed = call(settings, "topics", "list").stdout
    (row,) = [line.split() for line in listed.splitlines() if line.startswith(f"{clicks} ")]
    assert row == [clicks, "3", "1", "1"]
    assert "0 members" in listed


async def examples_kept(settings: Settings) -> dict[str, str]:
    topic = settings.kafka.examples_topic
    async with admin_of(settings) as admin:
        return (await admin._configs([topic], "retention.ms", "retention.bytes"))[topic]


def test_topics_with_another_number_of_partitions_are_refused(broker: Broker) -> None:
    settings = made(broker)
    other = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"partitions": 5})})
    result = call(Settings(kafka=other.kafka), "topics", "create")
    assert result.exit_code == 2
    assert "with 3 partitions, expected 5" in result.stderr


def test_a_broker_that_is_away_is_one_line_with_its_address() -> None:
    port = free_ports(1)[0]
    settings = Settings(kafka={"brokers": f"127.0.0.1:{port}"})  # type: ignore[arg-type]  # pydantic reads dictionaries
    result = call(settings, "topics", "list")
    assert result.exit_code == 1
    assert f"error: Kafka at 127.0.0.1:{port}: " in result.stderr
    assert "interests doctor" in result.stderr
    assert len(result.stderr.splitlines()) == 1


# -- produce -----------------------------------------------------------------------------------------------------------


def test_one_event_lies_where_produce_says(broker: Broker) -> None:
    settings = made(broker)
    result = call(
        settings, "produce", "--user", "ană", "--type", "click", "--item", "i1", "--inline-title", "Tea", "--ts",
        "2026-01-02T03:04:05Z", "--context", "device=mobile", "--context", "n=2", "--event-id", "e1",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    topic = settings.kafka.event_topics[0]
    partition = partition_of("ană", 3)
    assert result.stdout == f"{topic}-{partition}-0\n"
    (record,) = records(broker, topic)[partition]
    assert record.key == "ană".encode()
    assert json.loads(record.value) == {
        "event_id": "e1", "user_id": "ană", "type": "click", "item_id": "i1", "item": {"title": "Tea"},
        "ts": 1767323045000, "context": {"device": "mobile", "n": 2.0},
    }  # fmt: skip


def test_lines_go_to_topics_by_type_and_bad_ones_are_named(broker: Broker) -> None:
    settings = made(broker)
    lines = [json.dumps(event(1)), "", json.dumps(event(2, type="like")), "{}", json.dumps(event(3, type="tap"))]
    result = call(settings, "produce", "-", stdin="\n".join(lines))
    assert result.exit_code == 1
    clicks, events = settings.kafka.event_topics
    assert result.stdout.split() == [f"{clicks}-{partition_of('u1', 3)}-0", f"{events}-{partition_of('u2', 3)}-0"]
    assert "error: line 4: missing_field" in result.stderr
    assert "error: line 5: unknown_type" in result.stderr
    assert "2 sent" in result.stderr


def test_no_check_sends_what_will_be_a_dead_letter(broker: Broker) -> None:
    settings = made(broker)
    topic = settings.kafka.event_topics[1]
    assert call(settings, "produce", "-", "--no-check", "--topic", topic, stdin="no json\n").exit_code == 0
    (record,) = records(broker, topic)[0]
    assert (record.key, record.value) == (None, b"no json")


def test_a_topic_that_is_not_there_is_not_made(broker: Broker) -> None:
    settings = made(broker)
    result = call(settings, "produce", "--user", "u", "--type", "click", "--item", "i", "--topic", "nowhere")
    assert result.exit_code == 2
    assert "the broker has no topic nowhere" in result.stderr


# -- replay ------------------------------------------------------------------------------------------------------------


def test_a_log_is_replayed_in_time_order_keyed_and_moved(broker: Broker, tmp_path: Path) -> None:
    settings = made(broker)
    rows: list[Any] = [event(n) for n in range(60)] + [event(60, type="like"), b"{", event(61, type="tap")]
    rows[3], rows[40] = rows[40], rows[3]
    log = write(tmp_path / "events.jsonl.gz", rows)
    items = write(tmp_path / "items.jsonl", [{"item_id": "i1", "title": "Tea", "ts": T0}, {"item_id": "i2"}])
    began = time.time() * 1000
    result = call(settings, "replay", "--events", str(log), "--items", str(items), "--shift-to", "now")
    assert result.exit_code == 1, result.stderr
    assert "refused: bad_json (events.jsonl.gz:62)" in result.stdout
    assert "refused: unknown_type (events.jsonl.gz:63)" in result.stdout
    assert "refused: no_content (items.jsonl:2)" in result.stdout
    clicks, events = settings.kafka.event_topics
    assert f"60  sent to {clicks}" in result.stdout
    assert f" 1  sent to {events}" in result.stdout
    by_partition = records(broker, clicks)
    bodies = {at: [json.loads(record.value) for record in found] for at, found in by_partition.items()}
    sent = [body["ts"] for found in bodies.values() for body in found]
    shift = min(sent) - T0
    assert T0 + 61_000 + shift == pytest.approx(began, abs=20_000)
    assert sorted(sent) == [T0 + 1000 * n + shift for n in range(60)]
    for at, found in bodies.items():
        assert [body["ts"] for body in found] == sorted(body["ts"] for body in found)
        assert {partition_of(body["user_id"], 3) for body in found} <= {at}
        assert all(record.key.decode() == body["user_id"] for record, body in zip(by_partition[at], found, strict=True))
        assert all(record.timestamp >= began - 1000 for record in by_partition[at])
    (item,) = [record for found in records(broker, settings.kafka.items_topic).values() for record in found]
    assert (item.key, json.loads(item.value)["ts"]) == (b"i1", T0 + shift)


def test_a_log_kept_in_its_time_is_sent_byte_for_byte_and_says_that_it_has_faded(
    broker: Broker, tmp_path: Path
) -> None:
    settings = made(broker)
    body = b'{"user_id":"u1", "type":"click","item_id":"i","ts":1600000000000, "new":[1.0]}'
    result = call(settings, "replay", "--events", str(write(tmp_path / "e", [body])))
    assert result.exit_code == 0
    assert "--shift-to now brings the log up to today" in " ".join(result.stdout.split())
    (record,) = [r for found in records(broker, settings.kafka.event_topics[0]).values() for r in found]
    assert record.value == body


def test_a_paced_replay_takes_its_time(broker: Broker, tmp_path: Path) -> None:
    settings = made(broker)
    log = write(tmp_path / "e", [event(n) for n in range(4)])
    assert call(settings, "replay", "--events", str(log), "--speed", "2").exit_code == 0
    found = [record for part in records(broker, settings.kafka.event_topics[0]).values() for record in part]
    times = {json.loads(record.value)["ts"]: record.timestamp for record in found}
    gaps = [times[T0 + 1000 * n] - times[T0] for n in range(4)]
    assert gaps == [pytest.approx(500 * n, abs=400) for n in range(4)]


def test_ctrl_c_ends_a_replay_in_order(broker: Broker, tmp_path: Path) -> None:
    settings = made(broker)
    log = write(tmp_path / "e", [event(n, ts=T0 + 3_600_000 * n) for n in range(9)])
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.commands.cli", "replay", "--events", str(log), "--speed", "1"],
        env={**os.environ, **environment(settings)}, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        end = time.monotonic() + 40
        while not sum(map(len, records(broker, settings.kafka.event_topics[0]).values())):
            assert time.monotonic() < end
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert f"1  sent to {settings.kafka.event_topics[0]}" in out.decode()
    assert "replaying the same log again is harmless; --since 2020-09-13T12:26:40.000Z goes on from here" in " ".join(
        error.decode().split()
    )
    assert "Traceback" not in error.decode()


def test_ctrl_c_ends_a_wait_and_says_what_is_not_folded(broker: Broker, tmp_path: Path) -> None:
    settings = made(broker)
    topic = settings.kafka.event_topics[0]
    log = write(tmp_path / "e", [event(n) for n in range(3)])
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.commands.cli", "replay", "--events", str(log), "--wait"],
        env={**os.environ, **environment(settings)}, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        end = time.monotonic() + 40
        while sum(map(len, records(broker, topic).values())) < 3:
            assert time.monotonic() < end
        time.sleep(1.0)  # all is sent: it waits
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    said = f"not folded when it was stopped: 3 in {topic}; no worker runs: start one (interests worker)"
    assert said in " ".join(error.decode().split())


def test_other_topics_are_replayed_by_time_to_where_their_events_belong(broker: Broker) -> None:
    settings = made(broker)
    old = Broker.unique("old")

    async def fill() -> None:
        async with Admin(broker.config()) as admin:
            await admin.create_topics([TopicSpec(old, 5)])
        bodies: list[Any] = [{key: value for key, value in event(n).items() if key != "event_id"} for n in range(12)]
        bodies[3] = {**bodies[3], "type": "tap"}
        rows = [
            Outgoing(b"k", json.dumps(body).encode(), timestamp_ms=T0 + 1000 * n, partition=n % 5)
            for n, body in enumerate(bodies)
        ]
        async with producer_of(settings) as producer:
            await producer.send_many(old, rows)

    asyncio.run(fill())
    window = ("--since", str(T0 + 2000), "--until", str(T0 + 10_000))
    for _ in range(2):
        result = call(settings, "replay", "--from-topic", old, *window, "--rate", "200")
        assert result.exit_code == 1, result.output
        assert f"refused: unknown_type ({old}-3:0)" in " ".join(result.stdout.split())
        assert "7  sent to" in result.stdout
        assert "no event_id" not in result.stdout
    found = records(broker, settings.kafka.event_topics[0])
    bodies = [json.loads(record.value) for part in found.values() for record in part]
    assert sorted(body["ts"] for body in bodies[::1]) == sorted([T0 + 1000 * n for n in range(2, 10) if n != 3] * 2)
    assert {body["event_id"] for body in bodies} == {f"{old}-{n % 5}-{n // 5}" for n in range(2, 10) if n != 3}
    assert all(partition_of(json.loads(r.value)["user_id"], 3) == at for at, part in found.items() for r in part)
    refused = call(settings, "replay", "--from-topic", settings.kafka.event_topics[0])
    assert (refused.exit_code, "the workers fold this topic already" in refused.stderr) == (2, True)


class Seen(Meter):
    """A meter that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int | None]] = []

    def to(self, done: int, total: int | None = None) -> None:
        self.told.append((done, total))

    def add(self, count: int) -> None:
        raise AssertionError("a wait knows where it is")


async def _folded(broker: Broker, group: str, topic: str, deadline_s: float, meter: Meter) -> Waited:
    async with Admin(broker.config()) as admin:
        return await until_folded(admin, group, [topic], deadline_s, meter, asyncio.Event())


async def test_waiting_ends_when_the_group_has_read_everything(broker: Broker, topic: str) -> None:
    config = broker.config()
    await produce_numbers(config, topic, 300)
    meter = Seen()
    async with running(config, topic, wait_ready=False) as worker:
        waited = await _folded(broker, config.group_id, topic, 60, meter)
        assert len(worker.seen) == 300
    assert (waited.left, waited.stopped) == ({}, False)
    assert meter.told[0][1] == 300
    assert meter.told[-1] == (300, 300)


async def test_waiting_for_nobody_ends_at_the_deadline_and_says_what_is_left(broker: Broker, topic: str) -> None:
    config = broker.config()
    await produce_numbers(config, topic, 30)
    began = time.monotonic()
    waited = await _folded(broker, config.group_id, topic, 1.0, Seen())
    assert 1.0 <= time.monotonic() - began < 10
    assert waited == Waited({topic: 30}, 0, stopped=False)


# -- show --------------------------------------------------------------------------------------------------------------


def stored(settings: Settings) -> int:
    """A tree and an item written through the store; returns its last event's time."""
    now = int(time.time() * 1000)
    dim = 8

    def node(level: Any, path: str, mass: float, evidence: Sequence[Evidence] = ()) -> Node:
        return Node(
            key=NodeKey("ana", level, path), direction=np.eye(dim, dtype=np.float32)[0],
            norm=mass, mass=mass, net=mass, t0_ms=now - 1000, first_ms=now - 9000, last_ms=now - 1000,
            count=3, evidence=tuple(evidence),
        )  # fmt: skip

    async def put() -> None:
        store = QdrantStore(qdrant_config(settings), settings.nodes.policy(), Collections("e5-test", dim))
        try:
            await store.prepare()
            item = Item(item_id="i1", title="How to brew oolong")
            await store.put_items([ItemPoint(item, np.eye(dim, dtype=np.float32)[1], "/food")])
            evidence = [Evidence("e1", "i1", now - 1000, 2.0)]
            nodes = [
                node("profile", "/", 4, evidence), node("topic", "/food", 4, evidence),
                node("interest", "/food/tea", 2, evidence), node("session", "/", 2, evidence),
            ]  # fmt: skip
            await store.write(nodes, Fence(1, 1))
        finally:
            await store.close()

    asyncio.run(put())
    return now - 1000


@pytest.fixture
def kept(own_qdrant: Callable[..., QdrantServer]) -> Settings:
    """Settings of a Qdrant of the test's own, with neither Kafka nor Triton at hand."""
    server = own_qdrant()
    port = free_ports(1)[0]
    return Settings(
        qdrant={"host": server.host, "grpc_port": server.grpc_port, "http_port": server.http_port},  # type: ignore[arg-type]
        triton={"url": f"127.0.0.1:{port}"}, kafka={"brokers": f"127.0.0.1:{port}"},  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_tree_is_drawn_from_qdrant_alone(kept: Settings) -> None:
    before = call(kept, "show", "ana")
    assert before.exit_code == 2
    assert "has no alias 'interests'" in before.stderr
    last_ms = stored(kept)
    result = call(kept, "show", "ana")
    assert result.exit_code == 0, result.stderr
    assert "3 events" in result.stdout
    assert "“How to brew oolong”" in result.stdout
    assert "+2.00 = 100% of it" in result.stdout
    assert "Right now" in result.stdout
    told = json.loads(call(kept, "show", "ana", "--json").stdout)
    assert [top["path"] for top in told["topics"]] == ["/food"]
    assert told["topics"][0]["children"][0]["reasons"][0]["title"] == "How to brew oolong"
    assert told["last_ms"] == last_ms
    unknown = call(kept, "show", "bo")
    assert unknown.exit_code == 1
    assert "no interests are kept of this user" in unknown.stderr
    faded = call(kept, "show", "ana", "--at", "2099-01-01")
    assert faded.exit_code == 1
    at = faded.stderr.split("--at ")[1].split()[0]
    again = call(kept, "show", "ana", "--at", at)
    assert again.exit_code == 0
    assert "last just now" in again.stdout


async def test_look_finds_collections_and_titles_through_the_aliases(kept: Settings) -> None:
    await asyncio.to_thread(stored, kept)
    async with surveyor_of(kept) as look:
        names = await look.collections()
        assert (names.encoder_id, names.dim) == ("e5-test", 8)
        cards = await look.cards(names, ["i1", "", "unknown"])
        assert {item: (card.title, card.path) for item, card in cards.items()} == {
            "i1": ("How to brew oolong", "/food")
        }
        survey = await look.survey()
    assert survey.aliases == {"interests": names.interests, "items": names.items}
    assert survey.collections[names.interests].points == 4
    assert {"user_id", "level", "path", "expires_at"} <= survey.collections[names.interests].indexed


# -- dead letters ------------------------------------------------------------------------------------------------------


def test_a_record_that_no_worker_wrote_holds_up_no_dead_letter(broker: Broker) -> None:
    settings = made(broker)
    clicks = settings.kafka.event_topics[0]
    kept = Outgoing(b"u1", b"{}", headers=(("dead-letter-topic", clicks.encode()), ("trace", b"1")), partition=0)
    foreign = Outgoing(b"u2", b"?", partition=0)

    async def produce() -> None:
        async with producer_of(settings) as producer:
            await producer.send_many(f"{clicks}.dead", [foreign, kept])

    asyncio.run(produce())
    result = call(settings, "dead-letters", "open", f"{clicks}.dead", "--again")
    assert result.exit_code == 1
    assert [json.loads(line)["value"] for line in result.stdout.splitlines()] == ["?", "{}"]
    assert "1 of the records" in result.stderr
    again = [record for of_one in records(broker, clicks).values() for record in of_one]
    assert [(record.key, record.value, record.headers) for record in again] == [(b"u1", b"{}", (("trace", b"1"),))]


# -- doctor ------------------------------------------------------------------------------------------------------------


def statuses(result: Result) -> dict[str, str]:
    rows = (line.split() for line in result.stdout.splitlines())
    return {row[1]: row[0] for row in rows if row and row[0] in {"OK", "WARN", "FAIL"}}


def test_the_doctor_asks_every_server_also_where_all_are_away() -> None:
    port = free_ports(1)[0]
    settings = Settings(
        kafka={"brokers": f"127.0.0.1:{port}"}, triton={"url": f"127.0.0.1:{port}"}, qdrant={"grpc_port": port},  # type: ignore[arg-type]
    )  # fmt: skip
    began = time.monotonic()
    result = call(settings, "doctor")
    assert time.monotonic() - began < 20
    assert result.exit_code == 1
    assert [result.stdout.count(f"{server} at 127.0.0.1:{port}") > 0 for server in ("Kafka", "Triton", "Qdrant")] == [
        True
    ] * 3
    assert result.stdout.count("FAIL") == 3
    assert result.stdout.count("→ start") == 3


def test_the_doctor_tells_what_is_well_from_what_is_not(broker: Broker, kept: Settings) -> None:
    stored(kept)
    kafka = settings_for(broker).kafka
    settings = Settings(kafka=kafka, triton=kept.triton, qdrant=kept.qdrant)
    found = statuses(call(settings, "doctor"))
    assert (found["topics"], found["ready"], found["aliases"]) == ("FAIL", "FAIL", "OK")
    assert call(settings, "topics", "create").exit_code == 0
    found = statuses(call(settings, "doctor"))
    assert (found["topics"], found["producer"], found["group"], found["lag"]) == ("OK", "OK", "WARN", "OK")
    assert found["weights"] == "OK"  # there is nothing to learn from
    learned = PublishedWeights(
        encoder="e5-test", kind="next", version=1, features=VERSION, lists=1, made_ms=now_ms(), serve=True,
        values=dict.fromkeys(NAMES, 1.0),
    )  # fmt: skip
    asyncio.run(publish(settings, learned))
    assert statuses(call(settings, "doctor"))["weights,"] == "OK"


async def publish(settings: Settings, weights: PublishedWeights) -> None:
    async with producer_of(settings) as producer:
        await producer.send_many(settings.kafka.ranking_weights_topic, [Outgoing(weights.key, pack_weights(weights))])


def test_the_doctor_sees_the_settings_of_another_broker(broker: Broker) -> None:
    settings = made(broker)
    other = "kafka" if broker.kind == "tansu" else "tansu"
    wrong = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"implementation": other})})
    result = call(wrong, "doctor")
    assert statuses(result)["producer"] == {"tansu": "FAIL", "kafka": "WARN"}[broker.kind]
    assert f"set kafka.implementation to {broker.kind}" in " ".join(result.stdout.split())


async def test_partitions_that_differ_are_a_failure(broker: Broker) -> None:
    settings = settings_for(broker)
    kafka = settings.kafka
    live = [*kafka.event_topics, kafka.unresolved_topic, kafka.items_topic]
    async with Admin(broker.config()) as admin:
        await admin.create_topics([TopicSpec(name, 2 + n) for n, name in enumerate(live)])
        await admin.create_topics([TopicSpec(f"{name}.dead", 1) for name in live])
    result = await asyncio.to_thread(call, settings, "doctor")
    assert "partitions differ" in " ".join(result.stdout.split())


# -- concepts ----------------------------------------------------------------------------------------------------------


def test_texts_are_tried_on_the_tree_and_the_floors_are_those_of_the_settings(
    triton: TritonServer, concept_file: str
) -> None:
    settings = Settings(
        triton=TritonSettings(url=triton.grpc_url), concepts=ConceptSettings(file=Path(concept_file), confidence=0.0)
    )
    tried = json.loads(call(settings, "concepts", "try", "--json", "The striker scored twice", "part 2").stdout)
    assert [one["text"] for one in tried] == ["The striker scored twice", "part 2"]
    assert tried[0]["path"].startswith("/sports")
    assert tried[0]["topics"][0] == {"path": "/sports", "score": tried[0]["confidence"]}
    assert len(tried[1]["topics"]) == 3
    assert tried[1]["path"]
    strict = settings.model_copy(update={"concepts": ConceptSettings(file=Path(concept_file), confidence=1.0)})
    shown = call(strict, "concepts", "try", "The striker scored twice", "--runners-up", "0").stdout
    assert shown.startswith("no path  0.")
    assert "/sports 0." in shown


# -- the whole path ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_replayed_log_is_waited_for_and_shown(
    tansu: Broker, triton: TritonServer, own_qdrant: Callable[..., QdrantServer], tmp_path: Path
) -> None:
    rig = Rig(tansu, triton, own_qdrant(), tmp_path)
    settings = rig.settings
    assert call(settings, "topics", "create").exit_code == 0
    worker = rig.worker()
    try:
        items = [
            {"item_id": "cup", "title": "The striker scored twice in the final", "categories": ["Sports", "Football"]},
            {"item_id": "jazz", "title": "A quartet records an evening of slow jazz"},
        ]
        events = [event(n, user_id="ana", item_id="cup" if n % 3 else "jazz") for n in range(20)]
        events.append(event(20, user_id="ana", type="dislike", item_id="jazz"))
        paths = [str(write(tmp_path / "items", items)), str(write(tmp_path / "events.gz", events))]
        result = call(
            settings, "replay", "--items", paths[0], "--events", paths[1], "--shift-to", "now", "--wait",
            "--deadline-s", "200",
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr + worker.log()
        assert "folded" in result.stdout
        shown = call(settings, "show", "ana").stdout
        assert "21 events" in shown
        assert "“The striker scored twice" in shown
        assert "Pushed away" in shown
        found = statuses(call(settings, "doctor"))
        assert found.pop("serves") == "WARN"  # no API runs here
        assert set(found.values()) == {"OK"}
        assert "384 dimensions" in call(settings, "encoder", "info").stdout
        assert (
            call(settings, "concepts", "build", "--from-catalogue", paths[0], "--out", str(tmp_path / "c")).exit_code
            == 2
        )
        assert worker.stop() == 0
    finally:
        worker.kill()


# -- worker ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_waits_for_its_servers_ends_on_request(number: int) -> None:
    port, metrics = free_ports(2)
    settings = Settings(
        kafka={"brokers": f"127.0.0.1:{port}"}, triton={"url": f"127.0.0.1:{port}"}, qdrant={"grpc_port": port},  # type: ignore[arg-type]
        worker={"metrics_port": metrics}, log={"form": "json"},  # type: ignore[arg-type]
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "streams.commands.cli", "worker"], env={**os.environ, **environment(settings)}, cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        first = json.loads(process.stderr.readline())
        assert (first["event"], first["server"]) == ("waiting", "triton")
        process.send_signal(number)
        out, error = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out == b""
    assert [json.loads(line)["event"] for line in error.splitlines()][-1] == "stopped"


def test_a_metrics_port_that_is_taken_is_a_setting_to_change() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = Settings(worker={"metrics_port": other.getsockname()[1]})  # type: ignore[arg-type]
        process = subprocess.run(
            [sys.executable, "-m", "streams.commands.cli", "worker"],
            env={**os.environ, **environment(settings)}, cwd=ROOT, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    assert process.returncode == 2
    assert b"worker.metrics_port" in process.stderr
    assert b"Traceback" not in process.stderr

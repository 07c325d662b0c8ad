"""Records that Kafka allows and a worker may stumble over: odd headers, records that crash it, logs full of holes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError

from streams.events import dead_letters
from tests.fault.registry import scenario
from tests.fault.trial import Trial
from tests.fixtures import batches
from tests.oracle.generate import Made

_MIB = 1 << 20
_HEAD_BYTES = 61  # of a batch
_NAME = "zqzq"
#: Without a value, empty, of one name several times, of names that are none, and many.
ODD: tuple[tuple[str, bytes | None], ...] = (
    ("source", None), ("source", b""), ("source", b"\x00\xff"), ("", None), ("traceparent", None), ("é", b"1"),
    ("tracestate", b"\xff"), ("dead-letter-else", None), ("unresolved-else", b"x"),
    *((f"h{n}", None) for n in range(200)),
)  # fmt: skip
_FAR = b"9200000000000000000"


def _with(records: list[Made], *headers: tuple[str, bytes | None]) -> list[Made]:
    return [made._replace(headers=headers) for made in records]


@scenario()
async def null_headers(trial: Trial) -> None:
    """Headers without a value and other odd ones, in every compression: records are applied or sent on as they came."""
    worker, late, dead, waits = trial.worker(), f"late-{trial.run}", 0, 0
    for compression in ("", "gzip", "snappy", "lz4", "zstd"):
        await trial.send(_with(trial.made.events(20), *ODD), compression=compression)
        dead += await trial.send(_with(trial.made.poison(4), *ODD), compression=compression)
        waits += await trial.send(_with(trial.made.clicks_on(late, 2), *ODD), compression=compression)

    async def all_wait() -> bool:  # one that waits longer is there again; a vote by another topic is another vote
        return len({one.value for one in await trial.read(trial.rig.settings.kafka.unresolved_topic)}) >= waits

    await trial.until(all_wait, "they wait for their item")
    await trial.describe_late(late)
    trial.over()
    await trial.quiet()
    assert worker.running, worker.log()
    letters = [one for topic in (trial.rig.clicks, trial.rig.comments) for one in await trial.read(f"{topic}.dead")]
    waited = await trial.read(trial.rig.settings.kafka.unresolved_topic)
    assert len(letters) >= dead > 0, f"{len(letters)} letters of {dead}"
    for record in (*letters, *waited):
        assert record.headers[: len(ODD)] == ODD, record.headers
    assert all({name for name, _ in one.headers[len(ODD) :]} <= dead_letters.OURS for one in letters)
    trial.injected = f"{len(ODD)} odd headers on 130 records, five compressions"


@scenario(users=4)
async def crash_records(trial: Trial) -> None:
    """Records that raise an error nobody expected, and one that kills the process: they alone are set aside."""
    faults = "record:kill,record:raise"
    worker = trial.worker(faults)
    trial.supervise(worker, faults)
    await trial.play(30)
    raising = _asking("raise", trial.made.every_user(1))
    killing = _asking("kill", trial.made.every_user(1))[:1]
    events = trial.made.events(60)
    await trial.send([*events[:20], raising[0], *events[20:30], *killing, raising[1], *events[30:]])
    await trial.send([*raising[2:], *trial.made.events(20)])
    trial.over()
    await trial.quiet(600)  # five starts of a worker; on a machine at its limit each takes most of a minute
    letters = [one for topic in trial.rig.settings.kafka.event_topics for one in await trial.read(f"{topic}.dead")]
    reasons = [dict(one.headers)["dead-letter-error"] for one in letters]
    assert all(dict(one.headers)["dead-letter-stage"] == b"crash" for one in letters)
    assert {reason: reasons.count(reason) for reason in reasons} == {b"raised": len(raising), b"killed": len(killing)}
    assert trial.starts <= 5 * len(killing), f"a record may end five workers: {trial.starts} starts\n{trial.logs()}"
    trial.injected = f"{len(raising)} records that raise, {len(killing)} that kills: {trial.starts} deaths"


@scenario(users=4)
async def crash_everywhere(trial: Trial) -> None:
    """Two workers, a record that raises on every topic they read, two that kill: each is set aside, and it alone."""
    faults, kafka = "record:kill,record:raise", trial.rig.settings.kafka
    topics = [
        trial.rig.clicks,
        kafka.unresolved_topic,
        kafka.items_topic,
        *kafka.derived_topics,
    ]
    killing = _asking("kill", trial.made.every_user(1))
    kinds = ("clicks", "comments")
    first, middle = (made._replace(kind=kind) for made, kind in zip(killing, kinds, strict=False))
    await trial.send([first], partition=0)
    await trial.send(trial.made.events(20))
    await trial.send([middle], partition=1)
    await trial.send([Made("unresolved", b"u1", b"faultpoint raise", "dead")])
    for topic in topics[2:]:
        await _raw(trial, [Made("", b"u1", b"faultpoint raise")], topic)
    raising = [made._replace(kind="clicks") for made in _asking("raise", trial.made.every_user(1))[:2]]
    await trial.send([*raising, *trial.made.events(20)])
    for worker in [trial.worker(faults) for _ in range(2)]:
        trial.supervise(worker, faults)
    trial.over()
    await trial.quiet(600)
    for topic in topics:
        errors = [dict(one.headers)["dead-letter-error"] for one in await trial.read(f"{topic}.dead")]
        assert b"raised" in errors, f"{topic}: {errors}"
    letters = [one for topic in kafka.event_topics for one in await trial.read(f"{topic}.dead")]
    places = [dict(one.headers)["dead-letter-offset"] for one in letters]
    assert len(letters) == 2 + len(raising), places
    assert trial.starts <= 10, f"{trial.starts} deaths: a record may end five workers"
    trial.injected = f"{len(topics)} topics with a record that raises, two that kill: {trial.starts} deaths"


def _asking(action: str, records: list[Made]) -> list[Made]:
    """The events with a field that an armed worker stumbles over."""
    return [
        made._replace(value=json.dumps({**json.loads(made.value), "x": f"faultpoint {action}"}).encode(), fate="dead")
        for made in records
    ]


@scenario(brokers=("kafka",), worker={"stuck_after_s": 6.0})
async def holes_in_the_log(trial: Trial) -> None:
    """Transactions that commit, abort and stay open, and deleted records: what is committed is applied, and no more."""
    never = [made for made in trial.made.events(40) if made.kind == "clicks"]
    await trial.ledger.produce(never, transaction="abort")
    await _raw(trial, never)
    await _delete_all(trial, trial.rig.clicks)
    worker = trial.worker()
    await trial.send(trial.made.events(30), transaction="commit")
    await trial.joined(worker)
    for _ in range(3):
        await trial.send(trial.made.events(2), transaction="commit")
        await trial.ledger.produce(trial.made.events(3), transaction="abort")
    trial.over()
    await trial.quiet()
    async with _open_transaction(trial):
        await asyncio.sleep(9.0)  # longer than it takes to be judged as stuck
        assert worker.running, worker.log()
        assert not [name for name, behind in (await worker.metrics()).items() if "lag_records" in name and behind]
    await trial.play(40)
    aborted = f"{len(never) + 9} aborted and 36 committed in 8 transactions"
    trial.injected = f"{aborted}, one left open for 9 s, {len(never)} deleted"


@asynccontextmanager
async def _open_transaction(trial: Trial) -> AsyncIterator[None]:
    """A transaction with an event in it that is not committed yet, and is aborted in the end."""
    producer = AIOKafkaProducer(bootstrap_servers=trial.rig.broker.bootstrap, transactional_id=f"open-{trial.run}")
    await producer.start()
    try:
        await producer.begin_transaction()
        for made in trial.made.every_user(1):
            await producer.send_and_wait(trial.rig.clicks, made.value, key=made.key)
        yield
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def _raw(trial: Trial, records: list[Made], topic: str = "") -> None:
    """Produce past the ledger: what is deleted before anybody reads it never happened, and what is no event either."""
    producer = AIOKafkaProducer(bootstrap_servers=trial.rig.broker.bootstrap)
    await producer.start()
    try:
        for made in records:
            await producer.send_and_wait(topic or trial.rig.clicks, made.value, key=made.key)
    finally:
        await producer.stop()


async def _delete_all(trial: Trial, topic: str) -> None:
    """DeleteRecords up to the end of every partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=trial.rig.broker.bootstrap)
    await admin.start()
    try:
        partitions = range(trial.rig.settings.kafka.partitions)
        await admin.delete_records({TopicPartition(topic, n): RecordsToDelete(before_offset=-1) for n in partitions})
    finally:
        await admin.close()


@scenario(unresolved={"base_s": 0.3, "cap_s": 1.0, "deadline_s": 4.0})
async def hostile_waits(trial: Trial) -> None:
    """Headers that claim a wait without end, on the topic of waiting events and on others: the deadline holds."""
    worker, topic = trial.worker(), trial.rig.settings.kafka.unresolved_topic
    origin = f"{topic}-0-5".encode()
    good: dict[str, bytes | None] = {
        "unresolved-attempt": b"1", "unresolved-first-ms": b"1", "unresolved-not-before-ms": b"1",
        "unresolved-origin": origin, "unresolved-timestamp-ms": b"-1",
    }  # fmt: skip
    claims: list[dict[str, bytes | None]] = [
        {"unresolved-first-ms": _FAR}, {"unresolved-first-ms": _FAR, "unresolved-not-before-ms": _FAR},
        {"unresolved-attempt": _FAR}, {"unresolved-first-ms": b"-1"}, {"unresolved-attempt": b"many"},
        {"unresolved-timestamp-ms": _FAR}, {"unresolved-not-before-ms": None},
    ]  # fmt: skip
    hostile: list[Any] = [tuple({**good, **claim}.items()) for claim in claims]
    hostile += [tuple(good.items())[:3], (*good.items(), ("unresolved-first-ms", _FAR), ("unresolved-first-ms", _FAR))]
    nobodys = trial.made.clicks_on(f"never-{trial.run}", len(hostile))
    waiting = [
        made._replace(kind="unresolved", fate="either", headers=headers)
        for made, headers in zip(nobodys, hostile, strict=True)
    ]
    late = f"late-{trial.run}"
    elsewhere = [
        made._replace(headers=headers)
        for made, headers in zip(trial.made.clicks_on(late, len(hostile)), hostile, strict=True)
    ]
    await trial.play(30)
    await trial.send([*waiting, *elsewhere, *_with(trial.made.events(20), *hostile[1])])
    await trial.describe_late(late)
    trial.over()
    await trial.quiet(60)
    assert worker.running, worker.log()
    dead = {one.value for one in await trial.read(f"{topic}.dead")}
    assert dead >= {made.value for made in waiting}, "one of them is in circulation still"
    trial.injected = f"{len(hostile)} kinds of headers, on the topic of waiting events and on others"


@scenario()
async def bomb(trial: Trial) -> None:
    """Batches that unpack to gigabytes, and some that nobody can read: set aside by place, memory stays what it was."""
    worker = trial.worker()
    await trial.play(100)
    await trial.joined(worker)
    await trial.quiet()
    before = worker.memory("VmHWM")
    place = next(e for e in trial.ledger.entries() if e.topic == trial.rig.clicks and e.fate == "applied")
    partition, nobodys = place.partition or 0, [Made("clicks", b"", b"", "unread")]
    for codec, mib in (("zstd", 1_900), ("gzip", 512)):
        await trial.ledger.raw("clicks", partition, await asyncio.to_thread(batches.bomb, codec, mib << 20), nobodys)
        await trial.play(20)
    taken, refused = 0, 0
    for made, records in _unreadable(place.key, trial.made.every_user(9)):
        try:
            await trial.ledger.raw("clicks", partition, made, records)
            taken += 1
        except KafkaError:
            refused += 1
        await trial.play(5)
    trial.over()
    await trial.quiet()
    most = worker.memory("VmHWM")
    trial.injected = (
        f"zstd of 1,900 MiB, gzip of 512 MiB, {taken} batches that cannot be read ({refused} the broker refused); "
        f"resident {before / _MIB:.0f} MiB at most before, {most / _MIB:.0f} after"
    )
    assert most < before + 160 * _MIB, trial.injected
    assert worker.running, worker.log()


def _unreadable(key: bytes, events: list[Made]) -> list[tuple[bytes, list[Made]]]:
    """Batches of which something cannot be read, and what is in each: of the last one a record among events."""
    at_ms, unread = int(time.time() * 1000), Made("clicks", b"", b"", "unread")
    three = [(key, b"{}")] * 3
    gzipped = batches.batch(three, "gzip")
    forged = [
        batches.batch(three, body=b"\xff" * 40), batches.batch(three, attributes=4, body=b"\x99" * 60),
        batches.batch(three, crc=1), batches.changed(gzipped, body=gzipped[_HEAD_BYTES:-9] + b"\0" * 9),
    ]  # fmt: skip
    mine = [made for made in events if made.key == key and made.kind == "clicks"][:6]
    mixed = [*mine[:3], unread, *mine[3:]]
    headed = batches.batch(
        [(m.key or key, m.value) for m in mixed], at_ms=at_ms, headers={mixed.index(unread): [(_NAME, b"1")]}
    )
    with_one = batches.changed(headed, body=headed[_HEAD_BYTES:].replace(_NAME.encode(), b"\xff\xfe\xc3\x28"))
    return [*((one, [unread] * 3) for one in forged), (with_one, mixed)]

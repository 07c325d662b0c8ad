"""Input that is repeated, shuffled, misdated, too large, of another shape, or no input at all."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import seed as hypothesis_seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from streams.events.parse import parse_events
from tests.fault.registry import scenario
from tests.fault.trial import Trial
from tests.fixtures.records import NOW_MS, record
from tests.oracle.generate import DAY_MS, TAKES_BACK, Made

_YEAR_MS = 365 * DAY_MS


@scenario()
async def thrice(trial: Trial) -> None:
    """Every event three times under new offsets, in another order each time."""
    trial.worker()
    events = trial.made.events(200)
    for turn in range(3):
        random.Random(turn).shuffle(events)
        await trial.send(events)
    trial.injected = "each event three times"
    trial.over()


@scenario()
async def shuffled(trial: Trial) -> None:
    """A day's events in random order."""
    trial.made.span_ms = DAY_MS
    events = trial.made.events(300)
    random.Random(trial.options.seed).shuffle(events)
    trial.worker()
    await trial.send(events)
    trial.injected = "a day in random order"
    trial.over()


@scenario()
async def years_off(trial: Trial) -> None:
    """Times a year back and a year ahead, and some without a time."""
    chance = random.Random(trial.options.seed)

    def off(body: dict[str, Any]) -> dict[str, Any]:
        if body["type"] in (*TAKES_BACK, *TAKES_BACK.values()):
            return body  # which of two is later must not change
        shift = chance.choice([-_YEAR_MS, 0, _YEAR_MS, None])
        return {k: v for k, v in body.items() if k != "ts"} if shift is None else {**body, "ts": body["ts"] + shift}

    trial.worker()
    # Not those sent twice: each gets the time of its own record, and the first one counts.
    await trial.send(_each(list({made.value: made for made in trial.made.events(200)}.values()), off))
    trial.injected = "a year back, a year ahead, no time"
    trial.over()


@scenario()
async def schema_drift(trial: Trial) -> None:
    """New fields, times in RFC 3339, nulls for what is absent; and fields that changed their type."""

    def newer(body: dict[str, Any]) -> dict[str, Any]:
        return {
            **body,
            "schema": 3,
            "trace": {"id": [1, {"a": None}]},
            "dwell_ms": body.get("dwell_ms"),
            "context": None,
        }

    def broken(body: dict[str, Any]) -> dict[str, Any]:
        return {**body, "event_id": int(body["event_id"].rpartition("e")[2])}

    trial.worker()
    await trial.send(_each(trial.made.events(150), newer))
    others = [made._replace(fate="dead") for made in _each(trial.made.every_user(3), broken)]
    await trial.send([*others, *trial.made.poison(12)])
    trial.injected = "unknown fields; ids as numbers; no JSON"
    trial.over()


@scenario()
async def large_records(trial: Trial) -> None:
    """Records of 10 MB among the others."""
    trial.worker()
    await trial.allow_large()
    await trial.play(60)
    big = [Made("clicks", user.encode(), b'{"x": "' + b"y" * (10 << 20) + b'"}', "dead") for user in trial.users[:3]]
    for one in big:
        assert await trial.send([one]) == 1, "the broker did not take it"
    await trial.play(60)
    trial.injected = "3 records of 10 MB"
    trial.over()


@scenario()
async def unresolved(trial: Trial) -> None:
    """Events whose item is described only later, with kills between their waits."""
    worker = trial.worker()
    late = f"late-{trial.run}"
    await trial.send([*trial.made.events(40), *trial.made.clicks_on(late, 12)])
    for point in ("before_upsert", "after_upsert", "before_ack"):
        worker.kill()
        worker.start(f"{point}:kill@2")
        await trial.play(40)
        await worker.ended()
    worker.start()
    await trial.describe_late(late)
    trial.injected = "12 events wait for their item, 3 x SIGKILL"
    trial.over()


def _each(records: list[Made], change: Callable[[dict[str, Any]], dict[str, Any]]) -> list[Made]:
    return [made._replace(value=json.dumps(change(json.loads(made.value))).encode()) for made in records]


@scenario(own="broker")
async def dead_topic_away(trial: Trial) -> None:
    """Nothing gets through to the topic of the dead letters for a while: poison waits, nothing is passed over."""
    proxy = trial.arena.proxy
    assert proxy is not None
    worker = trial.worker()
    trial.supervise(worker)
    await trial.play(40)
    await trial.joined(worker)
    proxy.away = f"{trial.rig.clicks}.dead"
    await trial.send(trial.made.poison(8))
    await trial.play(60)
    await asyncio.sleep(12.0)
    assert proxy.refused, "no dead letter was sent meanwhile"
    proxy.away = ""
    trial.over()
    trial.injected = f"no way through for 12 s, {proxy.refused} attempts"


@scenario(brokers=("kafka",))
async def dead_topic_deleted(trial: Trial) -> None:
    """The topic of the dead letters is deleted, and made again later."""
    worker = trial.worker()
    trial.supervise(worker)
    await trial.play(40)
    await trial.joined(worker)
    await trial.delete_topic(f"{trial.rig.clicks}.dead")
    await trial.send(trial.made.poison(8))
    await trial.play(60)
    await asyncio.sleep(8.0)
    await trial.rig.prepare()
    trial.injected = "gone for 8 s, 8 poisoned records"
    trial.over()


@scenario()
async def clock_jumps(trial: Trial) -> None:
    """The worker's clock jumps hours ahead and back while it works."""
    trial.worker(module="tests.fault.jumping_worker")
    for _ in range(6):
        await trial.play(40)
        await asyncio.sleep(1.0)
    trial.injected = "an hour ahead, two hours back, again and again"
    trial.over()


@scenario(unresolved={"base_s": 0.3, "cap_s": 1.0, "deadline_s": 3.0})
async def fuzz(trial: Trial) -> None:
    """Arbitrary and nearly right bytes, found by Hypothesis: each is applied or dead-lettered, and the worker lives."""
    worker = trial.worker()
    values = fuzzed(trial.options.seed, trial.made.events(60))
    await trial.play(40)
    records = [Made("clicks", f"{trial.run}-fuzz{n % 5}".encode(), value, "either") for n, value in enumerate(values)]
    await trial.send(records)
    await trial.play(40)
    trial.over()
    trial.injected = f"{len(values)} records of raw bytes"
    await trial.quiet()
    assert worker.running, worker.log()


def fuzzed(seed: int, events: list[Made], count: int = 400) -> list[bytes]:
    """Bytes that Hypothesis makes: noise, any JSON, and events with a part replaced; none breaks the parser."""
    found: list[bytes] = []
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    shapes = st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=8), inner), max_leaves=8
    )
    near = st.sampled_from([made.value for made in events])

    @hypothesis_seed(seed)
    @hypothesis_settings(max_examples=count, database=None, deadline=None)
    @given(
        st.one_of(
            st.binary(max_size=300),
            shapes.map(lambda shape: json.dumps(shape).encode()),
            st.tuples(near, st.sampled_from(_FIELDS), shapes).map(
                lambda t: json.dumps({**json.loads(t[0]), t[1]: t[2]}).encode()
            ),
            st.tuples(near, st.integers(0, 400), st.binary(max_size=4)).map(
                lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + 1 :]
            ),
        )
    )
    def collect(value: bytes) -> None:
        parsed = parse_events([record(value=value, key=b"u")], now_ms=NOW_MS)
        assert len(parsed.events) + len(parsed.dead) == 1
        found.append(value)

    collect()
    return found


_FIELDS = ["event_id", "user_id", "type", "ts", "item_id", "text", "rating", "dwell_ms", "items", "item", "context"]

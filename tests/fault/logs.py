"""A real log played twice, once undisturbed and once with kills in the middle: the same nodes must come of both."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.demo.data import DemoLog, real
from streams.commands.event_log import EventLog
from streams.events.event import Source
from streams.interests.nodes import Node, NodeKey
from streams.settings.wiring import qdrant_config
from tests.fault.arena import QUICK, Arena, FaultyWorker, Skipped
from tests.fault.registry import scenario
from tests.fault.trial import Trial
from tests.fixtures.brokers import Broker
from tests.fixtures.path import ROOT, Rig, environment
from tests.oracle import raw
from tests.oracle.alike import alike
from tests.oracle.check import Verdict
from tests.oracle.ledger import read_log

SHARES = (0.2, 0.4, 0.6, 0.8)
#: Events sent a second, about as many as are encoded: a log that lies there already is fetched, and so applied, in a
#: few large pieces, and there is no middle to kill in.
_PER_S = 40.0
_WITHIN_S = 900.0


@dataclass(slots=True)
class Played:
    """What one run came to: nodes, the log's events by id, those dead-lettered, outcomes and kills."""

    nodes: dict[NodeKey, Node]
    events: dict[str, dict[str, Any]]
    records: list[Any]
    dead: int
    waited: int
    outcomes: Counter[str]
    kills: list[int] = field(default_factory=list)

    @property
    def users(self) -> set[str]:
        return {key.user_id for key in self.nodes}


@scenario()
async def kill_on_log(trial: Trial) -> None:
    """SIGKILL in the middle of a real log (--data PATH), and every node as in a run without."""
    folder = trial.options.data
    if folder is None:
        raise Skipped("it plays a real log: --data PATH names a folder of items and events in JSON lines")
    data = real(folder, trial.arena.work)
    async with trial.arena.with_own("qdrant") as own:
        undisturbed = await _played(own, data, ())
    async with trial.arena.with_own("qdrant") as own:
        killed = await _played(own, data, SHARES)
    trial.over()
    verdict = trial.judged = Verdict(events=len(killed.events))
    if undisturbed.events != killed.events:
        verdict.wrong.append("the two runs were not given the same events")
    for played in (undisturbed, killed):
        _account(played, verdict)
    same = alike(undisturbed.nodes, killed.nodes, trial.rig.settings.nodes.policy())
    verdict.wrong += same.differ
    if not killed.kills:
        verdict.wrong.append("no kill: the log is too short, or too little of it was counted as applied")
    verdict.doubled += _doubled(undisturbed.nodes, killed.nodes)
    told = ", ".join(f"{n} {outcome}" for outcome, n in sorted(undisturbed.outcomes.items()) if n)
    at = ", ".join(str(n) for n in killed.kills)
    trial.injected = (
        f"{folder.name}: {len(killed.kills)} x SIGKILL at {at} events applied; {len(killed.users)} users, "
        f"{same.nodes} nodes; vectors differ by {same.vectors:.1e} at most, masses by {same.masses:.1e}; "
        f"without kills: {told}"
    )


async def _played(own: Arena, data: DemoLog, shares: Sequence[float]) -> Played:
    """Play the log on topics and a group of their own, the worker killed when each share of it has been applied."""
    work = own.work / Broker.unique("log")
    work.mkdir(parents=True)
    rig = Rig(own.broker, own.triton, own.qdrant, work, kafka=QUICK, concepts={"file": own.concept_file},
              worker={"batch_records": 100}, unresolved={"deadline_s": _WITHIN_S})  # fmt: skip
    await rig.prepare()
    worker = FaultyWorker(rig.settings, work / "worker.log", own.options.mutant)
    rig.workers.append(worker)
    worker.start()
    count, speed = _pace(data)
    replay = await _replay(rig, data, speed, work / "replay.log")
    try:
        kills = await _kill(rig, worker, replay, [share * count for share in shares])
        async with asyncio.timeout(_WITHIN_S):
            code = await replay.wait()
        assert code == 0, f"the replay ended with {code}:\n{(work / 'replay.log').read_text()[-2000:]}\n{worker.log()}"
        outcomes = Counter({name: int(n) for name, n in (await rig.outcomes()).items() if name != "behind"})
        return await _read(rig, outcomes, kills)
    finally:
        with suppress(ProcessLookupError):
            replay.kill()
        worker.kill()


async def _replay(rig: Rig, data: DemoLog, speed: float, log: Path) -> asyncio.subprocess.Process:
    """`interests replay` of the items and then the events, waiting for each to be folded."""
    files = ("--items", str(data.items), "--events", str(data.events), "--speed", str(speed))
    with log.open("wb") as out:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "streams.commands.cli", "replay", *files, "--wait", "--deadline-s", str(_WITHIN_S),
            env={**os.environ, **environment(rig.settings)}, stdout=out, stderr=out, cwd=ROOT,
        )  # fmt: skip


async def _kill(rig: Rig, worker: FaultyWorker, replay: asyncio.subprocess.Process, due: Iterable[float]) -> list[int]:
    """SIGKILL and restart the worker when its own counters, summed over its lives, say so; gives what they said.

    A life's last batch may be applied and not counted, so that the sum falls behind by so much.
    """
    before, kills = 0, list[int]()
    for number in due:
        while (now := before + int((await rig.outcomes()).get("applied", 0))) < number:
            if replay.returncode is not None:  # all is folded, and less was counted: the comparison says what is lost
                return kills
            assert worker.running, worker.log()
            await asyncio.sleep(0.02)
        worker.signal(signal.SIGKILL)
        assert await worker.ended() == -signal.SIGKILL
        before = now
        kills.append(now)
        worker.start()
    return kills


async def _read(rig: Rig, outcomes: Counter[str], kills: list[int]) -> Played:
    """All nodes there are, and all records of the topics of events."""
    kafka = rig.settings.kafka
    buried = [f"{topic}.dead" for topic in (*kafka.event_topics, kafka.unresolved_topic)]
    log = await read_log(rig.broker.bootstrap, [*kafka.event_topics, kafka.unresolved_topic, *buried])
    records = [record for topic in kafka.event_topics for record in log[topic]]
    found = await raw.nodes(qdrant_config(rig.settings))
    bodies = [json.loads(record.value) for record in records]
    return Played(
        {node.key: node for node in found}, {body["event_id"]: body for body in bodies}, records,
        sum(len(log[topic]) for topic in buried), len(log[kafka.unresolved_topic]), outcomes, kills,
    )  # fmt: skip


def _account(played: Played, verdict: Verdict) -> None:
    """Every record is in its user's profile by place, or a dead letter; without kills every event was applied, once."""
    left = []
    for record in played.records:
        body = json.loads(record.value)
        profile = played.nodes.get(NodeKey(body["user_id"], "profile", "/"))
        source = Source(record.topic, record.partition, record.offset)
        if profile is None or not profile.applied.covers(source, profile.applied.log):
            left.append(body["event_id"])
    if len(left) > played.dead:
        verdict.lost |= set(left)
    given = Counter(body["user_id"] for body in played.events.values())
    shown = {body["user_id"] for body in played.events.values() if body["type"] == "impression"}  # several items each
    for user, number in given.items():
        profile = played.nodes.get(NodeKey(user, "profile", "/"))
        if profile is not None and user not in shown and not played.kills:
            verdict.doubled += max(0, profile.count - number)
    if not played.kills and sum(played.outcomes[name] for name in ("applied", "dead")) < len(played.events):
        verdict.wrong.append(f"without kills {dict(played.outcomes)} of {len(played.events)} events")


def _doubled(undisturbed: dict[NodeKey, Node], killed: dict[NodeKey, Node]) -> int:
    """How many contributions profiles count beyond those of the undisturbed run."""
    return sum(
        max(0, node.count - undisturbed[key].count)
        for key, node in killed.items()
        if key.level == "profile" and key in undisturbed
    )


def _pace(data: DemoLog) -> tuple[int, float]:
    """How many events the log holds, and how much faster than it happened it is to be played."""
    with EventLog([data.events]) as log:
        lasted_s = ((log.last_ms or 0) - (log.first_ms or 0)) / 1000
        return log.count, max(1.0, lasted_s * _PER_S / log.count)

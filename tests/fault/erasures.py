"""Erasures among faults: what a user was is gone and stays gone, and what comes after is a tree of its own."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import NamedTuple

import grpc.aio
from grpc import StatusCode
from qdrant_client import grpc as messages

from tests.fault.arena import FaultyWorker
from tests.fault.questions import asked_all_the_time
from tests.fault.registry import scenario
from tests.fault.trial import Trial
from tests.fixtures.interposer import Act, Forward, Refusal
from tests.oracle.raw import holds_nodes

_ERASED = 5  # of the eight users
_LATER_MS = 60_000


class Moment(NamedTuple):
    """A moment of an erasure as Qdrant sees it: the deletion (0) or the so-many-th write of nodes after it."""

    says: str
    call: int
    done: bool


#: The second write after a deletion is the batch's own; the first is the tombstone.
MOMENTS = (
    Moment("before its deletion", 0, done=False),
    Moment("between deletion and tombstone", 0, done=True),
    Moment("after its tombstone", 1, done=True),
    Moment("before the batch's nodes", 2, done=False),
    Moment("after the batch's nodes", 2, done=True),
)


@scenario()
async def erase_killed(trial: Trial) -> None:
    """SIGKILL at every moment of an erasure, among events of before and after it."""
    peer, users, at_ms = await trial.interpose("qdrant"), range(_ERASED), trial.made.now_ms
    worker, late = trial.worker(), f"late-{trial.run}"
    trial.supervise(worker)
    await trial.play(60)
    await trial.send(trial.made.clicks_on(late, 8))
    await trial.joined(worker)
    for user, moment in zip(users, MOMENTS, strict=True):
        struck = asyncio.Event()
        peer.act = _striking(worker, moment, struck)
        await trial.send([*trial.made.events(10), *trial.made.around_erasure([user], at_ms), *trial.made.events(10)])
        async with asyncio.timeout(60):
            await struck.wait()
        peer.act = None
    await trial.quiet(resolved=False)
    await _afterwards(trial, late)
    trial.injected = f"{_ERASED} users erased, SIGKILL {', '.join(moment.says for moment in MOMENTS)}"


@scenario()
async def erase_mixed(trial: Trial) -> None:
    """SIGKILL at every moment of an erasure that comes when younger events are folded, which are read again."""
    peer, at_ms = await trial.interpose("qdrant"), trial.made.now_ms
    worker = trial.worker()
    trial.supervise(worker)
    await trial.play(60)
    trial.made.move_on(_LATER_MS)
    await trial.play(60)
    for user, moment in zip(range(_ERASED), MOMENTS, strict=True):
        struck = asyncio.Event()
        peer.act = _striking(worker, moment, struck)
        await trial.send([*trial.made.erasures([user], at_ms), *trial.made.events(10)])
        async with asyncio.timeout(60):
            await struck.wait()
        peer.act = None
    await trial.quiet()
    trial.over()
    trial.injected = f"{_ERASED} users erased as of a minute ago, SIGKILL at {len(MOMENTS)} moments"


@scenario()
async def erase_zombie(trial: Trial) -> None:
    """A worker frozen with old events in hand; another erases their users; what it then puts back is hidden."""
    at_ms, late = trial.made.now_ms, f"late-{trial.run}"
    erased = [trial.users[user] for user in range(_ERASED)]
    await trial.send([*trial.made.events(80), *trial.made.clicks_on(late, 8)])
    frozen = trial.worker("before_upsert:stop@1,after_upsert:stop@1")
    await frozen.frozen()
    heir = trial.worker()
    await trial.send([*trial.made.around_erasure(range(_ERASED), at_ms), *trial.made.events(40)])
    await trial.quiet(resolved=False)
    assert await trial.put_back(erased, at_ms) == 0
    async with asked_all_the_time(trial, erased, at_ms) as questions:
        frozen.signal(signal.SIGCONT)
        await asyncio.sleep(0.3)
        await frozen.frozen()  # its upsert is behind it now
        put_back = await trial.put_back(erased, at_ms)
        assert put_back, "the frozen worker had nothing of an erased user in hand"
        await questions.asked_again(trial)
        await _afterwards(trial, late)
        await questions.asked_again(trial)
    frozen.signal(signal.SIGCONT)
    assert heir.running, heir.log()
    trial.injected = (
        f"{_ERASED} users erased, {put_back} of their nodes put back by a zombie, hidden and swept; searches that find "
        "people, asked all the time, showed none"
    )


@scenario(qdrant={"deadline_s": 5.0})
async def erase_delayed(trial: Trial) -> None:
    """A deletion that reaches Qdrant long after its worker was frozen, when another's new trees stand there."""
    peer, at_ms, late = await trial.interpose("qdrant"), trial.made.now_ms, f"late-{trial.run}"
    frozen, held = trial.worker(), asyncio.Queue[bytes]()
    trial.settings = trial.rig.settings  # whoever comes next goes straight to Qdrant
    await trial.play(60)
    await trial.quiet()

    async def hold(method: str, request: bytes, forward: Forward) -> bytes:
        if _deletes(method, request):
            frozen.signal(signal.SIGSTOP)
            held.put_nowait(request)
            await asyncio.sleep(3600)
        return await forward()

    peer.act = hold
    await trial.send([*trial.made.clicks_on(late, 8), *trial.made.around_erasure(range(_ERASED), at_ms)])
    async with asyncio.timeout(60):
        request = await held.get()
    heir = trial.worker()
    await trial.quiet(resolved=False)
    await _afterwards(trial, late)
    await trial.quiet()
    peer.act = None
    async with grpc.aio.insecure_channel(f"{trial.arena.qdrant.host}:{trial.arena.qdrant.grpc_port}") as channel:
        await channel.unary_unary("/qdrant.Points/Delete")(request, timeout=10)
    frozen.signal(signal.SIGCONT)
    trial.over()
    await trial.play(20)
    assert heir.running, heir.log()
    trial.injected = f"{_ERASED} users erased, one deletion again when their new trees stood"


@scenario()
async def erase_replayed(trial: Trial) -> None:
    """Everything again under new offsets after the erasures, themselves included; an older erasure; a second one."""
    at_ms, late = trial.made.now_ms, f"late-{trial.run}"
    trial.worker()
    log = [*trial.made.events(100), *trial.made.clicks_on(late, 8)]
    around = trial.made.around_erasure(range(_ERASED), at_ms)
    await trial.send(log)
    await trial.send(around)
    await trial.quiet(resolved=False)
    await _afterwards(trial, late)
    await trial.quiet()
    again = [*log, *around, *trial.made.erasures(range(_ERASED), at_ms - _LATER_MS)]
    random.Random(trial.options.seed).shuffle(again)
    await trial.send(again)
    await trial.quiet()
    await trial.send(trial.made.erasures([0], trial.made.now_ms))
    trial.over()
    trial.injected = f"{_ERASED} users erased, {len(again)} records again in random order, one user erased twice"


async def _afterwards(trial: Trial, late: str) -> None:
    """Younger events, some late ones among them, and the description of what older events have been waiting for."""
    trial.made.move_on(_LATER_MS)
    await trial.describe_late(late)
    await trial.play(60, rounds=1)
    trial.over()


def _striking(worker: FaultyWorker, moment: Moment, struck: asyncio.Event) -> Act:
    """SIGKILL the worker at a moment of its next erasure, once."""
    seen = -1

    async def act(method: str, request: bytes, forward: Forward) -> bytes:
        nonlocal seen
        if _deletes(method, request):
            seen = 0
        elif seen >= 0 and _writes(method, request):
            seen += 1
        else:
            return await forward()
        if struck.is_set() or seen != moment.call:
            return await forward()
        if moment.done:
            await forward()
        worker.signal(signal.SIGKILL)
        struck.set()
        raise Refusal(StatusCode.UNAVAILABLE, "its client is dead")

    return act


def _deletes(method: str, request: bytes) -> bool:
    return method == "Delete" and holds_nodes(messages.DeletePoints.FromString(request).collection_name)


def _writes(method: str, request: bytes) -> bool:
    return method == "Upsert" and holds_nodes(messages.UpsertPoints.FromString(request).collection_name)

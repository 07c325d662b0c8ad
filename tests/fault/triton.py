"""A Triton that dies, freezes, is slow, answers nonsense, or crashes at one text."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from grpc import StatusCode
from tritonclient.grpc import service_pb2

from tests.fault.registry import scenario
from tests.fault.trial import Trial
from tests.fixtures.interposer import Forward, Refusal, altering, slow
from tests.oracle.generate import Made

_DEADLINE = {"deadline_s": 3.0}
Change = Callable[[service_pb2.ModelInferResponse], None]


@scenario(triton=_DEADLINE)
async def triton_killed(trial: Trial) -> None:
    """SIGKILL of the server, and a restart."""
    worker = trial.worker()
    await trial.play(40)
    await trial.joined(worker)
    trial.arena.triton.kill()
    try:
        await trial.say(12)
        await trial.waits_for(worker, "triton")
    finally:
        await asyncio.to_thread(trial.arena.triton.start)
    trial.over()
    trial.injected = "SIGKILL, restart"
    assert worker.running, worker.log()


@scenario(triton=_DEADLINE)
async def triton_frozen(trial: Trial) -> None:
    """SIGSTOP for longer than the deadline: connections stay, nothing answers."""
    worker = trial.worker()
    await trial.play(40)
    await trial.joined(worker)
    trial.arena.triton.pause()
    try:
        await trial.say(12)
        await trial.waits_for(worker, "triton")
        await asyncio.sleep(5.0)
    finally:
        trial.arena.triton.resume()
    trial.over()
    trial.injected = "SIGSTOP past two deadlines"
    assert worker.running, worker.log()


@scenario(triton={"deadline_s": 10.0})
async def triton_slow(trial: Trial) -> None:
    """Every answer takes two seconds."""
    peer = await trial.interpose("triton")
    worker = trial.worker()
    await trial.play(20)
    await trial.joined(worker)
    peer.act = slow(2.0, "ModelInfer")
    await trial.play(40)
    await trial.say(12)
    await trial.quiet()
    peer.act = None
    trial.over()
    trial.injected = "2 s an answer"
    assert worker.running, worker.log()


@scenario(triton=_DEADLINE)
async def triton_wrong(trial: Trial) -> None:
    """Wrong count, dimension and type, NaN, infinity and zero: not used, asked again, nothing dead-lettered."""
    peer = await trial.interpose("triton")
    worker = trial.worker()
    await trial.play(20)
    await trial.joined(worker)
    for turn, change in enumerate(WRONG.values(), start=1):
        peer.act = altering(_changed(change), "ModelInfer")
        await trial.say(6)
        await trial.waits_for(worker, "triton", turn)
        await asyncio.sleep(1.0)
        peer.act = None
        await trial.quiet()
    trial.over()
    trial.injected = ", ".join(WRONG)
    assert worker.running, worker.log()


def _changed(change: Change) -> Callable[[bytes], bytes]:
    def alter(reply: bytes) -> bytes:
        message = service_pb2.ModelInferResponse.FromString(reply)
        change(message)
        return bytes(message.SerializeToString())

    return alter


def _rows(message: service_pb2.ModelInferResponse) -> npt.NDArray[Any]:
    (n, dim) = message.outputs[_embedding(message)].shape
    return np.frombuffer(message.raw_output_contents[_embedding(message)], np.float32).reshape(n, dim).copy()


def _embedding(message: service_pb2.ModelInferResponse) -> int:
    return next(n for n, output in enumerate(message.outputs) if output.name == "EMBEDDING")


def _put(message: service_pb2.ModelInferResponse, rows: npt.NDArray[Any], datatype: str = "FP32") -> None:
    at = _embedding(message)
    message.outputs[at].shape[:] = rows.shape
    message.outputs[at].datatype = datatype
    message.raw_output_contents[at] = rows.tobytes()


def _filled(value: float) -> Change:
    def change(message: service_pb2.ModelInferResponse) -> None:
        rows = _rows(message)
        rows[0] = value
        _put(message, rows)

    return change


WRONG: dict[str, Change] = {
    "count": lambda m: _put(m, _rows(m)[:-1]),
    "dimension": lambda m: _put(m, _rows(m)[:, :-1]),
    "type": lambda m: _put(m, _rows(m).astype(np.float64), "FP64"),
    "NaN": _filled(float("nan")),
    "infinity": _filled(float("inf")),
    "zero": _filled(0.0),
}


@scenario(triton=_DEADLINE)
async def triton_poison_text(trial: Trial) -> None:
    """One text takes the encoder down for a second whenever it is asked: it is dead-lettered, the rest goes on."""
    peer = await trial.interpose("triton")
    marker, crashes, back_at = f"crash {trial.run}", [0], [0.0]

    async def act(method: str, request: bytes, forward: Forward) -> bytes:
        if method == "ModelInfer" and time.monotonic() >= back_at[0] and marker.encode() in request:
            crashes[0] += 1
            back_at[0] = time.monotonic() + 1.0
        if time.monotonic() < back_at[0]:
            raise Refusal(StatusCode.UNAVAILABLE, "the encoder went down")
        return await forward()

    worker = trial.worker()
    await trial.play(20)
    await trial.joined(worker)
    peer.act = act
    user = trial.users[0]
    body = {"event_id": f"{trial.run}-crash", "user_id": user, "type": "search", "text": marker}
    poison = Made("events", user.encode(), json.dumps(body).encode(), "dead")
    await trial.say(12, poison)
    await trial.play(40)
    await trial.quiet(240)
    trial.over()
    trial.injected = f"one text, {crashes[0]} crashes"
    assert worker.running, worker.log()

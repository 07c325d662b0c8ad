"""Named places on the path where a test may make a worker die, freeze or wait; a no-op in production.

Nothing here reads the environment: the worker command arms the points where `INTERESTS_FAULTPOINTS` is set.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from streams.base.errors import ConfigurationError
from streams.events.event import RecordLike

VARIABLE: Final = "INTERESTS_FAULTPOINTS"
RECORD: Final = "record"
POINTS: Final = ("after_read", "after_encode", "before_upsert", "after_upsert", "before_ack", "after_ack")
BESIDE: Final = ("before_learned", "after_learned")
"""Beside the path: a model has answered about some people, and their learned nodes are written."""
_SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}
_FORM: Final = re.compile(r"(?P<point>\w+):(?P<action>\w+)(?:=(?P<seconds>[\d.]+))?(?:@(?P<nth>\d+))?")


@dataclass(slots=True)
class Fault:
    """What happens at a point: after `seconds` of waiting a signal to this very process, or the waiting alone."""

    point: str
    action: str
    seconds: float = 0.0
    nth: int = 0  # the visit it happens at, from 1; 0: every visit


@dataclass(slots=True)
class _Armed:
    faults: list[Fault] = field(default_factory=list)
    visits: dict[str, int] = field(default_factory=dict)


_armed: _Armed | None = None


def parse(text: str) -> list[Fault]:
    """Read `point:action[=seconds][@nth]`, several joined by commas.

    Actions: `kill`, `stop`, `term` (signals to this process, after `seconds`) and `wait`. `record:kill` and
    `record:raise` happen where a record's value holds `faultpoint kill` or `faultpoint raise`. ConfigurationError
    where a part has another form.
    """
    faults = []
    for part in filter(None, text.split(",")):
        match = _FORM.fullmatch(part.strip())
        known = ("kill", "raise") if match and match["point"] == RECORD else (*_SIGNALS, "wait")
        if not match or match["point"] not in (*POINTS, *BESIDE, RECORD) or match["action"] not in known:
            raise ConfigurationError(
                f"{VARIABLE}: got {part!r}, expected point:action[=seconds][@nth] with a point of "
                f"{', '.join((*POINTS, *BESIDE))} "
                f"and an action of {', '.join((*_SIGNALS, 'wait'))}, or {RECORD}:kill or {RECORD}:raise"
            )
        faults.append(Fault(match["point"], match["action"], float(match["seconds"] or 0), int(match["nth"] or 0)))
    return faults


def arm(text: str) -> None:
    """From here on do what `text` says at the points; empty: nothing. Raises as `parse`."""
    global _armed  # noqa: PLW0603  # one process, one plan; passing it down the path would put tests into its signature
    _armed = _Armed(parse(text)) if text else None


def meet(records: Iterable[RecordLike]) -> None:
    """Say that work on these records begins; `record:kill` and `record:raise` are for those that ask for it."""
    if _armed is not None and any(fault.point == RECORD for fault in _armed.faults):
        for record in records:
            _ask(_armed, record.value or b"")


def _ask(armed: _Armed, value: bytes) -> None:
    for fault in armed.faults:
        if fault.point == RECORD and f"faultpoint {fault.action}".encode() in value:
            if fault.action == "raise":
                raise LookupError("a record asked for this")
            os.kill(os.getpid(), _SIGNALS[fault.action])


async def reach(point: str) -> None:
    """Say that the path is at `point`."""
    if _armed is not None:
        await _visit(_armed, point)


async def _visit(armed: _Armed, point: str) -> None:
    armed.visits[point] = armed.visits.get(point, 0) + 1
    for fault in armed.faults:
        if fault.point == point and fault.nth in (0, armed.visits[point]):
            if fault.seconds:
                await asyncio.sleep(fault.seconds)
            if fault.action in _SIGNALS:
                os.kill(os.getpid(), _SIGNALS[fault.action])

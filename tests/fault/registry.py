"""The faults by name, and running one: inject, wait for quiet, ask the oracle."""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fault.arena import Arena, Skipped
from tests.fault.trial import Trial, trial
from tests.oracle.check import Verdict

Body = Callable[[Trial], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One fault. `plain` ones are part of `make fault`; `brokers` are those it makes sense on."""

    name: str
    group: str
    body: Body
    sections: dict[str, dict[str, Any]]
    plain: bool = True
    brokers: tuple[str, ...] = ("tansu", "kafka")
    own: str = ""
    users: int = 8

    @property
    def about(self) -> str:
        """What it does, in one line."""
        return (self.body.__doc__ or "").strip().splitlines()[0]


@dataclass(slots=True)
class Result:
    """A row of the table."""

    name: str
    injected: str = ""
    verdict: Verdict = field(default_factory=Verdict)
    recovered_s: float = 0.0
    took_s: float = 0.0
    problem: str = ""
    skipped: str = ""

    @property
    def fine(self) -> bool:
        return not self.problem and self.verdict.fine


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *,
    plain: bool = True,
    brokers: tuple[str, ...] = ("tansu", "kafka"),
    own: str = "",
    users: int = 8,
    **sections: dict[str, Any],
) -> Callable[[Body], Body]:
    """Register a fault under its function's name, with dashes; `sections` are settings of its own.

    `own` is `broker`, `qdrant`, `qdrant-on-small-disk`, `learned` or `stack` where the fault is done to that server, or
    to all of them: the trials beside it must not notice.
    """

    def register(body: Body) -> Body:
        name = body.__name__.replace("_", "-")
        group = body.__module__.rpartition(".")[2]
        SCENARIOS[name] = Scenario(name, group, body, sections, plain, brokers, own, users)
        return body

    return register


async def perform(one: Scenario, arena: Arena) -> Result:
    """Run one fault and judge it. What goes wrong on the way is the result's `problem`."""
    result, started = Result(one.name), time.monotonic()
    made: Trial | None = None
    try:
        async with arena.with_own(one.own) as own, trial(own, one.name, one.users, **one.sections) as made:
            await one.body(made)
            if made.judged is None:
                await made.quiet()
            result.recovered_s = max(0.0, time.monotonic() - made.over_s)
            result.verdict = made.judged or await made.verdict()
            if not result.verdict.fine:
                result.problem = str(result.verdict)
    except Skipped as reason:
        result.skipped = str(reason)
    except Exception as error:
        result.problem = "".join(traceback.format_exception(error))[-6000:]
    result.injected = made.injected if made else ""
    result.took_s = time.monotonic() - started
    return result

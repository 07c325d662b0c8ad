"""Is the worker alive, and is it ready? Judged from facts, with reasons. Pure; `status.py` gathers and serves.

Live means that starting it again would not help: it works, or it waits for a server and says so. Ready means that
events produced now are folded now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """In seconds: how long the event loop may be silent, work stand still, and a server not have answered."""

    loop_s: float = 30.0
    stuck_s: float = 120.0
    answered_s: float = 10.0


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """A worker at one moment.

    `loop_silent_s`: since the event loop last ran. `stuck_s`: since anything was committed or noted as progress while
    records wait; 0 where none does. `partitions`: held now; None before the first assignment and while the group
    rebalances. `answered_s`: by server, since it last answered; None: not yet. `waiting_for`: the server that the
    start waits for; `stopping`: told to stop.
    """

    loop_silent_s: float = 0.0
    stuck_s: float = 0.0
    partitions: int | None = None
    lag: int = 0
    answered_s: Mapping[str, float | None] = field(default_factory=dict)
    waiting_for: str | None = None
    stopping: bool = False


def not_live(facts: WorkerFacts, limits: HealthLimits) -> list[str]:
    """Why the worker should be started again; empty: it is alive."""
    reasons = []
    if facts.loop_silent_s > limits.loop_s:
        reasons.append(f"the event loop has not run for {facts.loop_silent_s:.0f} s")
    if facts.stuck_s > limits.stuck_s:
        reasons.append(f"{facts.lag} records wait and nothing was committed for {facts.stuck_s:.0f} s")
    return reasons


def not_ready(facts: WorkerFacts, limits: HealthLimits) -> list[str]:
    """Why events produced now are not folded now; empty: they are."""
    reasons = not_live(facts, limits)
    if facts.stopping:
        reasons.append("it was told to stop")
    if facts.waiting_for is not None:
        reasons.append(f"it starts, and waits for {facts.waiting_for}")
    elif facts.partitions is None:
        reasons.append("it has no assignment: the group rebalances, or has not been joined yet")
    for server, seconds in sorted(facts.answered_s.items()):
        if seconds is None:
            reasons.append(f"{server} has not answered yet")
        elif seconds > limits.answered_s:
            reasons.append(f"{server} has not answered for {seconds:.0f} s")
    return reasons

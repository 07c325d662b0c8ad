"""Is the worker ready? Judged from facts, with reasons. Pure; `status.py` gathers and serves.

Live means that starting it again would not help: it works, or it waits for a server and says so (see
`streams.broker.liveness`, whose judge decides it). Ready means that events produced now are folded now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streams.broker.liveness import LivenessFacts, LivenessLimits, not_live


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """A worker at one moment.

    `partitions`: held now; None before the first assignment and while the group rebalances. `waiting_for`: the server
    that the start waits for; `stopping`: asked to stop.
    """

    liveness: LivenessFacts = field(default_factory=LivenessFacts)
    partitions: int | None = None
    waiting_for: str | None = None
    stopping: bool = False

    def fields(self) -> dict[str, Any]:
        """What /healthz and /readyz show of it, times in seconds."""
        live = self.liveness
        return {
            "loop_silent_s": round(live.loop_silent_s, 3),
            "stuck_s": round(live.stuck_s, 3),
            "partitions": self.partitions,
            "lag": live.lag,
            "answered_s": {
                name: None if seconds is None else round(seconds, 3) for name, seconds in live.answered_s.items()
            },
            "waiting_for": self.waiting_for,
            "stopping": self.stopping,
        }


def not_ready(facts: WorkerFacts, limits: LivenessLimits) -> list[str]:
    """Why events produced now are not folded now; empty: they are."""
    reasons = not_live(facts.liveness, limits)
    if facts.stopping:
        reasons.append("it is stopping")
    if facts.waiting_for is not None:
        reasons.append(f"it starts, and waits for {facts.waiting_for}")
    elif facts.partitions is None:
        reasons.append("it has no assignment: the group rebalances, or has not been joined yet")
    for server, seconds in sorted(facts.liveness.answered_s.items()):
        if seconds is None:
            reasons.append(f"{server} has not answered yet")
        elif seconds > limits.answered_s:
            reasons.append(f"{server} has not answered for {seconds:.0f} s")
    return reasons

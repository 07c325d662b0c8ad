"""What is known of a learner, and what its status port answers: /healthz and /readyz."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from streams.broker.liveness import LivenessJudge, not_live

BEAT_S: Final = 0.5


class LearnerStatus:
    """Written by the event loop, read by the thread of the status port. `waiting_for`: a server that is away."""

    def __init__(self) -> None:
        self.judge = LivenessJudge()
        self.waiting_for: str | None = "its servers"
        self.stopping = False

    async def beat(self) -> None:
        """Say that the event loop runs, until cancelled."""
        while True:
            self.judge.beat()
            await asyncio.sleep(BEAT_S)

    def answer(self, path: str) -> tuple[str, dict[str, Any]] | None:
        """The HTTP status and body for a path. Live: its event loop runs. Ready: it learns from examples sent now."""
        if path not in ("/healthz", "/readyz"):
            return None
        reasons = not_live(self.judge.facts(), self.judge.limits)
        if path == "/readyz":
            reasons += [f"it waits for {self.waiting_for}"] if self.waiting_for is not None else []
            reasons += ["it is stopping"] if self.stopping else []
        head = "503 Service Unavailable" if reasons else "200 OK"
        word = "live" if path == "/healthz" else "ready"
        return head, {word: not reasons, "reasons": reasons, "waiting_for": self.waiting_for, "stopping": self.stopping}

"""A live stream over all its connections: how an event is read, and when to connect again. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from httpx_sse import ServerSentEvent
from pydantic import ValidationError

from streams.api.models import LiveUpdate
from streams.client.core import Core, may_repeat
from streams.client.errors import ApiError, DeadlineExceeded, Unreachable

SILENT_S: Final = 45.0
"""The API sends a heartbeat every 15 s: a stream that is silent for so long is dead."""
_LONGEST_S: Final = 30.0


@dataclass(slots=True, kw_only=True)
class Reconnection:
    """The state of one stream over all its connections.

    `patience_s` bounds the attempts to connect again (None: for ever); the call's deadline bounds the first connection.
    Times are seconds of a clock that only goes forward.
    """

    core: Core
    deadline_s: float
    patience_s: float | None
    away_since_s: float
    _attempt: int = 0
    _base_s: float | None = None
    _met: bool = field(default=False)

    def read(self, event: ServerSentEvent, now_s: float) -> LiveUpdate | None:
        """The update that an event holds; None for a heartbeat and for kinds of events that are newer than this."""
        self._attempt, self._met, self.away_since_s = 0, True, now_s
        if event.retry is not None:
            self._base_s = event.retry / 1000
        if event.event != "update" or not event.data:
            return None
        try:
            return LiveUpdate.model_validate_json(event.data)
        except ValidationError as error:
            raise self.core.misread(error) from error

    def wait_s(self, error: ApiError, now_s: float) -> float:
        """Seconds until the next connection; raises the error where another cannot help or the time is over."""
        self._attempt += 1
        limit_s = self.patience_s if self._met else self.deadline_s
        final = not (may_repeat(error) or (isinstance(error, DeadlineExceeded) and self._met))
        wait_s = self.core.retries.wait_s(self._attempt, error, self.core.spread())
        if self._base_s is not None:
            wait_s = max(wait_s, self._base_s)
        wait_s = min(wait_s, _LONGEST_S)
        if final or (limit_s is not None and now_s - self.away_since_s + wait_s > limit_s):
            raise error
        return wait_s


def stream_ended() -> Unreachable:
    """The error of a stream that the server has ended: it stops, or lets a slow reader go."""
    return Unreachable("the stream has ended", retry_after_s=0.0)

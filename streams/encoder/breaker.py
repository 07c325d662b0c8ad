"""A circuit breaker: after several failures in a row nobody calls for a while, then one call tries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic


@dataclass(slots=True, kw_only=True)
class Breaker:
    """Closed until `failures` in a row; then open for `open_s`, twice as long each time, at most `longest_s`.

    When that time is over one call is let through (half-open): its success closes the breaker, its failure opens it
    again. `clock` gives seconds that never go back.
    """

    failures: int = 5
    open_s: float = 0.5
    longest_s: float = 10.0
    clock: Callable[[], float] = monotonic
    _in_a_row: int = field(default=0, init=False)
    _opened: int = field(default=0, init=False)
    _until: float | None = field(default=None, init=False)
    _probe_until: float | None = field(default=None, init=False)

    @property
    def is_open(self) -> bool:
        """Whether calls are refused or on trial."""
        return self._until is not None

    def admit(self, probe_s: float) -> float:
        """Ask to call: 0 means go, else the seconds to wait before asking again.

        The one call let through when half-open holds the trial for `probe_s` seconds at most, so a caller that
        is cancelled cannot keep the breaker open for ever.
        """
        if self._until is None:
            return 0.0
        now = self.clock()
        wait_until = max(self._until, self._probe_until or 0.0)
        if now < wait_until:
            return wait_until - now
        self._probe_until = now + probe_s
        return 0.0

    def succeeded(self) -> None:
        """The server answered: closed again."""
        self._in_a_row = self._opened = 0
        self._until = self._probe_until = None

    def failed(self) -> None:
        """The server did not answer, or answered that it cannot."""
        self._in_a_row += 1
        if self._until is None and self._in_a_row < self.failures:
            return
        if self._until is not None and self._probe_until is None:
            return  # a call from before the breaker opened: no news
        pause = min(self.longest_s, self.open_s * 2**self._opened)
        self._opened += 1
        self._until = self.clock() + pause
        self._probe_until = None

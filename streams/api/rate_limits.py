"""How much a caller may ask for: requests in a window, by key or by address."""

from __future__ import annotations

from time import time

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from streams.base.errors import ConfigurationError


class RateLimits:
    """A sliding window a caller, kept by this process alone: each of several workers counts for itself."""

    def __init__(self, rate: str) -> None:
        self._item: RateLimitItem | None = None
        self._limiter: SlidingWindowCounterRateLimiter | None = None
        if rate.strip():
            try:
                self._item = parse(rate)
            except ValueError as error:
                raise ConfigurationError(
                    f"api.rate: got {rate!r}, expected such as 100/second or 6000/minute"
                ) from error

    async def wait_s(self, caller: str) -> float:
        """Count a request; 0 where it may go on, else how long the caller should wait, in seconds."""
        if self._item is None:
            return 0.0
        if self._limiter is None:  # its storage belongs to the loop that uses it
            self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        if await self._limiter.hit(self._item, caller):
            return 0.0
        window = await self._limiter.get_window_stats(self._item, caller)
        return max(1.0, window.reset_time - time())

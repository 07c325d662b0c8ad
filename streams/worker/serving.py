"""Whether a worker's encoder serves. If another's does, its group fills collections beside the one that serves.

Such a group reads the same events. What speaks for all of them is sent by the group that serves: dead letters, and the
changes of trees on `interests.updated`. A group whose encoder was switched away sends on for a minute, so that what it
had not read by then is not missed: in that minute something may be sent by both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from prometheus_client import Counter

from streams.base.clock import now_ms
from streams.base.errors import ConfigurationError, StoreUnavailable
from streams.store.encoders import Served

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 2.0
#: How long a group sends on after its encoder was switched away.
SENDS_ON_MS: Final = 60_000


def serves(encoder: str, group: str, served: Served, at_ms: int) -> bool:
    """Whether a group with this encoder sends what the group that serves sends.

    It does where no other group is known to fill the collections that serve: then nobody else would.
    """
    if served.encoder in (None, encoder) or not served.groups - {group}:
        return True
    switch = served.switch
    moved = switch is not None and switch.before == encoder and switch.now == served.encoder
    return moved and switch is not None and at_ms - switch.at_ms < SENDS_ON_MS


class Serving:
    """Looks at the alias every two seconds, and holds back what only the serving group sends; counts it in `held`."""

    def __init__(
        self, encoder: str, group: str, look: Callable[[], Awaitable[Served]], held: Counter,
        clock: Callable[[], int] = now_ms,
    ) -> None:  # fmt: skip
        self._encoder, self._group, self._look, self._held, self._clock = encoder, group, look, held, clock
        self._served = Served(None, frozenset(), None)
        self._known: bool | None = None

    async def look(self) -> None:
        """Ask the store now. Raises StoreUnavailable; until it answers, what was known holds on."""
        self._served = await self._look()
        self._settle()

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.look()
            except StoreUnavailable:
                self._settle()
            except ConfigurationError as error:  # a newer release has written there, or an alias points elsewhere
                log.warning("serving_unknown", error=str(error))
                self._settle()

    def holds_back(self, what: str, count: int) -> bool:
        """Whether so many of `what` are not to be sent."""
        if self._settle():
            return False
        self._held.labels(what).inc(count)
        return True

    def _settle(self) -> bool:
        known = serves(self._encoder, self._group, self._served, self._clock())
        if known is not self._known:
            log.info("serving", encoder=self._encoder, serves=known, alias=self._served.encoder)
            self._known = known
        return known

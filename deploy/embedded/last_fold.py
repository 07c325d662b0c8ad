"""What a stop does first where the broker forgets: it waits until what was acknowledged is folded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from deploy.embedded.stack import Stack
from deploy.embedded.supervise import PartFailed
from streams.base.errors import RetryableError
from streams.broker.admin import Admin
from streams.commands.connections import admin_of
from streams.commands.progress import meter
from streams.settings.servers import KafkaSettings

WITHIN_S = 60.0
_LOOK_EVERY_S = 0.3
_ASK_WITHIN_S = 5.0


class Backlog(NamedTuple):
    """What a broker holds that is in no tree: events and other records that a worker has still to deal with, events
    that wait for their item, dead letters.
    """

    events: int
    others: int
    waiting: int
    dead: int

    @property
    def unfolded(self) -> int:
        """Records that a worker has still to deal with."""
        return self.events + self.others


async def backlog(kafka: KafkaSettings, admin: Admin) -> Backlog:
    """Count it. One reading suffices: a worker sends what follows from an event before it commits the event."""
    others = [kafka.items_topic, *kafka.derived_topics]
    read = [*kafka.event_topics, *others, kafka.unresolved_topic]
    dead = [f"{topic}.dead" for topic in read]
    lags = await admin.lag(kafka.group, [*read, *dead])

    def behind(topics: Iterable[str]) -> int:
        return sum(one.lag for one in lags if one.topic in set(topics))

    return Backlog(behind(kafka.event_topics), behind(others), behind([kafka.unresolved_topic]), behind(dead))


def lost(left: Backlog | None, late: str = "") -> list[str]:
    """What goes with the broker, in lines; `late` says why records were not folded, None that it could not be asked."""
    if left is None:
        return ["how much was not folded could not be asked: it is lost with the broker"]
    lines = []
    if left.unfolded:
        records = [_count(left.events, "event")] if left.events else []
        records += [_count(left.others, "other record")] if left.others else []
        lines.append(f"{' and '.join(records)} not folded{late}: lost with the broker")
    others = [_count(left.waiting, "event") + " that waited for an item"] if left.waiting else []
    others += [_count(left.dead, "dead letter")] if left.dead else []
    return [*lines, f"{' and '.join(others)}: gone with the broker"] if others else lines


class LastFold:
    """One stack's last fold, `within_s` seconds long at most; with `bar` it shows how far it is."""

    def __init__(self, console: Console, within_s: float = WITHIN_S) -> None:
        self._console, self._within_s = console, within_s
        self.bar = True
        self._left: Backlog | None = None
        self._skipped: asyncio.Event | None = None

    def skip(self) -> bool:
        """Wait no longer; False where nothing waits, or was told so already."""
        if self._skipped is None or self._skipped.is_set():
            return False
        self._skipped.set()
        return True

    async def run(self, stack: Stack) -> None:
        """Take no more events and wait until those that were taken are folded; say what goes with the broker."""
        if not stack.forgets:
            return
        self._skipped = asyncio.Event()
        folding = asyncio.create_task(self._fold(stack))
        others = [asyncio.create_task(self._skipped.wait()), asyncio.create_task(stack.failed())]
        try:
            await asyncio.wait({folding, *others}, return_when=asyncio.FIRST_COMPLETED)
            self._say(folding, skipped=self._skipped.is_set())
        finally:
            for task in (folding, *others):
                task.cancel()
            await asyncio.gather(folding, *others, return_exceptions=True)
            self._skipped = None

    async def count_lost(self, stack: Stack, failure: PartFailed) -> None:
        """Say how many events go with the broker where a part's failure ends the stack."""
        if not stack.forgets:
            return
        if failure.part == "broker":
            lag = await stack.reported_lag()
            if lag is not None:
                self._print(f"the worker had still {lag:,} records to deal with, which are gone with the broker")
            return
        looking = asyncio.create_task(self._look(stack))
        await asyncio.wait({looking}, timeout=_ASK_WITHIN_S)
        self._say(looking, skipped=False)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    async def _fold(self, stack: Stack) -> None:
        if self._within_s <= 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ASK_WITHIN_S):
                    await self._look(stack)
            return
        async with asyncio.timeout(self._within_s):
            await stack.close_intake()
            most = (await self._look(stack)).unfolded
            if not most:
                return
            self._print("the broker forgets when it ends, so what it has taken is folded first; again: without")
            with meter(self._console if self.bar else Console(quiet=True), "folding", most) as bar:
                while left := (await self._look(stack)).unfolded:
                    most = max(most, left)
                    bar.to(most - left, most)
                    await asyncio.sleep(_LOOK_EVERY_S)
                bar.to(most)

    async def _look(self, stack: Stack) -> Backlog:
        """Count until it succeeds: a broker on a busy machine may be slow to answer."""
        while True:
            try:
                async with admin_of(stack.settings) as admin:
                    self._left = await backlog(stack.settings.kafka, admin)
            except RetryableError:
                await asyncio.sleep(_LOOK_EVERY_S)
            else:
                return self._left

    def _say(self, folding: asyncio.Task[Any], *, skipped: bool) -> None:
        error = folding.exception() if folding.done() and not folding.cancelled() else None
        if error is not None and not isinstance(error, TimeoutError):
            raise error
        late = f" within {self._within_s:g} s" if error is not None else ", as asked" if skipped else ""
        for line in lost(self._left, late):
            self._print(line)

    def _print(self, line: str) -> None:
        self._console.print(Text(f"  {line}", "yellow"))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

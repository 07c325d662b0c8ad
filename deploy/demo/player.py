"""Plays items and events into the stack, waits until the worker has dealt with them, and keeps count."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import monotonic, time
from typing import NamedTuple

import httpx
from rich.console import Console

from deploy.demo.accounts import ReportedCounts, read_counters
from deploy.demo.live import LiveCounts, read_live
from streams.base.errors import FatalError
from streams.broker.admin import Admin
from streams.commands.event_log import Timed, moved
from streams.commands.json_lines import read_lines
from streams.commands.progress import Meter, meter
from streams.commands.sender import Sender
from streams.events.drafts import Drafts, Line, draft_events, draft_items, topic_of_type
from streams.settings.service import Settings

_BATCH = 500
_CHECK_EVERY_S = 0.2
_STALLED_S = 90.0
_LEARNED_WITHIN_S = 10.0


class DemoFailed(FatalError):
    """Something the demo promises did not come about."""


class MetricsPages(NamedTuple):
    """Where worker and learner serve their metrics."""

    worker: str
    learner: str


class Player:
    """One run's sending and counting.

    `sent` counts records by topic, `users` the events of each user, `refused` the lines that the parser would not
    take, by reason: those are never sent. All times are moved by `shift_ms`.
    """

    def __init__(
        self, settings: Settings, sender: Sender, admin: Admin, pages: MetricsPages, console: Console, shift_ms: int
    ) -> None:
        self._settings, self._sender, self._admin = settings, sender, admin
        self._pages, self._console, self._shift_ms = pages, console, shift_ms
        self._http = httpx.AsyncClient(trust_env=False, timeout=10.0)
        self.sent: Counter[str] = Counter()
        self.users: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    async def close(self) -> None:
        """Let go of connections."""
        await self._http.aclose()

    @property
    def items_sent(self) -> int:
        """Items sent so far."""
        return self.sent[self._settings.kafka.items_topic]

    @property
    def produced(self) -> int:
        """Events sent so far."""
        return self.sent.total() - self.items_sent

    async def items(self, path: Path) -> None:
        """Send a catalogue and wait until all of it is described. Raises DemoFailed where that does not happen."""
        topic = self._settings.kafka.items_topic
        lines = read_lines(path)
        while chunk := [self._moved(line) for line in islice(lines, _BATCH)]:
            await self._send(draft_items(chunk, topic, _now_ms(), check=True))
        await self._until_all("items", self.items_sent, lambda seen: seen.items + seen.dead_items)

    async def events(self, entries: Iterator[Timed], label: str) -> float:
        """Send events, wait until the way of each has ended, and give the seconds that took."""
        began_s = monotonic()
        before = self.produced
        choose = self._settings.kafka.event_topics

        while chunk := [self._moved(entry.line) for entry in islice(entries, _BATCH)]:
            drafts = draft_events(chunk, lambda kind: topic_of_type(kind, choose), _now_ms(), check=True)
            await self._send(drafts)
            self.users.update((draft.key or b"").decode() for draft in drafts.ready)
        await self._until_all(label, self.produced - before, lambda seen: seen.ended - before)
        return monotonic() - began_s

    async def counted(self) -> ReportedCounts:
        """The worker's counters as they are now."""
        answer = await self._http.get(self._pages.worker)
        return read_counters(answer.text, self._settings.kafka.items_topic)

    async def live(self) -> LiveCounts:
        """The learner's figures once it has caught up, or after some seconds: they are no part of the accounts."""
        end_s = monotonic() + _LEARNED_WITHIN_S
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            counts = read_live((await self._http.get(self._pages.learner)).text)
            if not counts.behind or monotonic() > end_s:
                return counts

    def _moved(self, line: Line) -> Line:
        return Line(line.number, moved(line.body, self._shift_ms))

    async def _send(self, drafts: Drafts) -> None:
        self.refused.update(one.reason for one in drafts.refused)
        await self._sender.send(drafts.ready)
        self.sent.update(draft.topic for draft in drafts.ready)

    async def _until_all(self, label: str, total: int, done: Callable[[ReportedCounts], int]) -> None:
        """Wait until as many are done as were sent, and committed. DemoFailed after long standstill."""
        with meter(self._console, label, total) as bar:
            await self._until(label, total, done, bar)
        await self._committed()

    async def _until(self, label: str, total: int, done: Callable[[ReportedCounts], int], bar: Meter) -> None:
        most, since_s = -1, monotonic()
        while most < total:
            now = done(await self.counted())
            bar.to(min(now, total))
            if now > most:
                most, since_s = now, monotonic()
            elif monotonic() - since_s > _STALLED_S:
                raise DemoFailed(f"{label}: {most:,} of {total:,} done, and nothing more for {_STALLED_S:.0f} s")
            if most < total:
                await asyncio.sleep(_CHECK_EVERY_S)

    async def _committed(self) -> None:
        kafka = self._settings.kafka
        topics: Sequence[str] = [*kafka.event_topics, kafka.unresolved_topic, kafka.items_topic]
        end_s = monotonic() + _STALLED_S
        while any(one.lag for one in await self._admin.lag(kafka.group, topics)):
            if monotonic() > end_s:
                raise DemoFailed(f"the worker's offsets were not committed within {_STALLED_S:.0f} s")
            await asyncio.sleep(_CHECK_EVERY_S)


def _now_ms() -> int:
    return int(time() * 1000)

"""The dashboards' numbers without a Prometheus: this process scrapes the services itself, and keeps the last hour.

It scrapes whether somebody looks or not, so that what went before a look is there: every process of the API then has
the same hour. It reads only the metrics that the dashboards ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import httpx
import structlog
from prometheus_client.parser import text_string_to_metric_families

from streams.api.bounded_body import PLAIN, bounded_body
from streams.api.panel_sources import JobState, SourceName, Unanswered
from streams.base.background import end
from streams.base.clock import now_ms
from streams.base.credentials import without_credentials
from streams.base.jobs import JOBS, Job
from streams.dashboards.catalogue import DASHBOARDS
from streams.dashboards.evaluate import Curve, Grid, evaluate
from streams.dashboards.history import MOST_SERIES, History, Sample
from streams.dashboards.jobs import UP, metrics_of
from streams.dashboards.queries import Query

log = structlog.get_logger(__name__)

KEPT_S: Final = 3600.0
MOST_BYTES: Final = 8 << 20
MOST_LINE: Final = 4096
_ANSWER_WITHIN_S: Final = 4.0
_SELF: Final[Job] = "api"
_NOT_YET: Final = "was not scraped yet"
#: The names of all samples that a query of the catalogue reads.
WANTED: Final = frozenset(
    name for board in DASHBOARDS for panel in board.panels for line in panel.lines for name in metrics_of(line.query)
)


class Target(NamedTuple):
    """One page of metrics; without an address it is this process's own."""

    job: Job
    url: str | None

    @property
    def labels(self) -> dict[str, str]:
        """The labels that its samples get, as in Prometheus."""
        instance = "this process" if self.url is None else httpx.URL(self.url).netloc.decode("ascii", "replace")
        return {"job": self.job, "instance": instance}


class NotRead(Exception):
    """A page of metrics could not be read; the message says why."""


class ScrapedSource:
    """Scrapes `urls` (addresses by job, several parted by commas) and, unless they name it, this API's own page.

    `own_page` gives that page; `failed` is called with the job for each scrape that was not answered.
    """

    name: SourceName = "scrapes"
    kept_s: float | None = KEPT_S

    def __init__(
        self, urls: Mapping[Job, str], *, every_s: float, own_page: Callable[[], bytes], failed: Callable[[str], None],
        clock_ms: Callable[[], int] = now_ms, transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        self._targets = [Target(job, url.strip()) for job, some in urls.items() for url in some.split(",")]
        if _SELF not in urls:
            self._targets.append(Target(_SELF, None))
        self._every_s, self._own_page, self._failed, self._clock_ms = every_s, own_page, failed, clock_ms
        self._history = History(keep_s=KEPT_S, every_s=every_s)
        self._wrong: dict[Target, str | None] = dict.fromkeys(self._targets, _NOT_YET)
        self._full = False
        self._running: asyncio.Task[None] | None = None
        self._within_s = min(_ANSWER_WITHIN_S, every_s)
        self._http = httpx.AsyncClient(
            timeout=self._within_s, headers=PLAIN, trust_env=False, transport=transport,
            limits=httpx.Limits(max_keepalive_connections=0),  # Triton would wait for their end before it stops
        )  # fmt: skip

    def start(self) -> None:
        """Begin to scrape."""
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop."""
        await end(self._running)
        await self._http.aclose()

    async def ask(self, queries: Sequence[Query], grid: Grid) -> list[Sequence[Curve] | Unanswered]:
        """The lines of each query at the moments of `grid`."""
        found: list[Sequence[Curve] | Unanswered] = []
        for query in queries:
            found.append(evaluate(query, self._history.select, grid))
            await asyncio.sleep(0)  # a dashboard takes some ten ms: others have their turn
        return found

    async def jobs(self) -> Mapping[Job, JobState]:
        """The jobs that are scraped, as of the last scrape."""
        states: dict[Job, JobState] = {}
        for job in JOBS:
            mine = [self._wrong[target] for target in self._targets if target.job == job]
            if mine:
                states[job] = JobState(len(mine), mine.count(None), next((why for why in mine if why), ""))
        return states

    async def scrape(self) -> None:
        """Read every target once."""
        await asyncio.gather(*(self._scrape(target) for target in self._targets))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self.scrape()
            due = max(due + self._every_s, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _scrape(self, target: Target) -> None:
        labels, at_ms = target.labels, self._clock_ms()
        try:
            page = await self._page(target)
            samples = await asyncio.to_thread(samples_of, page)
        except NotRead as error:
            self._history.add(at_ms, labels, [Sample(UP, {}, 0.0)])
            self._failed(target.job)
            if self._wrong[target] in {None, _NOT_YET}:
                log.warning("not_scraped", job=target.job, address=_shown(target), reason=str(error))
            self._wrong[target] = f"{_shown(target)} {error}"
        else:
            left_out = self._history.add(at_ms, labels, [Sample(UP, {}, 1.0), *samples])
            if left_out and not self._full:
                log.warning("series_left_out", job=target.job, series=left_out, kept=len(self._history))
            self._full = left_out > 0
            self._wrong[target] = None

    async def _page(self, target: Target) -> bytes:
        if target.url is None:
            return await asyncio.to_thread(self._own_page)
        try:
            async with asyncio.timeout(self._within_s), self._http.stream("GET", target.url) as response:
                if response.status_code != httpx.codes.OK:
                    raise NotRead(f"answers with status {response.status_code}")
                if (body := await bounded_body(response, MOST_BYTES)) is None:
                    raise NotRead(f"has more than {MOST_BYTES} bytes")
                return body
        except (TimeoutError, httpx.TimeoutException) as error:
            raise NotRead("did not answer in time") from error
        except httpx.HTTPError as error:
            raise NotRead("does not answer") from error


def samples_of(page: bytes, wanted: frozenset[str] = WANTED) -> list[Sample]:
    """The samples of a page of metrics whose names are wanted.

    NotRead where it is no such page, has more than MOST_SERIES of them, or one longer than MOST_LINE characters.
    """
    lines = page.decode("utf-8", "replace").splitlines()
    asked = [line for line in lines if line.partition(" ")[0].partition("{")[0] in wanted]
    if lines and not asked and not any(line.startswith("# TYPE ") for line in lines):
        raise NotRead("is no page of metrics")
    if len(asked) > MOST_SERIES:
        raise NotRead(f"has {len(asked)} series for the dashboards, and {MOST_SERIES} are taken at most")
    if any(len(line) > MOST_LINE for line in asked):
        raise NotRead(f"has a series with more than {MOST_LINE} characters")
    try:
        families = list(text_string_to_metric_families("\n".join(asked) + "\n"))
    except ValueError as error:
        raise NotRead("is no page of metrics") from error
    return [Sample(one.name, one.labels, one.value) for family in families for one in family.samples]


def _shown(target: Target) -> str:
    return "this process" if target.url is None else without_credentials(target.url)

"""The dashboards' numbers: each panel's lines over a range of time, its state now, and why it has none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from streams.api.dashboard_models import (
    DashboardInfo,
    DashboardList,
    DashboardSeries,
    JobStatus,
    PanelInfo,
    PanelLine,
    PanelSeries,
    RangeName,
    State,
)
from streams.api.panel_sources import JobState, PanelSource, Unanswered
from streams.base.caches import BoundedCache
from streams.base.jobs import JOBS, Job
from streams.dashboards.catalogue import DASHBOARDS
from streams.dashboards.evaluate import Curve, Grid
from streams.dashboards.history import Floats
from streams.dashboards.jobs import counted_by, jobs_of
from streams.dashboards.panels import Dashboard, Panel
from streams.dashboards.queries import Query

MOST_LINES: Final = 10
#: How many lines a panel has at most with those that stood at 0 all the while.
_QUIET_UP_TO: Final = 4
#: Of each range its length and the distance of its moments, in seconds: 241 at most.
RANGES: Final[dict[RangeName, tuple[int, int]]] = {
    "5m": (300, 5), "1h": (3600, 15), "6h": (21_600, 90), "24h": (86_400, 360), "7d": (604_800, 2520),
}  # fmt: skip
_SCRAPES_A_WINDOW: Final = 4  # as Grafana's $__rate_interval: one that is missed makes no gap
_LATE_S: Final = 15  # a picture's end lies behind the clock by as much at most
_KEPT_ANSWERS: Final = 32

_Answer = Sequence[Curve] | Unanswered
_Key = tuple[str, RangeName, int]


class _Named(NamedTuple):
    name: str
    values: list[float | None]
    now: float | None


class DashboardReader:
    """Reads dashboards from a source whose jobs are scraped every `every_s` seconds.

    What was read is kept for as long as its moments stay the newest, and who asks while it is read waits for the same
    answer, so that a wall of screens asks once.
    """

    def __init__(self, source: PanelSource, *, every_s: float, runbook_url: str | None = None) -> None:
        self.source, self._every_s, self._runbook_url = source, every_s, runbook_url
        self._read: BoundedCache[_Key, DashboardSeries] = BoundedCache(_KEPT_ANSWERS, ttl_s=_LATE_S)
        self._reading: dict[_Key, asyncio.Task[DashboardSeries]] = {}

    def catalogue(self) -> DashboardList:
        """All dashboards, without numbers."""
        return DashboardList(
            source=self.source.name, kept_s=self.source.kept_s, runbook_url=self._runbook_url,
            dashboards=[_info(board) for board in DASHBOARDS],
        )  # fmt: skip

    async def read(self, board: Dashboard, name: RangeName, now_ms: int) -> DashboardSeries:
        """A dashboard's numbers over a range that ends now. Raises ApiProblem 503 where the source is away."""
        grid = grid_of(name, self._every_s, now_ms)
        key = (board.key, name, grid.end_ms)
        if (found := self._read.get(key)) is not None:
            return found
        if (reading := self._reading.get(key)) is None:
            reading = self._reading[key] = asyncio.create_task(self._make(board, name, grid, key))
            reading.add_done_callback(lambda _: self._reading.pop(key))
        return await asyncio.shield(reading)  # one who leaves takes it from no other

    async def _make(self, board: Dashboard, name: RangeName, grid: Grid, key: _Key) -> DashboardSeries:
        queries = [line.query for panel in board.panels for line in panel.lines]
        answers = await self.source.ask(queries, grid)
        latest = await self._latest(queries, answers, grid)
        counted = await self._counted(queries, answers, grid)
        jobs = await self.source.jobs()
        panels, at = [], 0
        for panel in board.panels:
            end = at + len(panel.lines)
            panels.append(_panel(panel, answers[at:end], latest[at:end], jobs, counted=any(counted[at:end])))
            at = end
        made = DashboardSeries(
            key=board.key, range=name, from_ms=grid.start_ms, until_ms=grid.end_ms, step_ms=grid.step_ms,
            jobs=[
                JobStatus(job=job, known=jobs[job].known, up=jobs[job].up, reason=jobs[job].reason or None)
                for job in JOBS if job in jobs
            ],
            panels=panels,
        )  # fmt: skip
        self._read.put(key, made)
        return made

    async def _counted(self, queries: Sequence[Query], answers: Sequence[_Answer], grid: Grid) -> list[bool]:
        """Whether what each query asks for is counted at all, though there may be nothing of it to draw."""
        found = [not isinstance(answer, Unanswered) and bool(answer) for answer in answers]
        asked = {at: counted for at, query in enumerate(queries) if not found[at] and (counted := counted_by(query))}
        for at, answer in zip(asked, await self.source.ask(list(asked.values()), grid) if asked else (), strict=True):
            found[at] = not isinstance(answer, Unanswered) and bool(answer)
        return found

    async def _latest(self, queries: Sequence[Query], answers: Sequence[_Answer], grid: Grid) -> Sequence[_Answer]:
        """The answers for the last moment alone: over a long range a rate is a mean of much more than now."""
        window_ms = int(self._every_s * _SCRAPES_A_WINDOW * 1000)
        if grid.window_ms <= window_ms:
            return answers
        return await self.source.ask(queries, Grid(grid.end_ms, grid.end_ms, grid.step_ms, window_ms))


def grid_of(name: RangeName, every_s: float, now_ms: int) -> Grid:
    """The moments of a range that ends now, and the window of their rates.

    The moments are multiples of a few seconds, so that a picture keeps its form when it moves on.
    """
    length_s, step_s = RANGES[name]
    step_ms = max(step_s * 1000, int(every_s * 1000))
    align_ms = min(step_ms, _LATE_S * 1000)
    end_ms = now_ms // align_ms * align_ms
    window_ms = max(int(every_s * _SCRAPES_A_WINDOW * 1000), step_ms + int(every_s * 1000))
    return Grid(end_ms - length_s * 1000 // step_ms * step_ms, end_ms, step_ms, window_ms)


def board_of(key: str) -> Dashboard | None:
    """A dashboard by its key."""
    return next((board for board in DASHBOARDS if board.key == key), None)


def _info(board: Dashboard) -> DashboardInfo:
    panels = [
        PanelInfo(
            key=panel.key, title=panel.title, about=panel.about, unit=panel.unit, warn=panel.warn, bad=panel.bad,
            below=panel.below, runbook=panel.runbook, queries=[line.query.promql() for line in panel.lines],
        )
        for panel in board.panels
    ]  # fmt: skip
    return DashboardInfo(key=board.key, title=board.title, about=board.about, panels=panels)


def _panel(
    panel: Panel, answers: Sequence[_Answer], latest: Sequence[_Answer], jobs: Mapping[Job, JobState], *, counted: bool
) -> PanelSeries:
    lines = [
        named
        for line, answer, now in zip(panel.lines, answers, latest, strict=True)
        for named in _named(line.legend, answer, now)
    ]
    shown = _shown(lines, below=panel.below, quiet=1 if panel.hide_zero else _QUIET_UP_TO)
    values = [line.now for line in lines if line.now is not None]
    refused = next((answer.reason for answer in answers if isinstance(answer, Unanswered)), None)
    return PanelSeries(
        key=panel.key,
        state=_state(panel, values),
        reason=None if values else refused or _why_none(panel, jobs, counted=counted),
        lines=[PanelLine(name=line.name, now=line.now, values=line.values) for line in shown],
        left_out=len(lines) - len(shown),
        left_out_at_zero=not any(any(line.values) for line in lines if line not in shown),
    )


def _shown(lines: Sequence[_Named], *, below: bool, quiet: int) -> list[_Named]:
    """The lines that went farthest, `below`: down, else up, in the order of the panel and of their names.

    Those at 0 all the while are among them only where they are `quiet` lines or fewer with the others: one stays at
    least, since that nothing went wrong is not the same as that nothing is known.
    """

    def reach(line: _Named) -> float:
        values = [value for value in line.values if value is not None]
        return min(values) if below else -max(values)

    kept = sorted(lines, key=reach)[:MOST_LINES]
    while len(kept) > quiet and not any(kept[-1].values):
        kept.pop()
    return [line for line in lines if line in kept]


def _named(legend: str, answer: _Answer, latest: _Answer) -> list[_Named]:
    if isinstance(answer, Unanswered):
        return []
    now = {} if isinstance(latest, Unanswered) else {_name(legend, one.labels): one.values[-1] for one in latest}
    found = [
        _Named(_name(legend, one.labels), _nullable(one.values), _finite(now.get(_name(legend, one.labels))))
        for one in answer
    ]
    return sorted(found, key=lambda one: one.name)


def _name(legend: str, labels: Mapping[str, str]) -> str:
    """What a line is called: its legend with the labels' values in place of their names."""
    for label, value in labels.items():
        legend = legend.replace(f"{{{label}}}", value)
    return legend


def _nullable(values: Floats) -> list[float | None]:
    return [_finite(value) for value in values.tolist()]


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _state(panel: Panel, values: Sequence[float]) -> State:
    if not values:
        return "none"
    if panel.warn is None and panel.bad is None:
        return "unjudged"
    worst = min(values) if panel.below else max(values)
    if _reached(worst, panel.bad, below=panel.below):
        return "bad"
    return "warn" if _reached(worst, panel.warn, below=panel.below) else "well"


def _reached(value: float, bound: float | None, *, below: bool) -> bool:
    return bound is not None and (value < bound if below else value >= bound)


def _why_none(panel: Panel, jobs: Mapping[Job, JobState], *, counted: bool) -> str:
    """Why a panel has no value now: who should count it is not scraped, does not answer, or has not counted it."""
    asked = {job for line in panel.lines for job in jobs_of(line.query)}
    known = [job for job in JOBS if job in asked and job in jobs]
    if not known:
        names = " and ".join(job for job in JOBS if job in asked)
        return f"Nobody scrapes {names}: Prometheus has no such job, or `api.metrics_urls` does not name it."
    down = [job for job in known if not jobs[job].up]
    if down:
        why = next((f": {jobs[job].reason}" for job in down if jobs[job].reason), "")
        return f"No answer to scrapes of {' and '.join(down)}{why}."
    return "There was nothing to count just now." if counted else f"Not counted yet by {' or '.join(known)}."

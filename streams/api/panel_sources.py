"""Where the dashboards' numbers come from: what a source of them can be asked, and what it says of its jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from streams.base.jobs import Job
from streams.dashboards.evaluate import Curve, Grid
from streams.dashboards.queries import Query

SourceName: TypeAlias = Literal["prometheus", "scrapes"]


class JobState(NamedTuple):
    """How many processes of a job are scraped, how many answered last, and, of those that did not, why."""

    known: int
    up: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A query that the source refused, in words for whoever looks."""

    reason: str


class PanelSource(Protocol):
    """Answers queries over time. Only queries of the catalogue reach it."""

    name: SourceName
    kept_s: float | None
    """How far back it goes, in seconds; None where that is for the source to know."""

    def start(self) -> None:
        """Begin to work, inside the loop that serves; nothing is waited for."""

    async def ask(self, queries: Sequence[Query], grid: Grid) -> list[Sequence[Curve] | Unanswered]:
        """The lines of each query, in order. Raises ApiProblem 503 where the source is away."""

    async def jobs(self) -> Mapping[Job, JobState]:
        """The jobs that are scraped. Raises ApiProblem 503 where the source is away."""

    async def close(self) -> None:
        """Let go of connections and tasks."""

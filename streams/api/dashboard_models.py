"""The dashboards as the API answers them: what there is, and its numbers over time."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field

from streams.api.panel_sources import SourceName
from streams.base.jobs import Job
from streams.dashboards.panels import Unit

RangeName: TypeAlias = Literal["5m", "1h", "6h", "24h", "7d"]
State: TypeAlias = Literal["well", "warn", "bad", "unjudged", "none"]


class PanelInfo(BaseModel):
    """A picture over time, and from which values on it is no longer well."""

    key: str
    title: str
    about: str
    unit: Annotated[
        Unit, Field(description="Of all its numbers; `per_s`: a second, `share`: of 1, `us`: microseconds.")
    ]
    warn: float | None = None
    bad: float | None = None
    below: Annotated[bool, Field(description="`warn` and `bad` are values under which it is no longer well.")]
    runbook: Annotated[str, Field(description="Anchor of its entry in docs/operations.md; empty where there is none.")]
    queries: Annotated[list[str], Field(description="What is asked, in PromQL.")]


class DashboardInfo(BaseModel):
    """Panels that are looked at together."""

    key: str
    title: str
    about: str
    panels: list[PanelInfo]


class DashboardList(BaseModel):
    """All dashboards."""

    source: Annotated[
        SourceName, Field(description="A Prometheus, or what this process scraped itself (`api.metrics_urls`).")
    ]
    kept_s: Annotated[
        float | None, Field(description="How far back the source goes; null: as far as Prometheus does.")
    ] = None
    runbook_url: Annotated[str | None, Field(description="Where docs/operations.md is served: `api.runbook_url`.")] = (
        None
    )
    dashboards: list[DashboardInfo]


class PanelLine(BaseModel):
    """One line of a panel."""

    name: str
    now: Annotated[float | None, Field(description="Its latest value; null where there is none now.")]
    values: Annotated[list[float | None], Field(description="One a moment; null where there is none.")]


class PanelSeries(BaseModel):
    """A panel's lines over time, and how it stands now."""

    key: str
    state: Annotated[
        State,
        Field(
            description="Of its values now, the worst; `unjudged`: it has no thresholds, `none`: it has no value now."
        ),
    ]
    reason: Annotated[str | None, Field(description="Why it has no value now.")] = None
    lines: list[PanelLine]
    left_out: Annotated[int, Field(description="Lines that are not among these: they went less far.")] = 0
    left_out_at_zero: Annotated[bool, Field(description="Whether those stood at 0 all the while.")] = True


class JobStatus(BaseModel):
    """Whether the processes of a job are scraped, and answer."""

    job: Job
    known: Annotated[int, Field(description="Processes that are scraped.")]
    up: Annotated[int, Field(description="Of these, those that answered last.")]
    reason: Annotated[str | None, Field(description="Why one did not.")] = None


class DashboardSeries(BaseModel):
    """A dashboard's numbers at `from_ms`, `from_ms + step_ms`, … `until_ms`."""

    key: str
    range: RangeName
    from_ms: int
    until_ms: int
    step_ms: int
    jobs: list[JobStatus]
    panels: list[PanelSeries]

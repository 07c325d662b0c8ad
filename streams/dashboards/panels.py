"""Panels and dashboards: what they show, in which unit, from which value on it is bad, and where to read what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from streams.dashboards.queries import Query

#: What the numbers of a panel are: seconds, microseconds, bytes, a rate a second, a share of 1, or plain numbers.
Unit: TypeAlias = Literal["s", "us", "bytes", "per_s", "share", "number"]

#: The promise that events are in a tree within a fraction of a second, as the 99th percentile of the age at apply.
AGE_PROMISE_S: Final = 1.0
#: Events that waited for their item are late by their own doing: the alerts leave their topic out as well.
WAITED: Final = {"topic": "events.unresolved"}
#: A rate from which on something happens at all: once in a quarter of an hour.
ANY_PER_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Line:
    """One query, and what its lines are called: `{label}` stands for a label's value."""

    query: Query
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A picture over time. `warn` and `bad` are values from which on (`below`: under which) it is no longer well.

    `runbook` is the anchor of an entry of docs/operations.md. Where there may be many lines, `hide_zero` leaves out
    those that are 0 throughout.
    """

    key: str
    title: str
    about: str
    unit: Unit
    lines: tuple[Line, ...]
    warn: float | None = None
    bad: float | None = None
    below: bool = False
    runbook: str = ""
    hide_zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Panels that are looked at together."""

    key: str
    title: str
    about: str
    panels: tuple[Panel, ...]

"""The accounts of the demo: what was produced, what the worker reports of it, what the trees themselves remember."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf

from prometheus_client.parser import text_string_to_metric_families

#: Outcomes that end an event's way; `redelivered` and `unresolved` come before or after one of them.
RING_ENTRY_BYTES = 10
ENDED = ("applied", "duplicate", "erased")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedCounts:
    """A worker's counters; `ages` is the histogram of age at apply: events at most so many seconds old."""

    outcomes: Mapping[str, int] = field(default_factory=dict)
    dead: int = 0
    dead_items: int = 0
    items: int = 0
    nodes: int = 0
    ages: Mapping[float, float] = field(default_factory=dict)

    @property
    def ended(self) -> int:
        """Events whose way has ended: applied, known before, erased, or in the dead letters."""
        return sum(self.outcomes.get(outcome, 0) for outcome in ENDED) + self.dead


def read_counters(text: str, items_topic: str) -> ReportedCounts:
    """The counters from a worker's metrics page."""
    outcomes: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    ages: Counter[float] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "interests_events_total":
                outcomes[sample.labels["outcome"]] += int(sample.value)
            elif sample.name == "interests_dead_letters_total":
                sums["dead_items" if sample.labels["topic"] == items_topic else "dead"] += int(sample.value)
            elif sample.name in ("interests_items_total", "interests_nodes_written_total"):
                sums[sample.name] += int(sample.value)
            elif sample.name == "interests_age_at_apply_seconds_bucket":
                ages[float(sample.labels["le"])] += int(sample.value)
    return ReportedCounts(
        outcomes=outcomes, dead=sums["dead"], dead_items=sums["dead_items"], items=sums["interests_items_total"],
        nodes=sums["interests_nodes_written_total"], ages=ages,
    )  # fmt: skip


def quantile(cumulative: Mapping[float, float], share: float) -> float | None:
    """The value under which `share` of a histogram lies, by linear interpolation within its bucket.

    As Prometheus' histogram_quantile: in the open last bucket it is that bucket's lower bound; None when empty.
    """
    bounds = sorted(cumulative)
    total = cumulative[bounds[-1]] if bounds else 0
    if not total:
        return None
    target, below, lower = share * total, 0.0, 0.0
    for bound in bounds:
        count = cumulative[bound]
        if count >= target:
            return lower if bound == inf else lower + (bound - lower) * (target - below) / max(count - below, 1e-12)
        below, lower = count, bound
    return lower


def verdict(
    produced: int, counted: ReportedCounts, remembered: int, forgotten: Collection[str]
) -> tuple[bool, list[str]]:
    """Whether every event is accounted for and none was applied twice, and how that is known, in lines.

    `remembered` is how many different events the trees' own rings hold; `forgotten` are the users whose rings are
    full, so that theirs cannot be counted that way.
    """
    applied = counted.outcomes.get("applied", 0)
    others = {name: counted.outcomes.get(name, 0) for name in ENDED[1:]} | {"dead letters": counted.dead}
    sums = " + ".join([f"{applied:,} applied", *(f"{n:,} {name}" for name, n in others.items() if n)])
    fine = counted.ended == produced
    lines = [f"{produced:,} produced = {sums}"]
    if not fine:
        lines = [f"{produced:,} produced, but {sums}: {produced - counted.ended:+,} are not accounted for"]
    if forgotten:
        lines.append(f"{len(forgotten)} users have more events than their ring holds: the trees were not counted")
    elif remembered == applied:
        lines.append(f"the trees in Qdrant remember {remembered:,} different events: each applied one, once")
    else:
        lines.append(f"the trees in Qdrant remember {remembered:,} different events, but {applied:,} were applied")
        fine = False
    return fine, lines


def distinct(rings: Iterable[bytes]) -> int:
    """How many different events rings hold in all; an event is known by the first six bytes of its entry."""
    return sum(len({ring[at : at + 6] for at in range(0, len(ring), RING_ENTRY_BYTES)}) for ring in rings)

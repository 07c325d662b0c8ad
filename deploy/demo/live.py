"""Live quality of a demo: what the learner counted of recall@10 and reciprocal ranks, ranker by ranker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

#: The rankers that are shown, and what they are.
SHOWN: Mapping[str, str] = {
    "ours": "what is served: learned weights, or the fixed ones",
    "fixed": "the weights of the settings",
    "freshness_popularity": "fresh and popular, the same for everybody",
    "last_item": "like the last item",
}
_SUMS = {
    "interests_live_lists_total": "lists",
    "interests_live_recall_at_10_total": "recall",
    "interests_live_reciprocal_rank_total": "reciprocal",
}


class Sums(NamedTuple):
    """Lists, and the sums of their recall@10 and reciprocal ranks."""

    lists: float = 0.0
    recall: float = 0.0
    reciprocal: float = 0.0

    def since(self, before: Sums) -> Sums:
        """What came after `before`."""
        return Sums(*(now - then for now, then in zip(self, before, strict=True)))


class LiveCounts(NamedTuple):
    """A learner's figures by ranker, the version of its weights, and how many examples wait for it."""

    by_ranker: Mapping[str, Sums]
    version: int
    behind: int


def read_live(text: str) -> LiveCounts:
    """The figures from a learner's metrics page."""
    sums: defaultdict[tuple[str, str], float] = defaultdict(float)
    version = behind = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in _SUMS:
                sums[sample.labels["ranker"], _SUMS[sample.name]] += sample.value
            elif sample.name == "interests_weights_version":
                version = max(version, int(sample.value))
            elif sample.name == "interests_lag_records":
                behind += int(sample.value)
    rankers = {ranker for ranker, _ in sums}
    found = {ranker: Sums(*(sums[ranker, name] for name in Sums._fields)) for ranker in rankers}
    return LiveCounts(found, version, behind)


def table(before: LiveCounts, now: LiveCounts) -> Table:
    """Recall@10 and MRR of what came between two readings."""
    drawn = Table(box=None, padding=(0, 2, 0, 0))
    for name, justify in (("  ranked by", "left"), ("lists", "right"), ("recall@10", "right"), ("MRR", "right")):
        drawn.add_column(name, justify=justify)  # type: ignore[arg-type]  # rich spells out the literals
    drawn.add_column("")
    for ranker, about in SHOWN.items():
        of = now.by_ranker.get(ranker, Sums()).since(before.by_ranker.get(ranker, Sums()))
        means = (f"{of.recall / of.lists:.3f}", f"{of.reciprocal / of.lists:.3f}") if of.lists else ("–", "–")
        drawn.add_row(f"  {ranker}", f"{of.lists:.0f}", *means, about, style="bold" if ranker == "ours" else "")
    return drawn

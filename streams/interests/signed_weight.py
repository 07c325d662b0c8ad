"""Signed weights: how much one event says, and for or against. Pure.

s = base(type) * rating * sentiment * dwell, each factor 1 where the event has nothing to say on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.events.event import Event

#: Types that take back what another type gave.
UNDOES = {
    "unlike": "like", "undislike": "dislike", "unbookmark": "bookmark", "unfollow": "follow", "unhide": "hide"
}  # fmt: skip

DEFAULT_BASE: Mapping[str, float] = {
    "click": 1.0, "view": 0.5, "search": 1.0, "post": 2.0, "comment": 1.5, "like": 2.0, "dislike": -2.0,
    "bookmark": 2.5, "share": 2.5, "follow": 3.0, "purchase": 4.0, "rating": 3.0, "hide": -2.0,
    "impression": 1.0, "unlike": 0.0, "undislike": 0.0, "unbookmark": 0.0, "unfollow": 0.0, "unhide": 0.0, "erase": 0.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTable:
    """The constants of the signed weight.

    `comment_engagement` is what a neutral comment counts as a share of a delighted one: whoever comments is
    engaged, so a comment turns negative only under a sentiment of -e/(1 + e). `rating_neutral` is the rating that
    says nothing, on a scale that ends at 5. A view counts in full from `dwell_full_s` seconds on.
    `impression_clicked` and `impression_skipped` weigh what was shown and taken, or left. `own_text_share` is
    the event's own text in its vector, beside its item.
    """

    base: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_BASE))
    comment_engagement: float = 0.35
    rating_neutral: float = 2.75
    rating_share: float = 0.7
    dwell_full_s: float = 60.0
    impression_clicked: float = 1.0
    impression_skipped: float = -0.05
    own_text_share: float = 0.3

    def most(self) -> float:
        """The greatest weight, either way, that an event can have for one item: every other factor is at most 1."""
        shown = max(1.0, abs(self.impression_clicked), abs(self.impression_skipped))
        return shown * max(abs(weight) for weight in self.base.values())


def comment_factor(sentiment: float, engagement: float) -> float:
    """From sentiment in [-1, 1] to a factor in [-1, 1]: linear from -1 over `engagement` at 0 to 1."""
    slope = 1 - engagement if sentiment >= 0 else 1 + engagement
    return engagement + slope * sentiment


def rating_factor(rating: float, neutral: float) -> float:
    """From a rating of 0.5 to 5 to a factor in [-1, 1] that is 0 at `neutral`."""
    return max(-1.0, min(1.0, (rating - neutral) / (5.0 - neutral)))


def dwell_factor(dwell_ms: int, full_s: float) -> float:
    """From a dwell time to a factor in [0.1, 1], by the logarithm: ln(1 + d) / ln(1 + full)."""
    return max(0.1, min(1.0, math.log1p(dwell_ms / 1000.0) / math.log1p(full_s)))


def signed_weight(event: Event, sentiment: float | None, table: WeightTable) -> float:
    """The signed weight s of one event; `sentiment` is in [-1, 1], or None where the event has no text."""
    weight = table.base[event.type]
    comment = comment_factor(sentiment, table.comment_engagement) if sentiment is not None else 1.0
    has_opinion = event.type == "comment" and sentiment is not None
    if event.rating is not None:
        rating = rating_factor(event.rating, table.rating_neutral)
        weight *= table.rating_share * rating + (1 - table.rating_share) * comment if has_opinion else rating
    elif has_opinion:
        weight *= comment
    if event.dwell_ms is not None and event.type in ("view", "click"):
        weight *= dwell_factor(event.dwell_ms, table.dwell_full_s)
    return weight

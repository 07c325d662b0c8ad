"""Scores as the API answers with them: items in order, and why each has its score.

Contributions add up to the score, shares to 1.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from streams.api.models import (
    MAX_TARGETS,
    Context,
    ErasedAtMs,
    EvidenceEntry,
    ItemId,
    ReadText,
    RequestModel,
    ResponseModel,
)
from streams.events.times import not_seconds
from streams.events.wire import MAX_TS_MS, MIN_ITEM_TS_MS
from streams.interests.levels import Level
from streams.ranking.parts import Kind, Part


class Pull(ResponseModel):
    """What one node adds to a score: negative where it pushes away. `prior` marks a node of the prior.

    `attention` is what the node was weighed by among the others, 0 of a learned node, which has a feature of its own.
    """

    node_id: str
    level: Level
    path: str
    name: str
    contribution: float
    attention: float
    prior: bool = False


class RecentPull(ResponseModel):
    """What one of the person's recent items adds to a score: by nearness, by what was touched together with it, by
    what both are filed under, by its language. `weight` is the signed weight of their latest event with it."""

    item_id: str
    title: str | None = None
    ts_ms: int
    weight: float
    contribution: float


class ScoreParts(ResponseModel):
    """The parts of a score, which is their sum.

    `relevance` and `aversion` come from the tree, `recent`, `together` and `attributes` from the person's recent items
    (by nearness, by what the same people touched, by categories, tags and brand); `shares` is how much of them the
    target's topic, interest and language are; `freshness`, `popularity` and `touched` (when anybody did last) are the
    item's own; `learned` is what the learned model says. With the fixed weights all but relevance, aversion, freshness
    and popularity are 0.
    """

    relevance: float
    aversion: float
    recent: float = 0.0
    together: float = 0.0
    attributes: float = 0.0
    shares: float = 0.0
    freshness: float
    popularity: float
    touched: float = 0.0
    learned: float = 0.0


WeightsVersion = Annotated[
    int, Field(description="Version of the learned weights that the scores are made with; 0: the fixed ones.")
]
WeightsKind = Annotated[
    Kind | None,
    Field(description="Kind of lists that these weights were learned from, whose versions count by themselves."),
]


class OtherPart(ResponseModel):
    """What neither a node nor a recent item adds: a part of the score, or what is left of it."""

    part: Part
    contribution: float


class RankedItem(ResponseModel):
    """An item (or a text) with its score and parts, the nodes and recent items that made it, strongest first, and in
    `others` what neither added."""

    item_id: str | None = None
    text_index: int | None = None
    title: str | None = None
    path: str = ""
    lang: str | None = None
    ts_ms: int | None = None
    score: float
    parts: ScoreParts
    because: list[Pull] = Field(default=[])
    recents: list[RecentPull] = Field(default=[])
    others: list[OtherPart] = Field(default=[])


class Recommendations(ResponseModel):
    """Items for a user, best first."""

    user_id: str
    at_ms: int
    prior: bool = False
    erased_at_ms: ErasedAtMs = None
    weights_version: WeightsVersion = 0
    weights_kind: WeightsKind = None
    items: list[RankedItem] = Field(default=[])


class RankRequest(RequestModel):
    """What to put in order: items by id or texts, `MAX_TARGETS` together at most."""

    items: list[ItemId] = Field(default=[], max_length=MAX_TARGETS)
    texts: list[ReadText] = Field(default=[], max_length=64)
    context: Context = Field(default={}, max_length=16)
    at_ms: Annotated[int | None, BeforeValidator(not_seconds)] = Field(default=None, ge=MIN_ITEM_TS_MS, lt=MAX_TS_MS)


class Ranking(ResponseModel):
    """The targets in order; `unknown` are items that nobody has described."""

    user_id: str
    at_ms: int
    prior: bool = False
    erased_at_ms: ErasedAtMs = None
    weights_version: WeightsVersion = 0
    weights_kind: WeightsKind = None
    items: list[RankedItem] = Field(default=[])
    unknown: list[str] = Field(default=[])


class ExplainedPull(Pull):
    """A node's contribution with the events behind it."""

    share: float
    evidence: list[EvidenceEntry] = Field(default=[])


class ExplainedRecent(RecentPull):
    """A recent item's contribution, and its share of all that moved the score."""

    share: float


class ExplainedPart(OtherPart):
    """What neither a node nor a recent item adds, and its share of all that moved the score."""

    share: float


class FeatureValue(ResponseModel):
    """A feature of the target's row: its value times its weight is what it adds to the score."""

    name: str
    part: Part
    value: float
    weight: float


class Explanation(ResponseModel):
    """Why an item has its score: the contributions of `pulls`, `recents` and `others` add up to it, their shares to 1.

    `features` is the whole row, feature by feature.
    """

    user_id: str
    item_id: str
    title: str | None = None
    path: str = ""
    at_ms: int
    prior: bool = False
    erased_at_ms: ErasedAtMs = None
    weights_version: WeightsVersion = 0
    weights_kind: WeightsKind = None
    score: float
    parts: ScoreParts
    pulls: list[ExplainedPull] = Field(default=[])
    recents: list[ExplainedRecent] = Field(default=[])
    others: list[ExplainedPart] = Field(default=[])
    features: list[FeatureValue] = Field(default=[])

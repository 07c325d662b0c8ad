"""The settings of what is computed: nodes, weights, waiting for items, the score, the population. See `service.py`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from streams.base.errors import ConfigurationError
from streams.interests.contexts import vocabulary
from streams.interests.nodes import Level, NodePolicy
from streams.interests.priors import PriorPolicy
from streams.interests.score import DEFAULT_LEVELS, RankPolicy
from streams.interests.signed_weight import DEFAULT_BASE, WeightTable
from streams.interests.together import PartnerPolicy

_DAY_S = 86_400.0
_HALF_LIVES: dict[Level, float] = {
    "profile": 60 * _DAY_S, "topic": 21 * _DAY_S, "interest": 7 * _DAY_S,
    "session": 1800.0, "context": 30 * _DAY_S, "aversion": 30 * _DAY_S,
    "learned": 30 * _DAY_S,
}  # fmt: skip

#: More values by name in `context`: every value is a node of each tree, or a cohort.
ContextValues = dict[
    str, Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(max_length=64)]
]
_VALUES = 'Values to know by name, beside those of docs/events.md, as `{"place": ["home", "work"]}`.'


class Section(BaseModel):
    """A section of the settings: frozen, and a name it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class NodeSettings(Section):
    """The hierarchy of interests."""

    half_life_s: dict[Level, float] = Field(_HALF_LIVES, description="Half-life of each level, in seconds.")
    expire_below: float = Field(0.01, gt=0, description="Mass under which a node has expired.")
    faint_below: float = Field(
        0.1, ge=0, description="Evidence of less weight reaches the profile and the session only."
    )
    evidence_length: int = Field(8, ge=0, le=64, description="Strongest contributions a node keeps.")
    ring_length: int = Field(
        256, ge=1, le=4096, description="Event ids a profile keeps: how far back a producer's duplicate is caught."
    )
    marks_length: int = Field(
        128, ge=1, le=1024, description="Likes and what else can be taken back, and takings back, kept."
    )
    seen_length: int = Field(
        512, ge=0, le=8192, description="Items a profile keeps as seen: how far back recommendations leave them out."
    )
    votes_length: int = Field(
        64, ge=1, le=1024,
        description="Votes for items that a profile keeps a topic: what one person counts for, at most, in popularity.",
    )  # fmt: skip
    recents_length: int = Field(
        50, ge=0, le=1024, description="Last items that a profile keeps, each with its time and signed weight; 0: none."
    )
    contexts: tuple[str, ...] = Field(
        (), max_length=16, description="Situations to keep nodes for: `daypart` or names in `context`."
    )
    context_values: ContextValues = Field({}, description=f"{_VALUES} Any other counts as `other`.")
    tombstone_s: float = Field(400 * _DAY_S, gt=0, description="How long an erasure is remembered, in seconds.")

    def policy(self) -> NodePolicy:
        """The constants of the fold; levels that are not set keep their default half-life."""
        return NodePolicy(
            half_life_s={**_HALF_LIVES, **self.half_life_s},
            expire_below=self.expire_below, faint_below=self.faint_below,
            evidence_length=self.evidence_length, ring_length=self.ring_length, marks_length=self.marks_length,
            seen_length=self.seen_length, votes_length=self.votes_length, recents_length=self.recents_length,
            contexts=vocabulary(self.contexts, self.context_values), tombstone_s=self.tombstone_s,
        )  # fmt: skip


class WeightSettings(Section):
    """The signed weight of an event."""

    base: dict[str, float] = Field({}, description="Base weight by event type, over the defaults of docs/events.md.")
    comment_engagement: float = Field(
        0.35, ge=0, lt=1, description="A neutral comment's weight as a share of a delighted one's."
    )
    rating_neutral: float = Field(2.75, ge=0.5, lt=5, description="The rating that counts as neutral.")
    rating_share: float = Field(0.7, ge=0, le=1, description="The rating's share beside the comment's sentiment.")
    dwell_full_s: float = Field(60.0, gt=0, description="From this dwell time on a view counts in full.")
    impression_clicked: float = Field(1.0, description="Weight of an item shown and clicked.")
    impression_skipped: float = Field(-0.05, description="Weight of an item shown and not clicked.")
    own_text_share: float = Field(0.3, ge=0, le=1, description="The event's own text in its vector, beside its item.")

    def table(self) -> WeightTable:
        """The constants of the signed weight."""
        unknown = set(self.base) - set(DEFAULT_BASE)
        if unknown:
            raise ConfigurationError(f"weights.base names unknown event types: {', '.join(sorted(unknown))}")
        return WeightTable(**{**self.model_dump(), "base": {**DEFAULT_BASE, **self.base}})


class UnresolvedSettings(Section):
    """How long an event waits for its item."""

    base_s: float = Field(1.0, gt=0, description="Wait before the first retry; doubles with each.")
    cap_s: float = Field(15.0, gt=0, description="Longest wait between retries.")
    deadline_s: float = Field(600.0, gt=0, description="After this an event whose item never came is dead-lettered.")


class RankingSettings(Section):
    """The score of an item for a person; docs/evaluation.md says what each part is worth."""

    beta: float = Field(10.0, ge=0, le=100, description="Sharpness of attention; 0: by evidence alone.")
    levels: dict[Level, float] = Field({}, description="Weight of a level in the attention, over the defaults.")
    evidence: float = Field(1.0, ge=0, description="Mass at which a tree is believed by half; 0: at once.")
    aversion: float = Field(0.5, ge=0, description="How strongly aversion pushes away.")
    freshness: float = Field(0.3, ge=0, description="What a new item gains and a very old one loses.")
    freshness_half_life_s: float = Field(3 * _DAY_S, gt=0, description="Age at which freshness adds nothing.")
    popularity: float = Field(0.1, ge=0, description="Weight of ln(1 + an item's popularity).")
    learned: bool = Field(True, description="Whether weights that were learned take the place of these.")
    weights_max_age_s: float = Field(
        3600.0, gt=0, description="How long learned weights are believed that no learner renews."
    )

    def policy(self) -> RankPolicy:
        """The constants of the score; levels that are not set keep their default weight."""
        if any(weight < 0 for weight in self.levels.values()):
            raise ConfigurationError("ranking.levels: expected weights of 0 or more")
        fields = self.model_dump(exclude={"learned", "weights_max_age_s"})
        return RankPolicy(**{**fields, "levels": {**DEFAULT_LEVELS, **self.levels}})


class PopulationSettings(Section):
    """What is learned of all users together: the popularity of items, and the priors of newcomers."""

    popularity_half_life_s: float = Field(180 * _DAY_S, gt=0, description="Half-life of an item's popularity.")
    together_places: int = Field(
        5, ge=1, le=16, description="Two items are touched together by who has votes for both, so many places apart."
    )
    together_kept: int = Field(64, ge=1, le=256, description="Items touched together with one that are kept, at most.")
    together_half_life_s: float = Field(
        365 * _DAY_S, ge=1, description="Half-life of how many touched two items together."
    )
    newcomer_events: int = Field(
        5, ge=1, le=100, description="So many events of each user, their first ones, make the priors."
    )
    half_life_s: float = Field(30 * _DAY_S, gt=0, description="Half-life of the priors' nodes.")
    contexts: tuple[str, ...] = Field(
        ("device",), max_length=4,
        description="Names in `context` whose values part newcomers into cohorts, beside the daypart.",
    )  # fmt: skip
    context_values: ContextValues = Field({}, description=f"The same for `population.contexts`. {_VALUES}")
    least_events: int = Field(
        20, ge=1, description="A cohort of fewer first events is left out: a prior shows no single person's interests."
    )
    prior_mass: float = Field(3.0, gt=0, description="Mass of a prior's profile before any event of one's own.")
    prior_events: float = Field(
        5.0, gt=0, description="Events of one's own that halve the prior: its share is k / (k + events)."
    )
    prior_nodes: int = Field(16, ge=1, le=100, description="Nodes of a level that a prior has, at most.")

    def policy(self) -> NodePolicy:
        """The constants by which cohorts' nodes are folded; they keep no evidence and no ids."""
        half_lives = dict.fromkeys(_HALF_LIVES, self.half_life_s)
        return NodePolicy(
            half_life_s=half_lives, evidence_length=0, ring_length=1, marks_length=1, seen_length=0,
            recents_length=0,
        )  # fmt: skip

    def partners(self) -> PartnerPolicy:
        """The constants by which items that are touched together are kept."""
        return PartnerPolicy(half_life_s=self.together_half_life_s, kept=self.together_kept)

    def priors(self) -> PriorPolicy:
        """The constants of newcomers' priors."""
        return PriorPolicy(
            newcomer_events=self.newcomer_events, contexts=vocabulary(self.contexts, self.context_values),
            least_events=self.least_events, mass=self.prior_mass, events=self.prior_events, nodes=self.prior_nodes,
        )  # fmt: skip

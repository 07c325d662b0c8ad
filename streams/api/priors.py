"""A newcomer's prior: nodes of cohorts, of people who began alike, in place of what is not known of them yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.api.models import Context
from streams.interests.contexts import DAYPARTS
from streams.interests.nodes import Node, NodePolicy, is_forgotten, mass_at
from streams.interests.priors import PriorPolicy, cohorts_of, prior_nodes
from streams.store.cohorts import CohortReader

#: Before the user's id in the key of a prior's node, so that it is never the person's own node of the same path.
#: The value is part of node ids that clients have seen.
PRIOR_USER_PREFIX = "borrowed\x1f"
_WORTH_SHOWING = 0.1  # of the mass of their own nodes: a lighter prior no longer changes an answer


@dataclass(frozen=True, slots=True)
class PriorTerms:
    """How priors are made; `own` and `cohorts` have the half-lives of the two kinds of nodes. Pure."""

    policy: PriorPolicy
    own: NodePolicy
    cohorts: NodePolicy

    def names(self, own: Sequence[Node], context: Context, at_ms: int) -> list[str]:
        """The cohorts of a prior: everybody, the situation, and the topic they began with.

        None once settled, nor for whoever was erased until there is new evidence: they are a newcomer from then on.
        """
        profile = next((node for node in own if node.key.level == "profile"), None)
        if profile is not None and is_forgotten(profile):
            return []
        if profile is not None and self._prior_mass(profile.count) < _WORTH_SHOWING * mass_at(profile, at_ms, self.own):
            return []
        names = cohorts_of(at_ms, context, profile.began.topic if profile else "", self.policy.contexts)
        daypart = context.get("daypart")  # the caller knows their clock better than we do
        known = daypart in DAYPARTS
        return [f"daypart={daypart}" if known and name.startswith("daypart=") else name for name in names]

    def nodes(self, user_id: str, own: Sequence[Node], cohorts: Mapping[str, Sequence[Node]], at_ms: int) -> list[Node]:
        """The prior's nodes, made of these cohorts; they weigh less, the more a person has done."""
        return prior_nodes(PRIOR_USER_PREFIX + user_id, cohorts, own, self.policy, self.cohorts, at_ms)

    def _prior_mass(self, events: int) -> float:
        """The mass of the prior's profile after so many events of one's own."""
        return self.policy.mass * self.policy.events / (self.policy.events + events)


class Priors:
    """Priors on these terms, from the stored cohorts."""

    def __init__(self, cohorts: CohortReader, terms: PriorTerms) -> None:
        self._cohorts, self._terms = cohorts, terms

    async def nodes(self, user_id: str, own: Sequence[Node], context: Context, at_ms: int) -> list[Node]:
        """A person's prior; empty for those who have done enough, and for the erased."""
        names = self._terms.names(own, context, at_ms)
        return self._terms.nodes(user_id, own, await self._cohorts.cohorts(names), at_ms) if names else []

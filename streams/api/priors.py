"""Lending newcomers the interests of people who began alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.api.models import Context
from streams.interests.nodes import Node, NodePolicy, mass_at
from streams.interests.priors import PriorPolicy, cohorts_of, prior_nodes
from streams.store.cohorts import CohortReader

#: Before the id in a borrowed node's key, so that it is never taken for the person's own node of the same path.
BORROWED = "borrowed\x1f"
_WORTH_SHOWING = 0.1  # of the mass of one's own: what weighs less no longer changes what is said


@dataclass(frozen=True, slots=True)
class PriorTerms:
    """On what terms is lent; `own` and `cohorts` have the half-lives of the two kinds of nodes. Pure."""

    policy: PriorPolicy
    own: NodePolicy
    cohorts: NodePolicy

    def names(self, own: Sequence[Node], context: Context, at_ms: int) -> list[str]:
        """The cohorts to borrow from: everybody, the situation, and the topic they began with. None once settled."""
        profile = next((node for node in own if node.key.level == "profile"), None)
        if profile is not None and self._lent_mass(profile.count) < _WORTH_SHOWING * mass_at(profile, at_ms, self.own):
            return []
        names = cohorts_of(at_ms, context, profile.began.topic if profile else "", self.policy.contexts)
        told = context.get("daypart")  # the caller knows their clock better than we do
        return [f"daypart={told}" if told and name.startswith("daypart=") else name for name in names]

    def lent(self, user_id: str, own: Sequence[Node], cohorts: Mapping[str, Sequence[Node]], at_ms: int) -> list[Node]:
        """What is lent of these cohorts: less, the more a person has done."""
        return prior_nodes(BORROWED + user_id, cohorts, own, self.policy, self.cohorts, at_ms)

    def _lent_mass(self, events: int) -> float:
        """The mass of the borrowed profile after so many events of one's own."""
        return self.policy.mass * self.policy.events / (self.policy.events + events)


class Priors:
    """Borrowed nodes, on these terms, from the cohorts that are kept."""

    def __init__(self, crowd: CohortReader, terms: PriorTerms) -> None:
        self._crowd, self._terms = crowd, terms

    async def nodes(self, user_id: str, own: Sequence[Node], context: Context, at_ms: int) -> list[Node]:
        """What is lent to a person; nothing to those well known."""
        names = self._terms.names(own, context, at_ms)
        return self._terms.lent(user_id, own, await self._crowd.cohorts(names), at_ms) if names else []

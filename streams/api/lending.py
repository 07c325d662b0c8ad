"""Lending newcomers the interests of people who began alike."""

from __future__ import annotations

from collections.abc import Sequence

from streams.api.models import Context
from streams.nodes import Node, NodePolicy, mass_at
from streams.population import PriorPolicy, cohorts_of, prior_nodes
from streams.store.crowd import Crowd

#: Before the id in a borrowed node's key, so that it is never taken for the person's own node of the same path.
BORROWED = "borrowed\x1f"
_WORTH_SHOWING = 0.1  # of the mass of one's own: what weighs less no longer changes what is said


class Lending:
    """Borrowed nodes from cohorts: everybody, the situation, and the topic somebody began with."""

    def __init__(self, crowd: Crowd, policy: PriorPolicy, own: NodePolicy, cohorts: NodePolicy) -> None:
        self._crowd, self._policy, self._own, self._half_lives = crowd, policy, own, cohorts

    async def nodes(self, user_id: str, own: Sequence[Node], context: Context, at_ms: int) -> list[Node]:
        """What is lent: less the more a person has done, and nothing once it is a tenth of their own."""
        profile = next((node for node in own if node.key.level == "profile"), None)
        if profile is not None and self._heaviest(profile.count) < _WORTH_SHOWING * mass_at(profile, at_ms, self._own):
            return []
        began = profile.began.topic if profile else ""
        names = cohorts_of(at_ms, context, began, self._policy.contexts)
        if told := context.get("daypart"):  # the caller knows their clock better than we do
            names = [f"daypart={told}" if name.startswith("daypart=") else name for name in names]
        cohorts = await self._crowd.cohorts(names)
        return prior_nodes(BORROWED + user_id, cohorts, own, self._policy, self._half_lives, at_ms)

    def _heaviest(self, events: int) -> float:
        """The mass of the borrowed profile after so many events of one's own."""
        return self._policy.mass * self._policy.events / (self._policy.events + events)

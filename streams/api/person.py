"""A person at a moment: their own nodes and their prior's, as interests that can be scored against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streams.api.backends import Backends
from streams.api.interest_tree import living
from streams.api.models import Context
from streams.interests.contexts import KNOWN, situation
from streams.interests.nodes import Node, NodePolicy, recents_of
from streams.interests.recents import Recent
from streams.interests.score import Interest
from streams.pipeline.ranking_view import interests_in, learned_view
from streams.ranking.rows import LearnedView


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user's nodes: `stored` as kept, `alive` those that count at `at_ms`, with the prior's (by id: `prior_ids`)."""

    user_id: str
    at_ms: int
    stored: list[Node]
    alive: list[Node]
    prior_ids: frozenset[str]

    @property
    def known(self) -> bool:
        """Whether anything is kept of them, be it the trace of an erasure."""
        return bool(self.stored)

    @property
    def prior(self) -> bool:
        """Whether a prior is part of what is shown of them."""
        return bool(self.prior_ids)

    @property
    def profile(self) -> Node | None:
        """The root of their own tree."""
        return next((node for node in self.stored if node.key.level == "profile"), None)

    @property
    def recents(self) -> Sequence[Recent]:
        """The last items they gave evidence of, latest first."""
        return recents_of(self.profile) if self.profile else ()

    @property
    def erased_at_ms(self) -> int | None:
        """When they were erased last, be there new evidence since or not; None where they never were."""
        return (self.profile.erased_at_ms or None) if self.profile else None

    def interests(self, context: Context, policy: NodePolicy) -> list[Interest]:
        """What to score against: every node, but of situations only those they are in."""
        known = {**KNOWN, **policy.contexts}
        here = {situation(name, value, known[name]) for name, value in context.items() if name in known}
        found = interests_in(self.alive, here, self.at_ms, policy)
        return [one._replace(prior=True) if one.id in self.prior_ids else one for one in found]

    def learned(self, policy: NodePolicy) -> LearnedView | None:
        """What the learned model says of them; None where there is nothing."""
        return learned_view(self.alive, self.at_ms, policy)


async def read_person(
    backends: Backends, user_id: str, at_ms: int, context: Context, *, prior: bool, vectors: bool = True
) -> Person:
    """Read a person by one scroll; without `prior` only their own nodes; without `vectors` nothing can be scored."""
    policy = backends.policy
    stored = await backends.reader.tree(user_id, vectors=vectors)
    alive = living(stored, at_ms, policy)
    from_prior: Sequence[Node] = await backends.priors.nodes(user_id, stored, context, at_ms) if prior else ()
    return Person(
        user_id=user_id, at_ms=at_ms, stored=stored, alive=[*alive, *living(from_prior, at_ms, policy)],
        prior_ids=frozenset(node.id for node in from_prior),
    )  # fmt: skip

"""From stored nodes to the tree the API answers with: aged to a moment, named, weighed, with evidence. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.api.models import EvidenceEntry, InterestNode, Order, Tree
from streams.interests.nodes import LEVELS, Level, Node, NodePolicy, evidence_share, expires_at_ms, is_alive, mass_at

NameOf = Callable[[Level, str], str]
Titles = Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeQuery:
    """What of a tree to show: levels (none: all), paths at or below one, evidence entries a node, vectors, an order."""

    levels: frozenset[Level] = field(default_factory=frozenset)
    path: str | None = None
    evidence: int = 3
    vectors: bool = False
    order: Order = "strongest"
    limit: int = 500
    start: int = 0


def living(nodes: Iterable[Node], at_ms: int, policy: NodePolicy) -> list[Node]:
    """The nodes that have not expired by `at_ms`."""
    return [node for node in nodes if is_alive(node, at_ms, policy)]


def chosen(nodes: Sequence[Node], at_ms: int, policy: NodePolicy, query: TreeQuery) -> list[Node]:
    """The living nodes that a query asks for, in order: by level, within it heaviest or latest first."""
    rows = [
        node for node in nodes
        if (not query.levels or node.key.level in query.levels) and below(node.key.path, query.path)
    ]  # fmt: skip

    def place(node: Node) -> tuple[int, float, str]:
        first = -mass_at(node, at_ms, policy) if query.order == "strongest" else -node.last_ms
        return LEVELS.index(node.key.level), first, node.key.path

    return sorted(rows, key=place)


def below(path: str, above: str | None) -> bool:
    """Whether a path is `above` or lies below it."""
    if above is None:
        return True
    path, above = path.casefold(), above.casefold()
    return path == above or path.startswith(f"{above.rstrip('/')}/")


def item_ids(nodes: Iterable[Node], evidence: int) -> set[str]:
    """The items of the evidence to be shown."""
    return {entry.item_id for node in nodes for entry in node.evidence[:evidence] if entry.item_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """How nodes are shown: at a moment, by names, with titles of items; `prior_ids` are the ids of a prior's nodes."""

    at_ms: int
    policy: NodePolicy
    name_of: NameOf
    titles: Titles
    prior_ids: Collection[str] = ()

    def node(self, node: Node, level_mass: float, *, evidence: int, vectors: bool = False) -> InterestNode:
        """One node as a share of its level."""
        key, mass, node_id = node.key, mass_at(node, self.at_ms, self.policy), node.id
        return InterestNode(
            id=node_id, level=key.level, path=key.path, name=self.name_of(key.level, key.path), mass=mass,
            share=1.0 if node.learned else mass / level_mass if level_mass else 0.0,  # a learned node is of all of them
            net=_clipped(node.net / node.mass) if node.mass else 0.0,
            count=node.count, first_ms=node.first_ms, last_ms=node.last_ms,
            expires_at_ms=expires_at_ms(node, self.policy),
            half_life_s=self.policy.half_life_s[key.level], prior=node_id in self.prior_ids,
            model=node.learned.model if node.learned else None,
            made_ms=(node.learned.made_ms or None) if node.learned else None,
            evidence=self.evidence(node, evidence), vector=node.direction.tolist() if vectors else None,
        )  # fmt: skip

    def evidence(self, node: Node, length: int) -> list[EvidenceEntry]:
        """The strongest events behind a node."""
        return [
            EvidenceEntry(
                event_id=entry.event_id, type=entry.type or None, item_id=entry.item_id or None,
                title=self.titles.get(entry.item_id), ts_ms=entry.ts_ms, weight=entry.weight,
                share=evidence_share(entry, node, self.policy),
            )
            for entry in node.evidence[:length]
        ]  # fmt: skip


def level_masses(nodes: Iterable[Node], at_ms: int, policy: NodePolicy) -> dict[Level, float]:
    """The mass of each level at a moment."""
    sums: dict[Level, float] = {}
    for node in nodes:
        sums[node.key.level] = sums.get(node.key.level, 0.0) + mass_at(node, at_ms, policy)
    return sums


def tree(
    user_id: str, nodes: Sequence[Node], alive: Sequence[Node], view: NodeView, query: TreeQuery, *, prior: bool,
    cursor: Callable[[int], str],
) -> Tree:  # fmt: skip
    """A user's tree: `nodes` as stored, of which `alive` have not expired, the prior's among them."""
    masses = level_masses(alive, view.at_ms, view.policy)
    rows = chosen(alive, view.at_ms, view.policy, query)
    end = query.start + query.limit
    profile = next((node for node in nodes if node.key.level == "profile"), None)
    acted = profile is not None and profile.count > 0  # a tombstone's times are the erasure's
    return Tree(
        user_id=user_id, at_ms=view.at_ms, prior=prior, events=profile.count if profile else 0,
        first_ms=profile.first_ms if profile and acted else 0, last_ms=profile.last_ms if profile and acted else 0,
        erased_at_ms=(profile.erased_at_ms or None) if profile else None,
        nodes=[
            view.node(node, masses[node.key.level], evidence=query.evidence, vectors=query.vectors)
            for node in rows[query.start : end]
        ],
        next_cursor=cursor(end) if end < len(rows) else None,
    )  # fmt: skip


def _clipped(net: float) -> float:
    return max(-1.0, min(1.0, net))

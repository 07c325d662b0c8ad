"""A user's nodes as a tree to be shown: aged to a moment, named, weighed against each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.commands.branches import Branch, NameOf, Reason, TreeView
from streams.evidence import Evidence
from streams.nodes import Level, Node, NodePolicy, decay, expires_at_ms, mass_at
from streams.store.look import Card


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to show: evidence entries a node, and whether expired nodes too."""

    evidence: int = 1
    expired: bool = False
    levels: frozenset[Level] = field(default_factory=frozenset)

    def level(self, level: Level) -> bool:
        """Whether a level is wanted; without a choice all are."""
        return not self.levels or level in self.levels


def item_ids(nodes: Iterable[Node], evidence: int) -> set[str]:
    """The items that the evidence to be shown speaks of."""
    return {entry.item_id for node in nodes for entry in node.evidence[:evidence] if entry.item_id}


def view(
    user_id: str, nodes: Sequence[Node], at_ms: int, policy: NodePolicy, name_of: NameOf, cards: Mapping[str, Card],
    wanted: Wanted,
) -> TreeView:  # fmt: skip
    """See a user's nodes at a moment; `cards` says what is known of items, `name_of` what to call a path."""
    live = [node for node in nodes if wanted.expired or not _expired(node, at_ms, policy)]
    seen = _Seen(at_ms, policy, name_of, cards, wanted)
    by_level: dict[Level, list[Node]] = {}
    for node in live:
        if wanted.level(node.key.level):
            by_level.setdefault(node.key.level, []).append(node)
    profile = next((node for node in nodes if node.key.level == "profile"), None)
    sessions = by_level.get("session", [])
    others = [node for node in nodes if node.key.level != "profile"]
    return TreeView(
        user_id, at_ms,
        first_ms=profile.first_ms if profile else 0, last_ms=profile.last_ms if profile else 0,
        count=profile.count if profile else 0, erased_at_ms=profile.erased_at_ms if profile else 0,
        topics=seen.tree(by_level.get("topic", []), by_level.get("interest", [])),
        session=seen.branch(sessions[0], sessions[0]) if sessions else None,
        contexts=seen.situations(by_level.get("context", [])),
        aversions=seen.aversions(by_level.get("aversion", [])),
        expired=sum(_expired(node, at_ms, policy) for node in others),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Seen:
    at_ms: int
    policy: NodePolicy
    name_of: NameOf
    cards: Mapping[str, Card]
    wanted: Wanted

    def tree(self, topics: Sequence[Node], interests: Sequence[Node]) -> tuple[Branch, ...]:
        """Topics with their interests below them; interests whose topic is not there stand for themselves."""
        whole = topics or interests
        by_topic: dict[str, list[Branch]] = {}
        for node in interests:
            by_topic.setdefault(_topic_of(node.key.path), []).append(self.branch(node, *whole))
        rows = [self.branch(node, *whole, children=by_topic.pop(node.key.path, [])) for node in topics]
        rows += [branch for alone in by_topic.values() for branch in alone]
        return _heaviest(rows)

    def situations(self, nodes: Sequence[Node]) -> tuple[Branch, ...]:
        """Context nodes, each as a share of its own kind: evening among the parts of the day."""
        by_kind: dict[str, list[Node]] = {}
        for node in nodes:
            by_kind.setdefault(_topic_of(node.key.path), []).append(node)
        kinds = [_heaviest([self.branch(node, *kind) for node in kind]) for kind in by_kind.values()]
        return tuple(branch for kind in sorted(kinds, key=lambda kind: kind[0].path) for branch in kind)

    def aversions(self, nodes: Sequence[Node]) -> tuple[Branch, ...]:
        """What is pushed away in all, and below it where it lies."""
        whole = [node for node in nodes if node.key.path == "/"]
        parts = _heaviest([self.branch(node, *(whole or nodes)) for node in nodes if node.key.path != "/"])
        return (self.branch(whole[0], *whole, children=parts),) if whole else parts

    def branch(self, node: Node, *whole: Node, children: Iterable[Branch] = ()) -> Branch:
        """A node as a share of the mass of others."""
        mass = mass_at(node, self.at_ms, self.policy)
        total = sum(mass_at(other, self.at_ms, self.policy) for other in whole)
        key = node.key
        return Branch(
            key.level, key.path, self.name_of(key.path), mass, mass / total if total else 0.0,
            node.net / node.mass if node.mass else 0.0, node.first_ms, node.last_ms, node.count,
            _expired(node, self.at_ms, self.policy),
            tuple(self._reason(node, entry) for entry in node.evidence[: self.wanted.evidence]), _heaviest(children),
        )  # fmt: skip

    def _reason(self, node: Node, entry: Evidence) -> Reason:
        card = self.cards.get(entry.item_id, Card("", ""))
        # The entry and the node decay alike, so the share is the same at every moment.
        left = abs(entry.weight) * decay(node.t0_ms - entry.ts_ms, self.policy.half_life_ms(node.key.level))
        share = min(1.0, left / node.mass) if node.mass else 0.0
        return Reason(entry.event_id, entry.item_id, card.title, card.path, entry.ts_ms, entry.weight, share)


def _expired(node: Node, at_ms: int, policy: NodePolicy) -> bool:
    return mass_at(node, at_ms, policy) < policy.expire_below or expires_at_ms(node, policy) <= at_ms


def _topic_of(path: str) -> str:
    return "/" + path.split("/")[1]


def _heaviest(branches: Iterable[Branch]) -> tuple[Branch, ...]:
    return tuple(sorted(branches, key=lambda branch: (-branch.mass, branch.path)))

"""A user's nodes as a tree to be shown: aged to a moment, named, weighed against each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.commands.branches import Branch, NameOf, Reason, TreeView, grow
from streams.interests.evidence import Evidence
from streams.interests.nodes import Level, Node, NodePolicy, evidence_share, is_alive, mass_at
from streams.store.cards import Card


@dataclass(frozen=True, slots=True)
class TreeOptions:
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
    wanted: TreeOptions,
) -> TreeView:  # fmt: skip
    """See a user's nodes at a moment; `cards` says what is known of items, `name_of` what to call a path."""
    live = [node for node in nodes if wanted.expired or is_alive(node, at_ms, policy)]
    seen = _Seen(at_ms, policy, name_of, cards, wanted)
    profile = next((node for node in nodes if node.key.level == "profile"), None)
    others = [node for node in nodes if node.key.level != "profile"]
    grown = grow([seen.branch(node) for node in live if wanted.level(node.key.level)])
    return TreeView(
        user_id, at_ms,
        first_ms=profile.first_ms if profile else 0, last_ms=profile.last_ms if profile else 0,
        count=profile.count if profile else 0, erased_at_ms=profile.erased_at_ms if profile else 0,
        topics=grown.topics, session=grown.session, contexts=grown.contexts, aversions=grown.aversions,
        expired=sum(not is_alive(node, at_ms, policy) for node in others),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Seen:
    at_ms: int
    policy: NodePolicy
    name_of: NameOf
    cards: Mapping[str, Card]
    wanted: TreeOptions

    def branch(self, node: Node) -> Branch:
        """A node by itself: its share is worked out once the others are known."""
        key = node.key
        return Branch(
            key.level, key.path, self.name_of(key.path), mass_at(node, self.at_ms, self.policy), 0.0,
            node.net / node.mass if node.mass else 0.0, node.first_ms, node.last_ms, node.count,
            not is_alive(node, self.at_ms, self.policy),
            tuple(self._reason(node, entry) for entry in node.evidence[: self.wanted.evidence]),
        )  # fmt: skip

    def _reason(self, node: Node, entry: Evidence) -> Reason:
        card = self.cards.get(entry.item_id)
        title, path = (card.title or "", card.path) if card else ("", "")
        share = evidence_share(entry, node, self.policy)
        return Reason(entry.event_id, entry.item_id, title, path, entry.ts_ms, entry.weight, share)

"""A person's tree as it is shown: nodes as branches, aged to a moment, named, weighed against each other. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from streams.interests.evidence import Evidence
from streams.interests.levels import Level
from streams.interests.nodes import Node, NodePolicy, evidence_share, is_alive, is_forgotten, mass_at, recents_of

if TYPE_CHECKING:
    from streams.store.cards import Card

NameOf = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One contribution to a node: what was done when, how much it weighed then, and its share of the node's mass.

    `path` is where its item lies on the concept tree, "" where that is not known; `type` "" likewise.
    """

    event_id: str
    type: str
    item_id: str
    title: str
    path: str
    ts_ms: int
    weight: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """A recent item: when something was done with it last, and what that weighed; 0 where it was taken back."""

    item_id: str
    title: str
    ts_ms: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A node as it is seen at a moment.

    `share` is its mass over the mass of the whole it is shown in. `net` is P/W, from −1 (all of it pushed away) to 1.
    `expired` says that its mass has fallen under the threshold.
    """

    level: Level
    path: str
    name: str
    mass: float
    share: float
    net: float
    first_ms: int
    last_ms: int
    count: int
    expired: bool
    reasons: tuple[Reason, ...] = ()
    children: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedLevel:
    """What a model says of a person: which, when, of events up to `last_ms`, at which paths, and its attention.

    The `weight` and `share` of a reason are the share of the model's attention that an event had.
    """

    model: str
    made_ms: int
    last_ms: int
    paths: tuple[str, ...]
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeView:
    """A user's tree at `at_ms`. Branches are heaviest first; `last_ms` is the last event's time, 0 where unknown.

    `recents` are the last items they dealt with, latest first, whatever has faded.
    """

    user_id: str
    at_ms: int
    first_ms: int
    last_ms: int
    count: int
    erased_at_ms: int
    topics: tuple[Branch, ...]
    session: Branch | None
    contexts: tuple[Branch, ...]
    aversions: tuple[Branch, ...]
    expired: int
    recents: tuple[Touched, ...] = ()
    learned: LearnedLevel | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to show at this moment."""
        return not (self.topics or self.session or self.contexts or self.aversions or self.learned)


class Grown(NamedTuple):
    """The parts of a tree, each heaviest first."""

    topics: tuple[Branch, ...]
    session: Branch | None
    contexts: tuple[Branch, ...]
    aversions: tuple[Branch, ...]


def grow(leaves: Iterable[Branch]) -> Grown:
    """Put branches that stand alone in their places, and give each its share of the whole it is shown in."""
    by_level: dict[Level, list[Branch]] = {}
    for leaf in leaves:
        by_level.setdefault(leaf.level, []).append(leaf)
    sessions = by_level.get("session", [])
    return Grown(
        topics=_topics(by_level.get("topic", []), by_level.get("interest", [])),
        session=_share(sessions[0], sessions[:1]) if sessions else None,
        contexts=_contexts(by_level.get("context", [])),
        aversions=_aversions(by_level.get("aversion", [])),
    )


def _topics(topics: Sequence[Branch], interests: Sequence[Branch]) -> tuple[Branch, ...]:
    """Topics with their interests below them; interests whose topic is not there stand for themselves."""
    whole = topics or interests
    by_topic: dict[str, list[Branch]] = {}
    for branch in interests:
        by_topic.setdefault(_topic_of(branch.path), []).append(_share(branch, whole))
    rows = [_share(branch, whole, by_topic.pop(branch.path, [])) for branch in topics]
    return _heaviest([*rows, *(branch for alone in by_topic.values() for branch in alone)])


def _contexts(branches: Sequence[Branch]) -> tuple[Branch, ...]:
    """Contexts, each as a share of its own kind: evening among the parts of the day."""
    by_kind: dict[str, list[Branch]] = {}
    for branch in branches:
        by_kind.setdefault(_topic_of(branch.path), []).append(branch)
    kinds = [_heaviest([_share(branch, kind) for branch in kind]) for kind in by_kind.values()]
    return tuple(branch for kind in sorted(kinds, key=lambda kind: kind[0].path) for branch in kind)


def _aversions(branches: Sequence[Branch]) -> tuple[Branch, ...]:
    """What is pushed away in all, and below it where it lies."""
    whole = [branch for branch in branches if branch.path == "/"]
    parts = _heaviest([_share(branch, whole or branches) for branch in branches if branch.path != "/"])
    return (_share(whole[0], whole, parts),) if whole else parts


def _share(branch: Branch, whole: Sequence[Branch], children: Iterable[Branch] = ()) -> Branch:
    total = sum(other.mass for other in whole)
    return replace(branch, share=branch.mass / total if total else 0.0, children=_heaviest(children))


def _topic_of(path: str) -> str:
    return "/" + path.split("/")[1]


def _heaviest(branches: Iterable[Branch]) -> tuple[Branch, ...]:
    return tuple(sorted(branches, key=lambda branch: (-branch.mass, branch.path)))


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
    """The items that the evidence to be shown speaks of, and the recent ones."""
    found = list(nodes)
    spoken_of = {entry.item_id for node in found for entry in node.evidence[:evidence] if entry.item_id}
    return spoken_of | {one.item_id for node in found for one in recents_of(node)}


def view(
    user_id: str, nodes: Sequence[Node], at_ms: int, policy: NodePolicy, name_of: NameOf, cards: Mapping[str, Card],
    options: TreeOptions,
) -> TreeView:  # fmt: skip
    """See a user's nodes at a moment; `cards` says what is known of items, `name_of` what to call a path."""
    live = [node for node in nodes if options.expired or is_alive(node, at_ms, policy)]
    nodes_seen = _NodeView(at_ms=at_ms, policy=policy, name_of=name_of, cards=cards, options=options)
    profile = next((node for node in nodes if node.key.level == "profile"), None)
    acted = profile is not None and profile.count > 0  # a tombstone's times are the erasure's
    others = [node for node in nodes if node.key.level != "profile"]
    grown = grow([nodes_seen.branch(node) for node in live if options.level(node.key.level)])
    return TreeView(
        user_id=user_id, at_ms=at_ms,
        first_ms=profile.first_ms if profile and acted else 0, last_ms=profile.last_ms if profile and acted else 0,
        count=profile.count if profile else 0, erased_at_ms=profile.erased_at_ms if profile else 0,
        topics=grown.topics, session=grown.session, contexts=grown.contexts, aversions=grown.aversions,
        expired=sum(not is_alive(node, at_ms, policy) for node in others),
        recents=_touched(profile, cards) if profile and options.level("profile") else (),
        learned=nodes_seen.learned([node for node in live if options.level(node.key.level)]),
    )  # fmt: skip


def _touched(profile: Node, cards: Mapping[str, Card]) -> tuple[Touched, ...]:
    """The recent items of a person who was not forgotten."""
    kept = () if is_forgotten(profile) else recents_of(profile)
    titles = {item_id: card.title or "" for item_id, card in cards.items()}
    return tuple(
        Touched(item_id=one.item_id, title=titles.get(one.item_id, ""), ts_ms=one.ts_ms, weight=one.weight)
        for one in kept
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _NodeView:
    at_ms: int
    policy: NodePolicy
    name_of: NameOf
    cards: Mapping[str, Card]
    options: TreeOptions

    def branch(self, node: Node) -> Branch:
        """A node by itself: its share is worked out once the others are known."""
        key = node.key
        return Branch(
            level=key.level, path=key.path, name=self.name_of(key.path),
            mass=mass_at(node, self.at_ms, self.policy), share=0.0, net=node.net / node.mass if node.mass else 0.0,
            first_ms=node.first_ms, last_ms=node.last_ms, count=node.count,
            expired=not is_alive(node, self.at_ms, self.policy),
            reasons=tuple(self._reason(node, entry) for entry in node.evidence[: self.options.evidence]),
        )  # fmt: skip

    def learned(self, nodes: Sequence[Node]) -> LearnedLevel | None:
        """What the model says that made the interest; the attention is its node's, as it is the same in all of them."""
        found = [(node, node.learned) for node in nodes if node.learned]
        model = next((part.model for node, part in found if node.key.path == "/"), None)
        if model is None:
            return None
        its = sorted((node for node, part in found if part.model == model), key=lambda node: node.key.path)
        made_ms = min(part.made_ms for _, part in found if part.model == model)
        return LearnedLevel(
            model=model, made_ms=made_ms, last_ms=its[0].last_ms, paths=tuple(node.key.path for node in its),
            reasons=tuple(self._reason(its[0], entry) for entry in its[0].evidence[: self.options.evidence]),
        )  # fmt: skip

    def _reason(self, node: Node, entry: Evidence) -> Reason:
        card = self.cards.get(entry.item_id)
        title, path = (card.title or "", card.path) if card else ("", "")
        share = evidence_share(entry, node, self.policy)
        return Reason(
            event_id=entry.event_id, type=entry.type, item_id=entry.item_id, title=title, path=path,
            ts_ms=entry.ts_ms, weight=entry.weight, share=share,
        )  # fmt: skip

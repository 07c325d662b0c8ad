"""Recommendations, rankings and explanations: reads, then one row a target (`ranking/features.py`), then the answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np

from streams.api.backends import Backends
from streams.api.candidates import candidates
from streams.api.interest_tree import NodeView, item_ids
from streams.api.models import Context
from streams.api.person import Person, read_person
from streams.api.problems import unknown_item
from streams.api.score_models import (
    ExplainedPart,
    ExplainedPull,
    ExplainedRecent,
    Explanation,
    Ranking,
    RankRequest,
    Recommendations,
)
from streams.api.score_view import PULLS_SHOWN, ScoreView
from streams.base.clock import now_ms
from streams.interests.evidence import seen_entry
from streams.interests.mmr import mmr
from streams.interests.nodes import seen_of
from streams.pipeline.ranking_view import with_texts
from streams.ranking.features import feature_rows
from streams.ranking.parts import Kind
from streams.ranking.rows import PersonView, TargetItems
from streams.store.catalogue import ItemFilter

SEEN_BYTES = len(seen_entry(""))
_EVIDENCE_EXPLAINED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationQuery:
    """What recommendations to make."""

    user_id: str
    at_ms: int
    k: int = 10
    diversity: float = 0.2
    item_filter: ItemFilter = field(default_factory=ItemFilter)
    exclude_seen: bool = True
    context: Context = field(default_factory=dict)
    prior: bool = True
    explain: bool = False


async def recommend(backends: Backends, query: RecommendationQuery) -> Recommendations:
    """The items for a person, best first: candidates near their interests, scored, without seen ones, made diverse."""
    person = await read_person(backends, query.user_id, query.at_ms, query.context, prior=query.prior)
    interests = person.interests(query.context, backends.policy)
    seen = ExcludedItems(person) if query.exclude_seen else None
    cards, recents = await asyncio.gather(
        candidates(
            backends,
            interests,
            person.recents,
            query.item_filter,
            k=query.k,
            seen=seen.count if seen else 0,
            at_ms=query.at_ms,
        ),
        backends.ranking_reader.recents(person.recents, query.at_ms),
    )
    cards = [card for card in cards if seen is None or card.item_id not in seen]
    targets = await backends.ranking_reader.targets(cards, query.at_ms)
    person_view = PersonView(interests=interests, recents=recents, learned=person.learned(backends.policy))
    view = await score_view(backends, person, person_view, targets, "next")
    best = np.argsort(-view.scores, kind="stable")[: max(4 * query.k, 100)]
    rows = [int(best[at]) for at in mmr(targets.vectors[best], view.scores[best], query.k, query.diversity)]
    titles = await backends.catalogue.titles(view.recent_ids()) if query.explain else None
    shown = PULLS_SHOWN if query.explain else 0
    return Recommendations(
        user_id=query.user_id, at_ms=query.at_ms, prior=person.prior, erased_at_ms=person.erased_at_ms,
        weights_version=view.version, weights_kind=view.kind,
        items=[view.item(row, cards[row], pulls=shown, titles=titles) for row in rows],
    )  # fmt: skip


async def rank(backends: Backends, user_id: str, request: RankRequest, at_ms: int, *, prior: bool) -> Ranking:
    """Put given items and texts in order for a person, as a list that is shown to them."""
    ids = list(dict.fromkeys(request.items))
    person, cards, vectors = await asyncio.gather(
        read_person(backends, user_id, at_ms, request.context, prior=prior),
        backends.catalogue.cards(ids),
        backends.encode(request.texts) if request.texts else _no_vectors(),
    )
    known = [cards[item_id] for item_id in ids if item_id in cards]
    targets, recents = await asyncio.gather(
        backends.ranking_reader.targets(known, at_ms), backends.ranking_reader.recents(person.recents, at_ms)
    )
    seen = PersonView(
        interests=person.interests(request.context, backends.policy), recents=recents,
        learned=person.learned(backends.policy),
    )  # fmt: skip
    view = await score_view(backends, person, seen, with_texts(targets, vectors), "impression")
    items = [
        view.item(row, known[row], pulls=PULLS_SHOWN) if row < len(known)
        else view.item(row, None, text_index=row - len(known), pulls=PULLS_SHOWN)
        for row in map(int, np.argsort(-view.scores, kind="stable"))
    ]  # fmt: skip
    return Ranking(
        user_id=user_id, at_ms=at_ms, prior=person.prior, erased_at_ms=person.erased_at_ms,
        weights_version=view.version, weights_kind=view.kind, items=items,
        unknown=[item_id for item_id in ids if item_id not in cards],
    )  # fmt: skip


async def explain(
    backends: Backends, user_id: str, item_id: str, at_ms: int, context: Context, *, prior: bool
) -> Explanation:
    """Why an item has its score for a person: every interest and every recent item that moved it, and the rest."""
    person, cards = await asyncio.gather(
        read_person(backends, user_id, at_ms, context, prior=prior), backends.catalogue.cards([item_id])
    )
    card = cards.get(item_id)
    if card is None:
        raise unknown_item()
    targets, recents = await asyncio.gather(
        backends.ranking_reader.targets([card], at_ms), backends.ranking_reader.recents(person.recents, at_ms)
    )
    seen = PersonView(
        interests=person.interests(context, backends.policy), recents=recents, learned=person.learned(backends.policy)
    )
    view = await score_view(backends, person, seen, targets, "next")
    pulls = view.pulls(0)
    nodes = {node.id: node for node in person.alive}
    evidence = item_ids((nodes[p.node_id] for p in pulls), _EVIDENCE_EXPLAINED)
    titles = await backends.catalogue.titles([*evidence, *view.recent_ids()])
    node_view = NodeView(at_ms=at_ms, policy=backends.policy, name_of=backends.names, titles=titles)
    by_recents, others = view.recents(0, titles), view.others(0)
    contributions = [one.contribution for one in pulls] + [one.contribution for one in by_recents]
    contributions += [one.contribution for one in others]
    moved = sum(map(abs, contributions)) or 1.0
    return Explanation(
        user_id=user_id, item_id=item_id, title=card.title, path=card.path, at_ms=at_ms,
        prior=person.prior, erased_at_ms=person.erased_at_ms, weights_version=view.version,
        weights_kind=view.kind, score=float(view.scores[0]), parts=view.parts(0),
        pulls=[
            ExplainedPull(
                **pull.model_dump(), share=abs(pull.contribution) / moved,
                evidence=node_view.evidence(nodes[pull.node_id], _EVIDENCE_EXPLAINED),
            )
            for pull in pulls
        ],
        recents=[ExplainedRecent(**one.model_dump(), share=abs(one.contribution) / moved) for one in by_recents],
        others=[ExplainedPart(**one.model_dump(), share=abs(one.contribution) / moved) for one in others],
        features=view.features(0),
    )  # fmt: skip


async def score_view(
    backends: Backends, person: Person, seen: PersonView, targets: TargetItems, kind: Kind
) -> ScoreView:
    """Score targets for a person as they are `seen`, with the weights that count now for this kind of list."""
    encoder_id = (await backends.reader.names()).encoder_id
    weights = backends.weights.at(encoder_id, kind, now_ms())
    backends.metrics.ranked(kind, weights.version)
    rows = feature_rows(seen, targets, backends.ranking, at_ms=person.at_ms)
    return ScoreView(rows, weights, backends.names, person.prior_ids)


class ExcludedItems:
    """The items a person has dealt with: those their profile remembers, and those of their evidence."""

    def __init__(self, person: Person) -> None:
        profile = person.profile
        self._ring = seen_of(profile) if profile else None
        self._in_evidence = {entry.item_id for node in person.stored for entry in node.evidence if entry.item_id}
        self.count = len(self._in_evidence) + (len(profile.seen) // SEEN_BYTES if profile else 0)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._in_evidence or (self._ring is not None and item_id in self._ring)


async def _no_vectors() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.zeros((0, 0), np.float32)

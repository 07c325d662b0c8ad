"""Predictions: the probabilities that a person's learned nodes give to items and texts. No model is asked for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np

from streams.api.backends import Backends
from streams.api.person import Person, read_person
from streams.api.prediction_models import ClickThrough, Prediction, Predictions, PredictRequest
from streams.interests.nodes import LearnedPart, Node, Vector
from streams.ranking.learned_features import answers
from streams.ranking.parts import TASKS, Task
from streams.ranking.rows import LearnedView
from streams.store.cards import Card

_TASK_AT: dict[str, Task] = {f"/{task}": task for task in TASKS}


async def predict(backends: Backends, user_id: str, request: PredictRequest, at_ms: int) -> Predictions:
    """What the learned level says of each target, in the order asked for; nothing where the person has none."""
    ids = list(dict.fromkeys(request.items))
    person, cards, texts = await asyncio.gather(
        read_person(backends, user_id, at_ms, {}, prior=False),
        backends.catalogue.cards(ids),
        backends.encode(request.texts) if request.texts else _none(),
    )
    known = [cards[item_id] for item_id in ids if item_id in cards]
    learned = person.learned(backends.policy)
    nodes = _stored(person, learned)
    made = [part.made_ms for _, part in nodes if part.made_ms]
    behind = [max(0, profile.last_ms - node.last_ms) for node, _ in nodes if (profile := person.profile)]
    return Predictions(
        user_id=user_id, at_ms=at_ms, model=learned.model if learned else None, made_ms=min(made, default=None),
        behind_ms=max(behind, default=None), erased_at_ms=person.erased_at_ms, click_through=_click_through(nodes),
        items=_predictions(learned, known, texts, len(request.texts)),
        unknown=[item_id for item_id in ids if item_id not in cards],
    )  # fmt: skip


def _stored(person: Person, learned: LearnedView | None) -> list[tuple[Node, LearnedPart]]:
    """The stored nodes behind what the model says."""
    ids = {node.id for node in learned.nodes} if learned else set()
    return [(node, node.learned) for node in person.alive if node.learned and node.id in ids]


def _click_through(nodes: Sequence[tuple[Node, LearnedPart]]) -> ClickThrough | None:
    for node, part in nodes:
        if node.key.path == "/click" and part.variance > 0:
            return ClickThrough(mean=part.mean, variance=part.variance)
    return None


def _predictions(learned: LearnedView | None, known: Sequence[Card], texts: Vector, count: int) -> list[Prediction]:
    """One of each item, then one of each of `count` texts."""
    nodes = list(learned.nodes) if learned else []
    said = np.zeros((len(known) + count, 0))
    if nodes and len(said):
        rows = [card.vector for card in known] + list(texts)
        said = answers(nodes, np.stack(rows).astype(np.float32))
    found = []
    for row, values in enumerate(said.tolist()):
        by_path = dict(zip([node.path for node in nodes], values, strict=True))
        card = known[row] if row < len(known) else None
        found.append(
            Prediction(
                item_id=card.item_id if card else None, text_index=None if card else row - len(known),
                title=card.title if card else None, path=card.path if card else "", cosine=by_path.get("/"),
                probabilities={task: by_path[path] for path, task in _TASK_AT.items() if path in by_path},
            )
        )  # fmt: skip
    return found


async def _none() -> Vector:
    return np.zeros((0, 0), np.float32)

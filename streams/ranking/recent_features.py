"""The features made of a person's recent items, and what each item adds to a score through them. Pure numpy.

Only recent items of positive weight speak for something; those of negative weight count in `recent_disliked` alone, and
what was taken back counts nowhere. A cosine is that of unit vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from streams.interests.nodes import Vector
from streams.interests.score import Floats
from streams.interests.together import DOUBT
from streams.ranking.rows import COLUMN, RecentItem, TargetItems

#: Attributes in common are given in units of so many.
_ATTRIBUTES_UNIT: Final = 5.0
_TOP: Final = 3


def fill_recents(values: Floats, recents: Sequence[RecentItem], targets: TargetItems) -> None:
    """Fill the columns that are made of recent items into `values` (n, F)."""
    liked = [one for one in recents if one.weight > 0]
    disliked = [one.vector for one in recents if one.weight < 0]
    if disliked:
        nearest = _cosines(targets.vectors, disliked).max(axis=1)
        values[:, COLUMN["recent_disliked"]] = np.maximum(nearest, 0.0)
    if not liked:
        return
    near = _cosines(targets.vectors, [one.vector for one in liked])
    top = np.partition(near, -_TOP, axis=1)[:, -_TOP:] if len(liked) > _TOP else near
    values[:, COLUMN["recent_max"]] = near.max(axis=1)
    values[:, COLUMN["recent_top3"]] = top.mean(axis=1)
    values[:, COLUMN["recent_mean"]] = near.mean(axis=1)
    values[:, COLUMN["recent_last"]] = near[:, 0]
    _fill_together(values, liked, targets)
    _fill_attributes(values, liked, targets)
    _fill_languages(values, liked, targets)


def _cosines(vectors: Vector, others: Sequence[Vector]) -> Floats:
    """The cosines of unit rows (n, dim) to unit vectors, float64 (n, len(others))."""
    near: Floats = (vectors @ np.stack(others).T).astype(np.float64)
    return near


def _fill_together(values: Floats, liked: Sequence[RecentItem], targets: TargetItems) -> None:
    """What share of a recent item's partners each target is."""
    row_of = {item_id: row for row, item_id in enumerate(targets.ids)}
    found = [
        (row_of[item_id], at, count)
        for at, one in enumerate(liked)
        for item_id, count in one.together.items()
        if item_id in row_of
    ]
    counts = np.zeros((len(targets.ids), len(liked)))
    if found:
        rows, columns, given = zip(*found, strict=True)
        counts[rows, columns] = given
    shares = counts / (np.array([one.touched for one in liked]) + DOUBT)
    values[:, COLUMN["together_sum"]] = shares.sum(axis=1)
    values[:, COLUMN["together_max"]] = shares.max(axis=1)
    values[:, COLUMN["together_last"]] = shares[:, 0]
    values[:, COLUMN["together_count"]] = np.log1p(counts.sum(axis=1))


def _fill_attributes(values: Floats, liked: Sequence[RecentItem], targets: TargetItems) -> None:
    """The share of the recent items that have what the target has, over its attributes."""
    counts: dict[str, int] = {}
    for one in liked:
        for attribute in one.attributes:
            counts[attribute] = counts.get(attribute, 0) + 1
    rows = [row for row, attributes in enumerate(targets.attributes) if attributes]
    if not counts or not rows:
        return
    lengths = np.array([len(targets.attributes[row]) for row in rows])
    starts = np.cumsum(lengths) - lengths
    flat = np.array([counts.get(name, 0) for attributes in targets.attributes for name in attributes])
    values[rows, COLUMN["attributes_mean"]] = np.add.reduceat(flat, starts) / (lengths * len(liked))
    values[rows, COLUMN["attributes_max"]] = np.maximum.reduceat(flat, starts) / len(liked)
    values[rows, COLUMN["attributes_min"]] = np.minimum.reduceat(flat, starts) / len(liked)
    values[rows, COLUMN["attributes_shared"]] = np.add.reduceat((flat > 0).astype(np.int64), starts) / _ATTRIBUTES_UNIT


def _fill_languages(values: Floats, liked: Sequence[RecentItem], targets: TargetItems) -> None:
    weights: dict[str, float] = {}
    for one in liked:
        if one.lang is not None:
            weights[one.lang] = weights.get(one.lang, 0.0) + one.weight
    whole = sum(one.weight for one in liked)
    values[:, COLUMN["share_language"]] = [weights.get(lang, 0.0) / whole if lang else 0.0 for lang in targets.langs]


def by_recent(recents: Sequence[RecentItem], targets: TargetItems, row: int, weights: Floats) -> Floats:
    """What each recent item adds to the score of the target at `row` by weights (F,), float64 (R,).

    A maximum is its item's alone, and the mean of three a third of each. What several items have in common is theirs
    in equal shares, a language in proportion to their weights, and counts of partners in proportion to the counts.
    """
    added = np.zeros(len(recents))
    against = [at for at, one in enumerate(recents) if one.weight < 0]
    if against:
        near = _cosines(targets.vectors[row : row + 1], [recents[at].vector for at in against])[0]
        added[against[int(near.argmax())]] = max(float(near.max()), 0.0) * weights[COLUMN["recent_disliked"]]
    liked = [at for at, one in enumerate(recents) if one.weight > 0]
    if liked:
        items = [recents[at] for at in liked]
        added[liked] = (
            _from_cosines(items, targets.vectors[row], weights)
            + _from_together(items, targets.ids[row], weights)
            + _from_attributes(items, targets.attributes[row], weights)
            + _from_languages(items, targets.langs[row], weights)
        )
    return added


def _from_cosines(liked: Sequence[RecentItem], vector: Vector, weights: Floats) -> Floats:
    near = _cosines(vector[None], [one.vector for one in liked])[0]
    added: Floats = near * weights[COLUMN["recent_mean"]] / len(near)
    top = np.argsort(-near, kind="stable")[:_TOP]
    added[top] += near[top] * weights[COLUMN["recent_top3"]] / len(top)
    added[top[0]] += near[top[0]] * weights[COLUMN["recent_max"]]
    added[0] += near[0] * weights[COLUMN["recent_last"]]
    return added


def _from_together(liked: Sequence[RecentItem], item_id: str, weights: Floats) -> Floats:
    counts = np.array([one.together.get(item_id, 0.0) for one in liked])
    shares = counts / (np.array([one.touched for one in liked]) + DOUBT)
    added: Floats = shares * weights[COLUMN["together_sum"]]
    added[shares.argmax()] += shares.max() * weights[COLUMN["together_max"]]
    added[0] += shares[0] * weights[COLUMN["together_last"]]
    if (whole := counts.sum()) > 0:
        added += counts * (np.log1p(whole) / whole * weights[COLUMN["together_count"]])
    return added


def _from_attributes(liked: Sequence[RecentItem], attributes: frozenset[str], weights: Floats) -> Floats:
    if not attributes:
        return np.zeros(len(liked))
    have = np.array([[name in one.attributes for name in sorted(attributes)] for one in liked], float)
    counts = have.sum(axis=0)
    most, least = int(counts.argmax()), int(counts.argmin())
    mean: Floats = have.sum(axis=1) * (weights[COLUMN["attributes_mean"]] / len(attributes))
    extremes = have[:, most] * weights[COLUMN["attributes_max"]] + have[:, least] * weights[COLUMN["attributes_min"]]
    shared = (have / np.maximum(counts, 1.0)).sum(axis=1) * (weights[COLUMN["attributes_shared"]] / _ATTRIBUTES_UNIT)
    added: Floats = (mean + extremes) / len(liked) + shared
    return added


def _from_languages(liked: Sequence[RecentItem], lang: str | None, weights: Floats) -> Floats:
    theirs = np.array([one.weight * (lang is not None and one.lang == lang) for one in liked])
    added: Floats = theirs * (weights[COLUMN["share_language"]] / sum(one.weight for one in liked))
    return added

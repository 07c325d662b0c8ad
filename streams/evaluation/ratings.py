"""Ratings predicted from rows, beside biased matrix factorisation: root mean squared errors.

Of each person's ratings in order of time the last fifth is predicted from the others. What is fitted is fitted on the
fifth before, predicted from the first three fifths, so that no tree has seen what it predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from streams.evaluation.factorisation import Ratings, biases, factorised, rmse
from streams.evaluation.ground import Ground, Meter
from streams.evaluation.prequential import PrequentialProtocol
from streams.evaluation.world import Floats
from streams.events.event import Event, RecordLike
from streams.events.parse import parse_events
from streams.ranking.rows import fixed_weights

#: By how much factors are drawn to 0; which is best is found on the fourth fifth.
_PULLS: Final = (3.0, 6.0, 12.0, 25.0)
_RIDGE: Final = 10.0


class _Rated(NamedTuple):
    """A rating: its record, its event, and which fifth of its user's ratings it is in, from 0 to 4."""

    record: RecordLike
    event: Event
    fifth: int


async def rating_errors(ground: Ground, meter: Meter) -> dict[str, float]:
    """The errors of means, biases, factorisation, and biases with the score or the whole row; and how many were rated.

    ConfigurationError and PoisonError as from `prepare`.
    """
    rows = {point.item.item_id: at for at, point in enumerate(ground.points)}
    rated = _rated(ground, rows)
    users = {user: at for at, user in enumerate(dict.fromkeys(one.event.user_id for one in rated))}
    sizes = len(users), len(rows)

    def ratings(first: int, last: int) -> Ratings:
        events = [one.event for one in rated if first <= one.fifth <= last]
        return Ratings(
            np.array([users[event.user_id] for event in events]), np.array([rows[_item(event)] for event in events]),
            np.array([event.rating for event in events], np.float64),
        )  # fmt: skip

    before, fit, most, test = ratings(0, 2), ratings(3, 3), ratings(0, 3), ratings(4, 4)
    fit_rows = await _values(ground, rated, rows, 3, meter)
    test_rows = await _values(ground, rated, rows, 4, meter)
    pull = min(_PULLS, key=lambda one: rmse(factorised(before, fit, *sizes, one), fit))
    left, base = fit.values - biases(before, *sizes).of(fit), biases(most, *sizes).of(test)
    score = fixed_weights(ground.settings.ranking.policy())[:, None]
    return {
        "mean": rmse(np.full(len(test.values), most.values.mean()), test),
        "biases": rmse(base, test),
        "biased matrix factorisation": rmse(factorised(most, test, *sizes, pull), test),
        "biases and the score": rmse(base + _fitted(fit_rows @ score, left, test_rows @ score), test),
        "biases and the row": rmse(base + _fitted(fit_rows, left, test_rows), test),
        "ratings": float(len(test.values)),
    }


def _rated(ground: Ground, rows: dict[str, int]) -> list[_Rated]:
    found = [
        (record, event)
        for record in ground.events
        for event in parse_events([record], now_ms=ground.now_ms).events
        if event.rating is not None and event.item_id in rows
    ]
    counts: dict[str, int] = {}
    places = []
    for _, event in found:
        places.append(counts.get(event.user_id, 0))
        counts[event.user_id] = places[-1] + 1
    return [
        _Rated(record, event, 5 * place // counts[event.user_id])
        for (record, event), place in zip(found, places, strict=True)
    ]


async def _values(
    ground: Ground, rated: Sequence[_Rated], rows: dict[str, int], fifth: int, meter: Meter
) -> Floats:  # fmt: skip
    """The rows (n, F) of the ratings of a fifth, in order, by what was known before their user's first of them."""
    replay = await ground.replay(PrequentialProtocol(kinds=frozenset()))
    async for _ in replay.cases([one.record for one in rated if one.fifth < fifth], now_ms=ground.now_ms):
        pass
    wanted = [one.event for one in rated if one.fifth == fifth]
    by_user: dict[str, list[int]] = {}
    for at, event in enumerate(wanted):
        by_user.setdefault(event.user_id, []).append(at)
    found: dict[int, Floats] = {}
    with meter("ratings", len(by_user)) as step:
        for places in by_user.values():
            chosen = np.array([rows[_item(wanted[at])] for at in places])
            first = wanted[places[0]]
            made = await replay.rows(first.user_id, first.ts_ms, chosen, ground.now_ms, first.context)
            found |= dict(zip(places, made.values, strict=True))
            step.add(1)
    return np.stack([found[at] for at in range(len(wanted))])


def _item(event: Event) -> str:
    return event.item_id or ""


def _fitted(values: Floats, left: Floats, wanted: Floats) -> Floats:
    """What a linear fit (ridge) of `left` (n,) by columns (n, k) gives for other rows (m, k)."""
    mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-9
    columns = (values - mean) / spread
    weights = np.linalg.solve(columns.T @ columns + _RIDGE * np.eye(columns.shape[1]), columns.T @ (left - left.mean()))
    predicted: Floats = left.mean() + (wanted - mean) / spread @ weights
    return predicted

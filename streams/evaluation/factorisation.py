"""Biased matrix factorisation of ratings, the baseline of their prediction. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.evaluation.world import Floats

Ints = NDArray[np.int64]
_FACTORS: Final = 20
_ROUNDS: Final = 12
_BIAS_PULL: Final = 5.0


@dataclass(frozen=True, slots=True)
class Ratings:
    """n ratings of users and items, by their numbers: all (n,)."""

    users: Ints
    items: Ints
    values: Floats


@dataclass(frozen=True, slots=True)
class Biases:
    """A rating is mean + user (n_users,) + item (n_items,), each drawn to 0 as by `_BIAS_PULL` ratings more."""

    mean: float
    user: Floats
    item: Floats

    def of(self, ratings: Ratings) -> Floats:
        """The predictions (n,)."""
        predicted: Floats = self.mean + self.user[ratings.users] + self.item[ratings.items]
        return predicted


def biases(ratings: Ratings, n_users: int, n_items: int) -> Biases:
    """Fit the biases of users and items in turn."""
    mean = float(ratings.values.mean())
    user, item = np.zeros(n_users), np.zeros(n_items)
    for _ in range(_ROUNDS):
        item = _drawn(ratings.items, ratings.values - mean - user[ratings.users], n_items)
        user = _drawn(ratings.users, ratings.values - mean - item[ratings.items], n_users)
    return Biases(mean, user, item)


def _drawn(of: Ints, left: Floats, n: int) -> Floats:
    drawn: Floats = np.bincount(of, left, n) / (np.bincount(of, minlength=n) + _BIAS_PULL)
    return drawn


def factorised(ratings: Ratings, wanted: Ratings, n_users: int, n_items: int, pull: float) -> Floats:
    """Predict `wanted` by biases and `_FACTORS` factors, by alternating least squares drawn to 0 by `pull`.

    Koren, Bell and Volinsky, Matrix Factorization Techniques for Recommender Systems (2009).
    """
    base = biases(ratings, n_users, n_items)
    left = ratings.values - base.of(ratings)
    chance = np.random.default_rng(7)
    of_users, of_items = (chance.normal(0.0, 0.1, (n, _FACTORS)) for n in (n_users, n_items))
    for _ in range(_ROUNDS):
        _solve(of_users, ratings.users, of_items[ratings.items], left, pull)
        _solve(of_items, ratings.items, of_users[ratings.users], left, pull)
    predicted: Floats = base.of(wanted) + (of_users[wanted.users] * of_items[wanted.items]).sum(axis=1)
    return predicted


def _solve(into: Floats, of: Ints, others: Floats, left: Floats, pull: float) -> None:
    order = np.argsort(of, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(of[order])) + 1):
        theirs = others[rows]
        into[of[rows[0]]] = np.linalg.solve(theirs.T @ theirs + pull * np.eye(_FACTORS), theirs.T @ left[rows])


def rmse(predicted: Floats, ratings: Ratings) -> float:
    """The root mean squared error; predictions are cut to the scale."""
    return float(np.sqrt(np.mean((np.clip(predicted, 0.5, 5.0) - ratings.values) ** 2)))

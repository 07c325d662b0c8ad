"""Weights that learn from lists: which of n targets was taken, online. Pure numpy.

A list is a conditional logit: targets x_i are taken with p = softmax(X w). The weights of an expert are a normal
distribution with mean w and precision L that each list moves by one step of Laplace's approximation, as a Kalman
filter does. With X centred, t = taken / sum(taken), m = X' p and the prior's w0 and L0 = `prior` I,

    H = X' diag(p) X - m m'
    L = f L + (1 - f) L0 + H
    w = w + L^-1 (X' (t - p) + (1 - f) L0 (w0 - w))

so that what was learned is drawn to the prior again by the share 1 - f a list, and L stays bounded. Of several experts
each learns some features and keeps the fixed weights of the others; one learns nothing. They are mixed by how likely
each made the lists so far,

    share_k ~ exp(eta * sum of decay^age * log p_k(list))

hence the served weights are one vector, and few lists move few features. A list of n targets costs O(n F^2 + F^3) an
expert: about 0.2 ms for all with 50 targets.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.base.errors import PoisonError
from streams.interests.score import Floats
from streams.ranking.rows import COLUMN, LEVELS, NAMES, NAMES_OF, VERSION

#: Values beyond are cut: no feature means more there, and squares stay finite.
_GREATEST: Final = 100.0

_FEW: Final = (*(f"relevance_{level}" for level in LEVELS), "aversion", "freshness", "popularity")
_SOME: Final = (*_FEW, "recent_mean", "recent_top3", "popularity_7d", "learned_cosine")
_MORE: Final = (
    *_SOME, "freshness_6h", "share_topic", "share_interest", "touched_1d", "together_sum", "attributes_mean",
    "learned_click",
)  # fmt: skip
#: Which features each learning expert learns.
EXPERTS: Final[Mapping[str, tuple[str, ...]]] = {"few": _FEW, "some": _SOME, "more": _MORE, "all": NAMES}

_HEAD: Final = struct.Struct("<IIQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerPolicy:
    """The constants of the learner; the defaults are what docs/evaluation.md measured.

    `temperature` is how many units of the softmax one unit of the score is. `prior` is the precision of the fixed
    weights in these units, `forget` what a list leaves of the precision learned before it. `eta` is how fast the
    better expert is believed, `decay` what a list leaves of the likelihoods before it.
    """

    temperature: float = 6.0
    prior: float = 0.3
    forget: float = 0.999
    eta: float = 0.3
    decay: float = 0.999
    experts: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(EXPERTS))


@dataclass(slots=True)
class _Expert:
    """The `columns` (k,) it learns: where they start (k,), their mean (k,) and precision (k, k)."""

    columns: NDArray[np.int64]
    start: Floats
    weights: Floats
    precision: Floats


class Learner:
    """Weights of one kind of lists. A value that changes with `learn`; the same lists in order give the same bits."""

    def __init__(self, fixed: Floats, policy: LearnerPolicy) -> None:
        self._policy = policy
        self._start = fixed * policy.temperature
        self._experts = [_expert(self._start, names, policy.prior) for names in policy.experts.values()]
        self._likelihoods = np.zeros(1 + len(self._experts))
        self._lists = 0

    @classmethod
    def start(cls, fixed: Floats, policy: LearnerPolicy) -> Learner:
        """A learner that has seen nothing: its weights are `fixed` (F,)."""
        return cls(fixed, policy)

    @property
    def lists(self) -> int:
        """How many lists it has learned from."""
        return self._lists

    def shares(self) -> dict[str, float]:
        """How much each expert is believed; `fixed` is the one that learns nothing. Their sum is 1."""
        return dict(zip(("fixed", *self._policy.experts), self._shares().tolist(), strict=True))

    def weights(self) -> Floats:
        """The weights (F,) to serve, in units of the score."""
        shares = self._shares()
        mixed = shares[0] * self._start
        for share, expert in zip(shares[1:], self._experts, strict=True):
            mixed += share * self._of(expert)
        served: Floats = mixed / self._policy.temperature
        return served

    def learn(self, values: Floats, relevant: NDArray[np.bool_]) -> None:
        """Learn from a list: rows (n, F), and which of them were taken, bool (n,).

        A list of which nothing or everything was taken says nothing, and changes nothing. ValueError for a value that
        is not finite.
        """
        if not np.isfinite(values).all():
            raise ValueError("got a feature that is not finite")
        if not 0 < relevant.sum() < len(relevant):
            return
        cut = np.clip(values, -_GREATEST, _GREATEST)
        rows = cut - cut.mean(axis=0)
        taken = relevant / relevant.sum()
        self._likelihoods *= self._policy.decay
        self._likelihoods[0] += taken @ _log_softmax(rows @ self._start)
        for at, expert in enumerate(self._experts, start=1):
            logs = _log_softmax(rows @ self._of(expert))
            self._likelihoods[at] += taken @ logs
            self._step(expert, rows[:, expert.columns], taken - np.exp(logs), np.exp(logs))
        self._lists += 1

    def _step(self, expert: _Expert, rows: Floats, error: Floats, chance: Floats) -> None:
        policy = self._policy
        mean = chance @ rows
        spread = rows * np.sqrt(chance)[:, None]
        renewed = (1.0 - policy.forget) * policy.prior
        expert.precision *= policy.forget
        expert.precision += spread.T @ spread - np.outer(mean, mean)
        expert.precision[np.diag_indices(len(expert.columns))] += renewed
        gradient = rows.T @ error + renewed * (expert.start - expert.weights)
        expert.weights += np.linalg.solve(expert.precision, gradient)

    def _of(self, expert: _Expert) -> Floats:
        whole = self._start.copy()
        whole[expert.columns] = expert.weights
        return whole

    def _shares(self) -> Floats:
        raised = np.exp(self._policy.eta * (self._likelihoods - self._likelihoods.max()))
        shares: Floats = raised / raised.sum()
        return shares

    def pack(self) -> bytes:
        """All it knows, to the bit; about 10 kB."""
        state = [self._likelihoods]
        for expert in self._experts:
            state += [expert.weights, expert.precision[np.triu_indices(len(expert.columns))]]
        return _HEAD.pack(VERSION, len(NAMES), self._lists) + np.concatenate(state).astype("<f8").tobytes()

    @classmethod
    def unpack(cls, packed: bytes, fixed: Floats, policy: LearnerPolicy) -> Learner:
        """Read back what `pack` wrote under the same `fixed` and `policy`. PoisonError for anything else.

        One of an earlier version of the features is read as if what it did not have had been 0 in every list: such a
        feature keeps the weight and the precision it starts with.
        """
        learner = cls(fixed, policy)
        version, features, lists = _HEAD.unpack_from(packed) if len(packed) >= _HEAD.size else (0, 0, 0)
        known = [np.flatnonzero(one.columns < features) for one in learner._experts]
        sizes = [len(had) for had in known]
        expected = _HEAD.size + 8 * (len(learner._likelihoods) + sum(k + k * (k + 1) // 2 for k in sizes))
        if len(packed) != expected or features != len(NAMES_OF.get(version, ())):
            raise PoisonError("a learner's state of another version or size", reason="bad_state")
        state = np.frombuffer(packed, "<f8", offset=_HEAD.size).astype(np.float64)
        if not np.isfinite(state).all():
            raise PoisonError("a learner's state is not finite", reason="out_of_range")
        learner._lists = lists
        learner._likelihoods, state = _split(state, len(learner._likelihoods))
        for expert, had, k in zip(learner._experts, known, sizes, strict=True):
            expert.weights[had], state = _split(state, k)
            upper, state = _split(state, k * (k + 1) // 2)
            square = np.zeros((k, k))
            square[np.triu_indices(k)] = upper
            square.T[np.triu_indices(k)] = upper
            expert.precision[np.ix_(had, had)] = square
        return learner


def _expert(start: Floats, names: tuple[str, ...], prior: float) -> _Expert:
    columns = np.array([COLUMN[name] for name in names])
    return _Expert(columns, start[columns], start[columns].copy(), np.eye(len(columns)) * prior)


def _log_softmax(scores: Floats) -> Floats:
    lowered = scores - scores.max()
    logs: Floats = lowered - np.log(np.exp(lowered).sum())
    return logs


def _split(state: Floats, at: int) -> tuple[Floats, Floats]:
    return state[:at].copy(), state[at:]

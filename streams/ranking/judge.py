"""Whether learned weights are served: their live quality against that of the fixed ones, list by list. Pure.

Both rank the same lists; what counts is the difference of their reciprocal ranks, learned minus fixed, as a mean whose
past fades. The learned weights are given up where that mean is below 0 by `stop_errors` standard errors. They come
back where it is above 0 by `back_errors`, or has not been below by as many for `patience` lists in a row: both are
ranked all the while.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from streams.base.errors import PoisonError


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePolicy:
    """The constants of the judge.

    A list leaves `decay` of what counted before it, so that about 1 / (1 - decay) lists count; before `least` of them
    nothing is given up. Of learned weights that are as good as the fixed ones one in three is given up, wrongly, within
    5,000 lists, and is back after some 200: fixed weights rank then, which are as good.
    """

    decay: float = 0.99
    least: int = 50
    stop_errors: float = 3.0
    back_errors: float = 2.0
    patience: int = 100


class Difference(NamedTuple):
    """The faded mean of reciprocal ranks, learned minus fixed, and its standard error; infinite before two lists."""

    mean: float
    error: float


_STATE: Final = struct.Struct("<4dQQ?")


class Judge:
    """The record of one kind of lists. A value that changes with `observe`."""

    def __init__(self, policy: JudgePolicy) -> None:
        self._policy = policy
        self._weight = self._squared_weight = self._sum = self._squares = 0.0
        self._lists = self._calm = 0
        self._serve = True

    @property
    def serve(self) -> bool:
        """Whether the learned weights are to be served; True until they have shown to be worse."""
        return self._serve

    @property
    def difference(self) -> Difference:
        """How much better the learned weights are of late."""
        if self._lists < 2:
            return Difference(self._sum, math.inf)
        mean = self._sum / self._weight
        lists = self._weight**2 / self._squared_weight  # as many of equal weight would have the same error
        variance = max(self._squares / self._weight - mean**2, 0.0)
        return Difference(mean, math.sqrt(variance / (lists - 1.0)))

    def observe(self, learned: float, fixed: float) -> None:
        """Take the reciprocal ranks, each in [0, 1], that both gave to what was taken from one list."""
        policy, by = self._policy, learned - fixed
        self._weight = self._weight * policy.decay + 1.0
        self._squared_weight = self._squared_weight * policy.decay**2 + 1.0
        self._sum = self._sum * policy.decay + by
        self._squares = self._squares * policy.decay + by * by
        self._lists += 1
        mean, error = self.difference
        if self._serve:
            self._serve = self._lists < policy.least or mean + policy.stop_errors * error >= 0.0
            self._calm = 0
            return
        self._calm = self._calm + 1 if mean + policy.back_errors * error >= 0.0 else 0
        self._serve = mean - policy.back_errors * error > 0.0 or self._calm >= policy.patience

    def pack(self) -> bytes:
        """All it knows, to the bit."""
        return _STATE.pack(
            self._weight, self._squared_weight, self._sum, self._squares, self._lists, self._calm, self._serve
        )

    @classmethod
    def unpack(cls, packed: bytes, policy: JudgePolicy) -> Judge:
        """Read back what `pack` wrote. PoisonError for anything else."""
        if len(packed) != _STATE.size:
            raise PoisonError("a judge's state of another size", reason="bad_state")
        judge = cls(policy)
        *sums, judge._lists, judge._calm, judge._serve = _STATE.unpack(packed)
        if not all(math.isfinite(one) for one in sums):
            raise PoisonError("a judge's state is not finite", reason="out_of_range")
        judge._weight, judge._squared_weight, judge._sum, judge._squares = sums
        return judge

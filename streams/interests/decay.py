"""Decay by half-life and when a mass has run out: the one definition, for nodes, popularity and evidence. Pure.

Times are in ms since the epoch. A mass W at t0 is W * 2^(-(t - t0)/h) at t; before t0 the mass at t0 is given. It has
run out at the first millisecond at which it counts for nothing: from then on whoever asks gets the same answer,
whether they work it out or filter stored points by `expires_at`.
"""

from __future__ import annotations

import math

_SMALLEST_EXPONENT = -996  # 2^-996 is about 1e-300


def decay(elapsed_ms: float, half_life_ms: float) -> float:
    """The share of a weight that is left after `elapsed_ms`: 2^(-elapsed/h); under 1e-300 it is 0."""
    exponent = -elapsed_ms / half_life_ms
    return 2.0**exponent if exponent > _SMALLEST_EXPONENT else 0.0


def decayed(mass: float, t0_ms: int, at_ms: int, half_life_ms: float) -> float:
    """A mass of `t0_ms` as it is at `at_ms`; before t0 as it is at t0."""
    return mass * decay(max(0, at_ms - t0_ms), half_life_ms)


def runs_out_ms(mass: float, t0_ms: int, half_life_ms: float, below: float) -> int:
    """When a mass falls under `below`: t0 + h * log2(mass / below), in ms; t0 where it never was above."""
    return t0_ms + int(half_life_ms * math.log2(mass / below)) if mass > below else t0_ms

"""All faults, by importing the modules that register them."""

from __future__ import annotations

from tests.fault import (
    broker,
    erasures,
    hostile,
    inputs,
    kills,
    learned,
    logs,
    overload,
    qdrant,
    stack,
    triton,
    zombies,
)
from tests.fault.registry import SCENARIOS

__all__ = [
    "SCENARIOS",
    "broker",
    "erasures",
    "hostile",
    "inputs",
    "kills",
    "learned",
    "logs",
    "overload",
    "qdrant",
    "stack",
    "triton",
    "zombies",
]

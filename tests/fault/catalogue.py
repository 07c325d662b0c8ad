"""All faults, by importing the modules that register them."""

from __future__ import annotations

from tests.fault import broker, inputs, kills, overload, qdrant, triton, zombies
from tests.fault.registry import SCENARIOS

__all__ = ["SCENARIOS", "broker", "inputs", "kills", "overload", "qdrant", "triton", "zombies"]

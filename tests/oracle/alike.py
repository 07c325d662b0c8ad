"""Two runs held against each other, node by node: how far apart they are, and where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from streams.interests.nodes import Node, NodeKey, NodePolicy, mass_at
from tests.oracle.check import MASSES, VECTORS


@dataclass(slots=True)
class Alike:
    """How many nodes both have, the largest difference of a direction's component and of masses, relative."""

    nodes: int = 0
    vectors: float = 0.0
    masses: float = 0.0
    differ: list[str] = field(default_factory=list)


def alike(one: Mapping[NodeKey, Node], two: Mapping[NodeKey, Node], policy: NodePolicy) -> Alike:
    """Compare vectors to 1e-4 and masses to 1e-6 at a common time; a spent node counts as none."""
    found = Alike()
    for key in sorted(one.keys() | two.keys()):
        left, right = one.get(key), two.get(key)
        if left is None or right is None:
            only = left or right
            if only is not None and only.mass >= 1e-9:
                found.differ.append(f"{_name(key)} is only in the {'first' if right is None else 'second'} run")
            continue
        found.nodes += 1
        _compare(left, right, policy, found)
    return found


def _compare(left: Node, right: Node, policy: NodePolicy, found: Alike) -> None:
    at_ms, name = max(left.t0_ms, right.t0_ms), _name(left.key)
    masses = [mass_at(node, at_ms, policy) for node in (left, right)]
    nets = [node.net / node.mass if node.mass else 0.0 for node in (left, right)]
    apart = float(np.abs(left.direction - right.direction).max())
    heavier = abs(masses[0] - masses[1]) / max(*masses, 1e-300)
    found.vectors, found.masses = max(found.vectors, apart), max(found.masses, heavier)
    if apart > VECTORS:
        found.differ.append(f"{name} points elsewhere: off by {apart:.3g}")
    if heavier > MASSES:
        found.differ.append(f"{name} has mass {masses[0]:.9g} and {masses[1]:.9g}")
    if abs(nets[0] - nets[1]) > MASSES:
        found.differ.append(f"{name} has net {nets[0]:.9g} and {nets[1]:.9g} of its mass")
    if left.count != right.count:
        found.differ.append(f"{name} counts {left.count} and {right.count} contributions")


def _name(key: NodeKey) -> str:
    return f"{key.user_id} {key.level} {key.path}"

"""Features that come from the learned model: what its nodes of a person say of each target. Pure numpy.

For a target v, and the node of a path with direction d, scale a and bias b,

    learned_cosine = <d, v>                  of the interest, at "/"
    learned_<task> = 1 / (1 + e^-(a <d, v> + b))    at "/<task>": the probability of the task

Where a person has no such node the feature is 0, which no probability is. One product of (n, dim) and (dim, 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from streams.interests.nodes import Vector
from streams.interests.score import Floats
from streams.ranking.parts import TASKS
from streams.ranking.rows import COLUMN, LearnedNode, LearnedView

_COLUMN_AT: Final[Mapping[str, int]] = {
    "/": COLUMN["learned_cosine"], **{f"/{task}": COLUMN[f"learned_{task}"] for task in TASKS},
}  # fmt: skip


def answers(nodes: Sequence[LearnedNode], vectors: Vector) -> Floats:
    """What k nodes say of targets (n, dim), float64 (n, k): the cosine for the interest, a probability for a task."""
    if not nodes or not len(vectors):
        return np.zeros((len(vectors), len(nodes)))
    found: Floats = (vectors @ np.stack([node.direction for node in nodes]).T).astype(np.float64)
    for at, node in enumerate(nodes):
        if node.path != "/":
            found[:, at] = 0.5 + 0.5 * np.tanh(0.5 * (node.scale * found[:, at] + node.bias))  # never overflows
    return found


def fill_learned(values: Floats, learned: LearnedView | None, vectors: Vector) -> None:
    """Fill the columns of the learned model into `values` (n, F); `vectors` (n, dim) are the targets'."""
    nodes = _known(learned)
    if nodes:
        values[:, [_COLUMN_AT[node.path] for node in nodes]] = answers(nodes, vectors)


def by_learned(values: Floats, learned: LearnedView | None, weights: Floats) -> Floats:
    """What each node of the model adds to each score of rows (n, F) by weights (F,), float64 (n, k) in their order."""
    nodes = () if learned is None else learned.nodes
    added = np.zeros((len(values), len(nodes)))
    for at, node in enumerate(nodes):
        column = _COLUMN_AT.get(node.path)
        if column is not None:
            added[:, at] = values[:, column] * weights[column]
    return added


def _known(learned: LearnedView | None) -> list[LearnedNode]:
    """The nodes whose paths have a feature: a model may have tasks that this version does not know."""
    return [] if learned is None else [node for node in learned.nodes if node.path in _COLUMN_AT]

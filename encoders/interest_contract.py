"""What the model `interest_encoder` takes and gives: a person's recent items in, their learned interest out.

Declared once for server, client and configuration. A row is a person. Sizes that vary: L recent items, D of a vector,
T tasks; all three are fixed when a model is exported.
"""

from __future__ import annotations

from encoders.model_repository import Batching, TensorSpec

MODEL_NAME = "interest_encoder"
MAX_BATCH = 256
"""People in one pass: in one request, or in several that the server joins."""
MAX_QUEUE = 32
"""Requests that may wait in the server; one more is rejected with UNAVAILABLE. One of 256 people has some 7 MB."""
QUEUE_TIMEOUT_US = 10_000_000
"""How long a request may wait when the client does not say: 10 s, then it is rejected."""
QUEUE_DELAY_US = 2_000
"""How long a request may wait for others to share its pass: 2 ms."""
NORM_TOLERANCE = 1e-2
"""How far the length of an interest may be from 1 before the client refuses it."""
ATTENTION_TOLERANCE = 1e-2
"""How far a person's attention shares may be from a sum of 1; they are all 0 where the history is empty."""

VECTORS = TensorSpec("VECTORS", "FP16", (-1, -1, -1))
"""(n, L, D): the items' unit vectors, oldest first, zeros at the end where a history is shorter."""
TYPES = TensorSpec("TYPES", "INT32", (-1, -1))
"""(n, L): the code of each event's type (`encoders.histories.TYPES`, from 1 on), 0 where there is none."""
WEIGHTS = TensorSpec("WEIGHTS", "FP32", (-1, -1))
"""(n, L): each event's signed weight."""
AGES = TensorSpec("AGES", "FP32", (-1, -1))
"""(n, L): seconds from each event to the person's latest one, at least 0."""

INTERESTS = TensorSpec("INTERESTS", "FP32", (-1, -1, -1))
"""(n, 1 + T, D): the interest, then a direction a task; each of length 1. See `encoders.answers.Answers`."""
SCALES = TensorSpec("SCALES", "FP32", (-1, -1))
"""(n, T): above 0. A task's logit for an item of unit vector v is scale · ⟨direction, v⟩ + bias."""
BIASES = TensorSpec("BIASES", "FP32", (-1, -1))
"""(n, T)."""
CLICK_THROUGH = TensorSpec("CLICK_THROUGH", "FP32", (-1, 2))
"""(n, 2): mean and variance of the person's click-through rate."""
ATTENTION = TensorSpec("ATTENTION", "FP32", (-1, -1))
"""(n, L): the share of each event in the interest; they sum to 1, or to 0 where the history is empty."""

INPUTS = (VECTORS, TYPES, WEIGHTS, AGES)
OUTPUTS = (INTERESTS, SCALES, BIASES, CLICK_THROUGH, ATTENTION)
BATCHING = Batching(MAX_BATCH, MAX_QUEUE, QUEUE_DELAY_US, QUEUE_TIMEOUT_US)

MODEL_ID_PARAMETER = "model_id"
"""The configuration's parameter that names what makes the answers: weights, configuration and text encoder."""
ENCODER_ID_PARAMETER = "encoder_id"
"""The text encoder whose vectors it reads. A request names its own the same way; another one is refused."""
TASKS_PARAMETER = "tasks"
"""The tasks in the order of their rows, with commas between them."""
HISTORY_PARAMETER = "history"
"""L."""
GRAPH_PARAMETER = "graph"
"""The digest of the converted graph, so that a server finds out that it lies beside another model's configuration."""


def sized_inputs(history: int, dim: int) -> tuple[TensorSpec, ...]:
    """The inputs of a model that reads `history` items with vectors of `dim`."""
    flat = tuple(spec.with_sizes(history) for spec in (TYPES, WEIGHTS, AGES))
    return (VECTORS.with_sizes(history, dim), *flat)


def sized_outputs(history: int, dim: int, tasks: int) -> tuple[TensorSpec, ...]:
    """The outputs of such a model with so many tasks."""
    return (
        INTERESTS.with_sizes(1 + tasks, dim),
        SCALES.with_sizes(tasks),
        BIASES.with_sizes(tasks),
        CLICK_THROUGH,
        ATTENTION.with_sizes(history),
    )

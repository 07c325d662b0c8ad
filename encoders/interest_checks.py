"""What a server of learned interests looks at before it believes a folder or a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from encoders.errors import HistoriesRefused, ModelError
from encoders.histories import TYPES as EVENT_TYPES
from encoders.histories import Histories
from encoders.interest_backends import ServedModel, graph_digest
from encoders.interest_contract import (
    AGES,
    ENCODER_ID_PARAMETER,
    GRAPH_PARAMETER,
    HISTORY_PARAMETER,
    MODEL_ID_PARAMETER,
    TASKS_PARAMETER,
    TYPES,
    VECTORS,
    WEIGHTS,
    sized_inputs,
    sized_outputs,
)


def check_expectation(parameters: str, model: ServedModel) -> None:
    """Refuse a client of another text encoder, or one that began with another model.

    `parameters` is the request's, as JSON; what it does not name may be anything. Raises HistoriesRefused.
    """
    given = json.loads(parameters or "{}")
    for name, served in ((ENCODER_ID_PARAMETER, model.encoder_id), (MODEL_ID_PARAMETER, model.model_id)):
        if given.get(name, served) != served:
            raise HistoriesRefused(f"{name} {served} is served, the client expects {given[name]}")


def checked_histories(vectors: Any, types: Any, weights: Any, ages_s: Any) -> Histories:
    """A request's tensors as histories. Raises HistoriesRefused for what no history can be."""
    for spec, array in ((VECTORS, vectors), (WEIGHTS, weights), (AGES, ages_s)):
        if not np.isfinite(array).all():
            raise HistoriesRefused(f"{spec.name}: expected finite numbers")
    if types.min(initial=0) < 0 or types.max(initial=0) > len(EVENT_TYPES):
        raise HistoriesRefused(f"{TYPES.name}: expected codes from 0 to {len(EVENT_TYPES)}")
    if (np.diff((types > 0).astype(np.int8), axis=1) > 0).any():
        raise HistoriesRefused(f"{TYPES.name}: expected what is 0, padding, at the end")
    if ages_s.min(initial=0) < 0:
        raise HistoriesRefused(f"{AGES.name}: expected ages of at least 0")
    return Histories(vectors, types, weights, ages_s)


def check_promise(model: ServedModel, config: Mapping[str, Any], parameters: Mapping[str, str], folder: Path) -> None:
    """Compare the model in a folder with what the configuration tells clients; ModelError where they differ."""
    promised = {
        MODEL_ID_PARAMETER: model.model_id,
        ENCODER_ID_PARAMETER: model.encoder_id,
        TASKS_PARAMETER: ",".join(model.tasks),
        HISTORY_PARAMETER: str(model.history),
        GRAPH_PARAMETER: graph_digest(folder),
    }
    for name, there in promised.items():
        if parameters.get(name) != there:
            raise ModelError(
                f"config.pbtxt promises {name} {parameters.get(name)!r}, the model has {there!r}: export it again"
            )
    sized = {
        "input": sized_inputs(model.history, model.dim),
        "output": sized_outputs(model.history, model.dim, len(model.tasks)),
    }
    for kind, specs in sized.items():
        dims = {tensor["name"]: [int(size) for size in tensor["dims"]] for tensor in config[kind]}
        if dims != {spec.name: list(spec.shape[1:]) for spec in specs}:
            raise ModelError(f"config.pbtxt promises {kind}s of {dims}, the model has others: export it again")

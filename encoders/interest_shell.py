"""The Triton side of a model of learned interests: requests in, one pass over all their people, responses out.

Imported by `1/model.py` inside Triton's Python backend, which alone has `triton_python_backend_utils`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from encoders.answers import Answers
from encoders.errors import HistoriesRefused
from encoders.histories import Histories
from encoders.interest_backends import InterestBackend, ServedModel, make_interest_backend, read_served
from encoders.interest_checks import check_expectation, check_promise, checked_histories
from encoders.interest_contract import AGES, OUTPUTS, TYPES, VECTORS, WEIGHTS

_WARM_UP = (1, 32)  # people


class TritonPythonModel:
    """What Triton calls. One instance holds one model; requests of a dynamic batch are answered together."""

    _model: ServedModel
    _backend: InterestBackend

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model that lies beside this version's model.py and warm it up.

        Raises ModelError where the answers would not be those the configuration promises.
        """
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        on_gpu = args["model_instance_kind"] == "GPU"
        self._model = read_served(folder)
        check_promise(self._model, config, parameters, folder)
        self._backend = make_interest_backend(
            folder,
            backend=parameters.get("backend") or "auto",
            device=f"cuda:{args['model_instance_device_id']}" if on_gpu else "",
            precision=parameters.get("precision") or "f32",
            threads=int(parameters.get("threads") or 0),
        )
        for people in _WARM_UP:
            self._backend.run(Histories.empty(people, self._model.history, self._model.dim))
        pb.Logger.log_info(f"{self._model.model_id} on {self._backend.name}, of {self._model.encoder_id}")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, in order. A request that cannot be answered gets INVALID_ARG, alone."""
        outcomes = [self._histories(request) for request in requests]
        fine = [outcome for outcome in outcomes if isinstance(outcome, Histories)]
        answers = tensors_of(self._backend.run(joined(fine))) if fine else []
        responses, at = [], 0
        for outcome in outcomes:
            if isinstance(outcome, HistoriesRefused):
                error = pb.TritonError(str(outcome), pb.TritonError.INVALID_ARG)
                responses.append(pb.InferenceResponse(output_tensors=[], error=error))
                continue
            rows = slice(at, at + len(outcome))
            at += len(outcome)
            responses.append(
                pb.InferenceResponse(output_tensors=[pb.Tensor(name, array[rows]) for name, array in answers])
            )
        return responses

    def _histories(self, request: Any) -> Histories | HistoriesRefused:
        vectors, types, weights, ages_s = (
            pb.get_input_tensor_by_name(request, spec.name).as_numpy() for spec in (VECTORS, TYPES, WEIGHTS, AGES)
        )
        try:
            check_expectation(request.parameters(), self._model)
            return checked_histories(vectors.astype(np.float32), types, weights, ages_s)
        except HistoriesRefused as error:
            return error


def joined(parts: Sequence[Histories]) -> Histories:
    """The people of several requests, one request after the other."""
    if len(parts) == 1:
        return parts[0]
    return Histories(
        np.concatenate([part.vectors for part in parts]), np.concatenate([part.types for part in parts]),
        np.concatenate([part.weights for part in parts]), np.concatenate([part.ages_s for part in parts]),
    )  # fmt: skip


def tensors_of(answers: Answers) -> list[tuple[str, Any]]:
    """Answers as the contract's outputs, by name."""
    arrays = (answers.interests, answers.scales, answers.biases, answers.click_through, answers.attention)
    return [(spec.name, np.ascontiguousarray(array, np.float32)) for spec, array in zip(OUTPUTS, arrays, strict=True)]

"""The Triton side of an encoder: requests in, one encoding of them all, responses out.

Imported by `1/model.py` inside Triton's Python backend, which alone has `triton_python_backend_utils`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from encoders.contract import EMBEDDING, ENCODER_ID_PARAMETER, MAX_TEXT_BYTES, SENTIMENT, TEXT
from encoders.encoder import LoadedEncoder, load_encoder
from encoders.errors import ModelError, TextsRefused

WARM_UP = ("warm up", "预热一下这个模型", "a longer text, so that the first real request meets no new shape " * 4)


class TritonPythonModel:
    """What Triton calls. One instance holds one model; requests of a dynamic batch are encoded together."""

    _encoder: LoadedEncoder
    _max_text_bytes: int

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model named by the configuration's parameters and warm it up.

        Raises ModelError where the vectors would not be those the configuration promises.
        """
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        on_gpu = args["model_instance_kind"] == "GPU"
        self._max_text_bytes = int(parameters.get("max_text_bytes") or MAX_TEXT_BYTES)
        self._encoder = load_encoder(
            parameters["model"],
            backend=parameters.get("backend") or "auto",
            cache=Path(parameters["cache"]) if parameters.get("cache") else None,
            max_tokens=int(parameters.get("max_tokens") or 0) or None,
            device=f"cuda:{args['model_instance_device_id']}" if on_gpu else "",
            streams=int(parameters.get("streams") or 0),
            precision=parameters.get("precision") or "float",
            compiled=parameters.get("compile") == "on",
            prompt=parameters.get("prompt", ""),
            keep=int(parameters.get("dim") or 0),
        )
        check_promise(self._encoder, config, parameters.get(ENCODER_ID_PARAMETER, ""))
        self._encoder.encode(WARM_UP)
        if on_gpu and "cpu" in self._encoder.backend.name:
            pb.Logger.log_warn("int8 runs on the CPU and leaves the GPU idle: export with --precision float to use it")
        pb.Logger.log_info(f"{self._encoder.encoder_id} on {self._encoder.backend.name}, dim {self._encoder.dim}")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response a request, in order. A request with a text that cannot be encoded gets INVALID_ARG, alone."""
        outcomes: list[list[str] | TextsRefused] = [self._texts(request) for request in requests]
        together = [text for texts in outcomes if isinstance(texts, list) for text in texts]
        vectors, signs = self._encoder.encode(together)
        responses, at = [], 0
        for texts in outcomes:
            if isinstance(texts, TextsRefused):
                error = pb.TritonError(str(texts), pb.TritonError.INVALID_ARG)
                responses.append(pb.InferenceResponse(output_tensors=[], error=error))
                continue
            rows = slice(at, at + len(texts))
            at += len(texts)
            tensors = [pb.Tensor(EMBEDDING.name, vectors[rows]), pb.Tensor(SENTIMENT.name, signs[rows, np.newaxis])]
            responses.append(pb.InferenceResponse(output_tensors=tensors))
        return responses

    def _texts(self, request: Any) -> list[str] | TextsRefused:
        raw = pb.get_input_tensor_by_name(request, TEXT.name).as_numpy().reshape(-1)
        try:
            check_expectation(request.parameters(), self._encoder.encoder_id)
            return [decoded(value, self._max_text_bytes) for value in raw]
        except TextsRefused as error:
            return error


def check_expectation(parameters: str, encoder_id: str) -> None:
    """Refuse a client that began with another model: its vectors would be mixed with these.

    `parameters` is the request's, as JSON; without `encoder_id` among them anything goes. Raises TextsRefused.
    """
    expected = json.loads(parameters or "{}").get(ENCODER_ID_PARAMETER, encoder_id)
    if expected != encoder_id:
        raise TextsRefused(f"{encoder_id} is served, the client expects {expected}")


def decoded(value: bytes, max_text_bytes: int) -> str:
    """The bytes of one text as a string. Raises TextsRefused where they are too many or not UTF-8."""
    if len(value) > max_text_bytes:
        raise TextsRefused(f"a text has {len(value)} bytes, at most {max_text_bytes}")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"a text is not UTF-8 at byte {error.start}"
        raise TextsRefused(message) from error


def check_promise(encoder: LoadedEncoder, config: dict[str, Any], promised_id: str) -> None:
    """Compare the loaded model with what the configuration tells clients; ModelError where they differ."""
    if promised_id != encoder.encoder_id:
        raise ModelError(
            f"config.pbtxt promises encoder_id {promised_id!r}, the model is {encoder.encoder_id!r}: "
            "export it again (interests encoder export)"
        )
    dims = next(output["dims"] for output in config["output"] if output["name"] == EMBEDDING.name)
    if [int(n) for n in dims] != [encoder.dim]:
        raise ModelError(f"config.pbtxt promises dims {dims}, the model has {encoder.dim}: export it again")

"""The model that makes vectors of texts, on a Triton server: its requests, and its answers checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import numpy as np

from encoders.contract import EMBEDDING, ENCODER_ID_PARAMETER, NORM_TOLERANCE, OUTPUTS, SENTIMENT, TEXT
from streams.base.credentials import TlsFiles
from streams.base.errors import ConfigurationError, WrongModelOutput
from streams.encoder.breaker import Breaker
from streams.encoder.triton import Floats, TritonModel, checked_tensor


class EncoderObserver(Protocol):
    """Called with what the client does; a metrics class fits it."""

    def encoder_called(self, seconds: float, texts: int) -> None:
        """One request of `texts` texts was answered rightly after `seconds`."""

    def encoder_retried(self, code: str) -> None:
        """One attempt failed with a gRPC status name or `QUEUE_FULL`, and is made again."""

    def encoder_breaker(self, is_open: bool) -> None:
        """The breaker opened or closed."""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What the server says of its model: the id that names its vectors, their length, and texts a request at most."""

    encoder_id: str
    dim: int
    max_batch: int


class TextModel:
    """The text encoder `name` of the server at `url` ("host:port"); nothing connects before the first call.

    `deadline_s` bounds a call, its retries included. Texts a request are at most `max_batch`. For one event loop.
    """

    def __init__(
        self, url: str, name: str, *, deadline_s: float, max_batch: int, breaker: Breaker,
        observer: EncoderObserver | None, tls: TlsFiles | None,
    ) -> None:  # fmt: skip
        self._model = TritonModel(
            url, name, deadline_s=deadline_s, breaker=breaker, tls=tls,
            on_retry=observer.encoder_retried if observer else None,
            on_breaker=observer.encoder_breaker if observer else None,
        )  # fmt: skip
        self._max_batch = max_batch
        self._observer = observer

    @property
    def failing(self) -> bool:
        """Whether it failed several times in a row, so that calls are refused or on trial."""
        return self._model.failing

    def deadline(self) -> float:
        """When a call that begins now has to be over, on the monotonic clock."""
        return self._model.deadline()

    async def info(self, end: float) -> EncoderInfo:
        """What the server serves now. Raises EncoderUnavailable, or ConfigurationError for another kind of model."""
        return info_of(await self._model.config(end), self._max_batch)

    async def encode(self, texts: Sequence[str], info: EncoderInfo, end: float, *, once: bool = False) -> Floats:
        """Rows of vector and sentiment, shape (n, dim + 1), for texts of one request.

        `once` makes no second attempt. Raises Busy past the deadline, RequestRefused, WrongModelOutput, and
        EncoderUnavailable while the breaker is open.
        """
        start = monotonic()
        array = np.array([[text.encode()] for text in texts], object)
        block = await self._model.infer(
            [(TEXT, array)], OUTPUTS, end, parameters={ENCODER_ID_PARAMETER: info.encoder_id}, once=once,
            check=lambda reply: checked(reply[0], reply[1], len(texts), info.dim),
        )  # fmt: skip
        if self._observer:
            self._observer.encoder_called(monotonic() - start, len(texts))
        return block

    async def ready(self) -> bool:
        """Whether the server answers, within two seconds, that the model is ready."""
        return await self._model.ready()

    async def close(self) -> None:
        """Close the connection."""
        await self._model.close()


def info_of(config: Any, max_batch: int) -> EncoderInfo:
    """EncoderInfo from the model's configuration. Raises ConfigurationError where it is not an encoder of ours."""
    outputs = {output.name: list(output.dims) for output in config.output}
    encoder_id = (
        config.parameters[ENCODER_ID_PARAMETER].string_value if ENCODER_ID_PARAMETER in config.parameters else ""
    )
    dims = outputs.get(EMBEDDING.name, [])
    if not encoder_id or len(dims) != 1 or dims[0] < 1 or outputs.get(SENTIMENT.name) != [1]:
        raise ConfigurationError(
            f"Triton's model {config.name}: expected outputs {EMBEDDING.name} [D] and {SENTIMENT.name} [1] and the "
            f"parameter {ENCODER_ID_PARAMETER}, got {outputs}; export it with `interests encoder export`"
        )
    return EncoderInfo(encoder_id, int(dims[0]), min(max_batch, int(config.max_batch_size) or 1))


def checked(vectors: object, sentiment: object, n: int, dim: int) -> Floats:
    """The reply for `n` texts as one block of shape (n, dim + 1): the vectors, then the sentiment.

    Raises WrongModelOutput where a tensor is missing, its type, count or dimension differs, a value is not finite,
    a vector's length is not 1 ± 0.01 or a sentiment lies outside [-1, 1].
    """
    block = np.empty((n, dim + 1), np.float32)
    block[:, :dim] = checked_tensor(vectors, EMBEDDING, n, dim)
    block[:, dim:] = checked_tensor(sentiment, SENTIMENT, n, 1)
    if not np.isfinite(block).all():
        raise WrongModelOutput(f"encoder: expected finite values, got {np.count_nonzero(~np.isfinite(block))} others")
    norms = np.linalg.norm(block[:, :dim], axis=1)
    if n and np.abs(norms - 1).max() > NORM_TOLERANCE:
        raise WrongModelOutput(f"encoder: expected vectors of length 1, got {norms.min():.3f} to {norms.max():.3f}")
    if n and np.abs(block[:, dim]).max() > 1:
        raise WrongModelOutput(f"encoder: expected sentiments in [-1, 1], got up to {np.abs(block[:, dim]).max():.3f}")
    return block

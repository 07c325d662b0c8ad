"""One model on a Triton server, over gRPC: a deadline a call, retries of errors that may pass, answers checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from encoders.contract import EMBEDDING, ENCODER_ID_PARAMETER, NORM_TOLERANCE, SENTIMENT, TEXT
from streams.base.credentials import TlsFiles, untrusted
from streams.base.errors import ConfigurationError, EncoderUnavailable, WrongModelOutput
from streams.encoder.breaker import Breaker

T = TypeVar("T")
Floats = npt.NDArray[np.float32]

_REFUSED = "StatusCode.INVALID_ARGUMENT"
_CRASHES = frozenset({"UNAVAILABLE", "INTERNAL", "UNKNOWN"})  # what an encoder that goes down leaves behind
_QUEUE_FULL = "maximum queue size"  # Triton's words when its bounded queue rejects; it comes as UNAVAILABLE
_CHANNEL = [
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),  # gRPC's own goes up to two minutes
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


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


class Busy(EncoderUnavailable):
    """An attempt failed in a way that another may not."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"Triton: {code}: {message}")
        self.code = code

    @property
    def may_be_crash(self) -> bool:
        """Whether a model that went down over this request would have failed like this."""
        return self.code in _CRASHES


class RequestRefused(EncoderUnavailable):
    """The server called the request invalid; whether a text is at fault is not known yet."""


class TritonModel:
    """The model `name` of the server at `url` ("host:port"); nothing connects before the first call.

    `deadline_s` bounds a call, its retries included. Texts a request are at most `max_batch`. For one event loop.
    """

    def __init__(
        self, url: str, name: str, *, deadline_s: float, max_batch: int, breaker: Breaker,
        observer: EncoderObserver | None, tls: TlsFiles | None,
    ) -> None:  # fmt: skip
        self._url, self._name = url, name
        self._deadline_s, self._max_batch = deadline_s, max_batch
        self._breaker = breaker
        self._last = ""  # what Triton said at its last failure
        self._observer = observer
        self._credentials = tls.grpc() if tls else None
        self._channel: Any = None

    @property
    def failing(self) -> bool:
        """Whether it failed several times in a row, so that calls are refused or on trial."""
        return self._breaker.is_open

    def deadline(self) -> float:
        """When a call that begins now has to be over, on the monotonic clock."""
        return monotonic() + self._deadline_s

    async def info(self, end: float) -> EncoderInfo:
        """What the server serves now. Raises EncoderUnavailable, or ConfigurationError for another kind of model."""
        return info_of(await self._retrying(self._read_config, end), self._max_batch)

    async def encode(self, texts: Sequence[str], info: EncoderInfo, end: float, *, once: bool = False) -> Floats:
        """Rows of vector and sentiment, shape (n, dim + 1), for texts of one request.

        `once` makes no second attempt. Raises Busy past the deadline, RequestRefused, WrongModelOutput, and
        EncoderUnavailable while the breaker is open.
        """
        start = monotonic()
        block = await self._retrying(lambda left_s: self._infer(texts, info, left_s), end, once=once)
        if self._observer:
            self._observer.encoder_called(monotonic() - start, len(texts))
        return np.asarray(block, np.float32)

    async def ready(self) -> bool:
        """Whether the server answers, within two seconds, that the model is ready."""
        try:
            return bool(await self._client().is_model_ready(self._name, client_timeout=2.0))
        except InferenceServerException:
            return False

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    async def _infer(self, texts: Sequence[str], info: EncoderInfo, left_s: float) -> Floats:
        tensor = aio.InferInput(TEXT.name, [len(texts), 1], TEXT.dtype)
        tensor.set_data_from_numpy(np.array([[text.encode()] for text in texts], object))
        result = await self._client().infer(
            self._name, [tensor], timeout=max(1, int(left_s * 1e6)), client_timeout=left_s,
            parameters={ENCODER_ID_PARAMETER: info.encoder_id},
        )  # fmt: skip
        return checked(result.as_numpy(EMBEDDING.name), result.as_numpy(SENTIMENT.name), len(texts), info.dim)

    async def _read_config(self, left_s: float) -> Any:
        return (await self._client().get_model_config(self._name, client_timeout=left_s)).config

    async def _retrying(self, call: Callable[[float], Awaitable[T]], end: float, *, once: bool = False) -> T:
        """`await call(seconds left)`, retried after errors that may pass, until `end`."""
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Busy),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=lambda state: once or monotonic() + state.upcoming_sleep >= end,
            before_sleep=self._retried,
            reraise=True,
        )
        return await attempts(self._attempt, call, end)

    async def _attempt(self, call: Callable[[float], Awaitable[T]], end: float) -> T:
        # A call that hangs leaves half of the time to another one.
        left_s = max(0.001, min(end - monotonic(), self._deadline_s / 2))
        wait_s = self._breaker.admit(left_s)
        if wait_s:
            raise EncoderUnavailable(
                f"Triton failed several times in a row; not asked now{self._last}", retry_after_s=wait_s
            )
        try:
            answer = await call(left_s)
        except InferenceServerException as error:
            code = str(error.status()).removeprefix("StatusCode.")
            message = str(error.message())[:200]
            if error.status() == _REFUSED:
                self._note(answered=True)
                raise RequestRefused(message) from error
            if untrusted(str(error.message())):
                raise ConfigurationError(
                    "Triton's certificate is signed by nobody we trust, or for another host: check triton.ca_file and "
                    "triton.url"
                ) from error
            queue_full = _QUEUE_FULL in message
            self._note(answered=queue_full)
            self._last = f": {message}"
            raise Busy("QUEUE_FULL" if queue_full else code, message) from error
        self._note(answered=True)
        return answer

    def _note(self, *, answered: bool) -> None:
        was_open = self._breaker.is_open
        if answered:
            self._breaker.succeeded()
        else:
            self._breaker.failed()
        if self._observer and was_open != self._breaker.is_open:
            self._observer.encoder_breaker(self._breaker.is_open)

    def _retried(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if self._observer and isinstance(error, Busy):
            self._observer.encoder_retried(error.code)

    def _client(self) -> Any:
        if self._channel is None:
            credentials = grpc.ssl_channel_credentials(**self._credentials) if self._credentials else None
            self._channel = aio.InferenceServerClient(self._url, creds=credentials, channel_args=_CHANNEL)
        return self._channel


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
    block[:, :dim] = _tensor(vectors, EMBEDDING.name, (n, dim))
    block[:, dim:] = _tensor(sentiment, SENTIMENT.name, (n, 1))
    if not np.isfinite(block).all():
        raise WrongModelOutput(f"encoder: expected finite values, got {np.count_nonzero(~np.isfinite(block))} others")
    norms = np.linalg.norm(block[:, :dim], axis=1)
    if n and np.abs(norms - 1).max() > NORM_TOLERANCE:
        raise WrongModelOutput(f"encoder: expected vectors of length 1, got {norms.min():.3f} to {norms.max():.3f}")
    if n and np.abs(block[:, dim]).max() > 1:
        raise WrongModelOutput(f"encoder: expected sentiments in [-1, 1], got up to {np.abs(block[:, dim]).max():.3f}")
    return block


def _tensor(value: object, name: str, shape: tuple[int, int]) -> Floats:
    if not isinstance(value, np.ndarray):
        raise WrongModelOutput(f"encoder: expected a tensor {name}, got none")
    if value.dtype != np.float32:
        raise WrongModelOutput(f"encoder: expected {name} as float32, got {value.dtype}")
    if value.shape != shape:
        raise WrongModelOutput(f"encoder: expected {name} of shape {shape}, got {value.shape}")
    return value

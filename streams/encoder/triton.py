"""One model on a Triton server, over gRPC: a deadline a call, retries of errors that may pass, a breaker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from encoders.model_repository import TensorSpec
from streams.base.credentials import TlsFiles, untrusted
from streams.base.errors import ConfigurationError, EncoderUnavailable, WrongModelOutput
from streams.encoder.breaker import Breaker

T = TypeVar("T")
Array = npt.NDArray[Any]
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

    `deadline_s` bounds a call, its retries included. `on_retry` hears a gRPC status name or `QUEUE_FULL` for each
    attempt that is made again, `on_breaker` whether the breaker is open when that changes. For one event loop.
    """

    def __init__(
        self, url: str, name: str, *, deadline_s: float, breaker: Breaker, tls: TlsFiles | None,
        on_retry: Callable[[str], object] | None = None, on_breaker: Callable[[bool], object] | None = None,
    ) -> None:  # fmt: skip
        self._url, self.name = url, name
        self._deadline_s = deadline_s
        self._breaker = breaker
        self._last = ""  # what Triton said at its last failure
        self._on_retry, self._on_breaker = on_retry, on_breaker
        self._credentials = tls.grpc() if tls else None
        self._channel: Any = None

    @property
    def failing(self) -> bool:
        """Whether it failed several times in a row, so that calls are refused or on trial."""
        return self._breaker.is_open

    def deadline(self) -> float:
        """When a call that begins now has to be over, on the monotonic clock."""
        return monotonic() + self._deadline_s

    async def config(self, end: float) -> Any:
        """The model's configuration, a protobuf message. Raises EncoderUnavailable past `end`."""
        return await self._retrying(self._read_config, end)

    async def infer(
        self, inputs: Sequence[tuple[TensorSpec, Array]], outputs: Sequence[TensorSpec], end: float, *,
        parameters: Mapping[str, str], check: Callable[[Sequence[object]], T], once: bool = False,
    ) -> T:  # fmt: skip
        """What `check` makes of the reply's tensors (None for a missing one), in the order of `outputs`.

        What `check` raises ends it without another attempt. `once` makes none at all. Raises Busy past the deadline,
        RequestRefused, and EncoderUnavailable while the breaker is open.
        """

        async def call(left_s: float) -> T:
            tensors = []
            for spec, array in inputs:
                tensor = aio.InferInput(spec.name, list(array.shape), spec.dtype)
                tensor.set_data_from_numpy(array)
                tensors.append(tensor)
            result = await self._client().infer(
                self.name, tensors, timeout=max(1, int(left_s * 1e6)), client_timeout=left_s,
                parameters=dict(parameters),
            )  # fmt: skip
            return check([result.as_numpy(spec.name) for spec in outputs])

        return await self._retrying(call, end, once=once)

    async def ready(self) -> bool:
        """Whether the server answers, within two seconds, that the model is ready."""
        try:
            return bool(await self._client().is_model_ready(self.name, client_timeout=2.0))
        except InferenceServerException:
            return False

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    async def _read_config(self, left_s: float) -> Any:
        return (await self._client().get_model_config(self.name, client_timeout=left_s)).config

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
        if self._on_breaker and was_open != self._breaker.is_open:
            self._on_breaker(self._breaker.is_open)

    def _retried(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if self._on_retry and isinstance(error, Busy):
            self._on_retry(error.code)

    def _client(self) -> Any:
        if self._channel is None:
            credentials = grpc.ssl_channel_credentials(**self._credentials) if self._credentials else None
            self._channel = aio.InferenceServerClient(self._url, creds=credentials, channel_args=_CHANNEL)
        return self._channel


def checked_tensor(value: object, spec: TensorSpec, *sizes: int) -> Floats:
    """A float32 tensor of a reply, of shape `sizes`. Raises WrongModelOutput where it is missing or another."""
    if not isinstance(value, np.ndarray):
        raise WrongModelOutput(f"Triton: expected a tensor {spec.name}, got none")
    if value.dtype != np.float32:
        raise WrongModelOutput(f"Triton: expected {spec.name} as float32, got {value.dtype}")
    if value.shape != sizes:
        raise WrongModelOutput(f"Triton: expected {spec.name} of shape {sizes}, got {value.shape}")
    return value

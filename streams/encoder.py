"""The worker's side of Triton: texts to vectors over gRPC, retried, broken off, checked and cached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import grpc
import numpy as np
import numpy.typing as npt
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential
from tritonclient.grpc import aio as triton
from tritonclient.utils import InferenceServerException

from encoders.contract import EMBEDDING, ENCODER_ID_PARAMETER, MODEL_NAME, SENTIMENT, TEXT
from streams.breaker import Breaker
from streams.credentials import TlsFiles, untrusted
from streams.encoding import Encoded
from streams.errors import ConfigurationError, EncoderUnavailable, PoisonError, WrongModelOutput
from streams.replies import checked
from streams.suspects import Suspects
from streams.text import normalise_text
from streams.textcache import TextCache, text_key

Floats = npt.NDArray[np.float32]

MAX_CHARS = 8_192
"""What is sent of a text: far more than a model of 512 tokens reads."""
CANARY = "A plain sentence that every encoder can read."
_IN_FLIGHT = 4
_REQUEST_CHARS = 16_384  # of the longest text times the texts: what a slow CPU encodes well within a deadline
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

_Ask = Callable[[list[str], "EncoderInfo"], Awaitable[tuple[Floats, dict[int, PoisonError]]]]


class EncoderObserver(Protocol):
    """Told what the client does; a metrics class fits it."""

    def encoder_called(self, seconds: float, texts: int) -> None:
        """One request of `texts` texts was answered rightly after `seconds`."""

    def encoder_retried(self, code: str) -> None:
        """One attempt failed with a gRPC status name, `QUEUE_FULL` or `WRONG_OUTPUT`, and is made again."""

    def encoder_breaker(self, is_open: bool) -> None:
        """The breaker opened or closed."""


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What the server says of its model: the id that names its vectors, their length, and texts a request at most."""

    encoder_id: str
    dim: int
    max_batch: int


class _Busy(EncoderUnavailable):
    """An attempt failed in a way that another may not."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"Triton: {code}: {message}")
        self.code = code


class _Refused(EncoderUnavailable):
    """The server called the request invalid; whether a text is at fault is not known yet."""


class TritonEncoder:
    """Encodes texts with a Triton model that keeps `encoders/contract.py`.

    `deadline_s` bounds one request of at most `max_batch` texts, its retries included. Nothing connects before the
    first call; with `tls` it is encrypted. Identical normalised texts are sent once and kept in a cache of
    `cache_bytes`. For one event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        model_name: str = MODEL_NAME,
        deadline_s: float = 20.0,
        max_batch: int = 64,
        cache_bytes: int = 64 << 20,
        breaker: Breaker | None = None,
        observer: EncoderObserver | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self._url, self._model = url, model_name
        self._deadline_s, self._max_batch, self._cache_bytes = deadline_s, max_batch, cache_bytes
        self._breaker = breaker or Breaker()
        self._observer = observer
        self._credentials = tls.grpc() if tls else None
        self._channel: Any = None
        self._info: EncoderInfo | None = None
        self._cache: TextCache | None = None
        self._suspects = Suspects()
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT)
        self._trial = asyncio.Lock()

    @property
    def dim(self) -> int:
        """The length of a vector. Raises EncoderUnavailable before the first `info()` or `encode()`."""
        if self._info is None:
            raise EncoderUnavailable("Triton has not said yet which model it serves: await info() first")
        return self._info.dim

    def cache_stats(self) -> tuple[int, int, int]:
        """Hits, misses and bytes of the text cache."""
        return (self._cache.hits, self._cache.misses, self._cache.nbytes) if self._cache else (0, 0, 0)

    async def info(self) -> EncoderInfo:
        """What the server serves, asked once. Raises EncoderUnavailable, or ConfigurationError for another model."""
        if self._info is None:
            config = await self._retrying(self._read_config, monotonic() + self._deadline_s)
            self._info = _info_of(config, self._max_batch)
            self._cache = TextCache(self._cache_bytes, self._info.dim + 1)
        return self._info

    async def ready(self) -> bool:
        """Whether the server answers, within two seconds, that the model is ready."""
        try:
            return bool(await self._client().is_model_ready(self._model, client_timeout=2.0))
        except InferenceServerException:
            return False

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            channel, self._channel = self._channel, None
            await channel.close()

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts in order.

        Raises EncoderUnavailable where a request's deadline passes or the breaker is open, and WrongModelOutput where
        the server answers, but not with what the contract promises.
        """
        info = await self.info()
        poison: dict[int, PoisonError] = {}
        keys: list[bytes] = []
        known: dict[bytes, str] = {}
        for place, text in enumerate(texts):
            try:
                normal = normalise_text(text[:MAX_CHARS])
                key = text_key(normal)
                known[key] = normal
            except UnicodeEncodeError:
                poison[place] = PoisonError("the text holds a lone surrogate", reason="bad_utf8", stage="encode")
                key = b""
            keys.append(key)
        if self._breaker.is_open:
            await self._probe(info)
        rows, refused = await self._rows(known, info)
        block = np.zeros((len(texts), info.dim + 1), np.float32)
        row_of = {key: row for row, key in enumerate(known)}
        for place, key in enumerate(keys):
            if key in refused:
                poison[place] = refused[key]
        fine = [place for place in range(len(texts)) if place not in poison]
        block[fine] = rows[[row_of[keys[place]] for place in fine]]
        return Encoded(block[:, :-1], block[:, -1].copy(), poison)

    async def _rows(self, known: dict[bytes, str], info: EncoderInfo) -> tuple[Floats, dict[bytes, PoisonError]]:
        """Rows for distinct texts, from the cache or the server, in their order, and those no server can encode."""
        cache = self._cache
        assert cache is not None  # noqa: S101  # info() made it
        keys = list(known)
        rows, missing = cache.get(keys)
        refused: dict[bytes, PoisonError] = {}
        missing.sort(key=lambda place: len(known[keys[place]]))  # like lengths together: the server pads less
        doubtful = [place for place in missing if keys[place] in self._suspects]
        missing = [place for place in missing if keys[place] not in self._suspects]
        lengths = [len(known[keys[place]]) for place in missing]
        most = min(info.max_batch, self._max_batch)
        chunks = [missing[start:end] for start, end in _chunks(lengths, most)]

        async def fill(chunk: list[int], ask: _Ask) -> None:
            async with self._in_flight:
                found, bad = await ask([known[keys[place]] for place in chunk], info)
            rows[chunk] = found
            refused.update({keys[chunk[at]]: error for at, error in bad.items()})
            # Kept as they come: a batch that fails half way does not begin at nothing again.
            fine = [at for at in range(len(chunk)) if at not in bad]
            cache.put([keys[chunk[at]] for at in fine], found[fine])
            self._suspects.clear([keys[chunk[at]] for at in fine])

        try:
            async with asyncio.TaskGroup() as group:
                for chunk in chunks:
                    group.create_task(fill(chunk, self._isolate))
        except* (EncoderUnavailable, ConfigurationError) as errors:
            raise errors.exceptions[0] from None
        for chunk in self._suspects.groups(doubtful, keys, most):
            await fill(chunk, self._try)
        return rows, refused

    async def _try(self, texts: list[str], info: EncoderInfo) -> tuple[Floats, dict[int, PoisonError]]:
        """Rows for texts that the encoder may have crashed over: asked once, after a canary that passes.

        One that crashes it alone, twice, is poison.
        """
        keys = [text_key(text) for text in texts]
        if not self._suspects.convicted(keys[0]):
            await self._canary(info, monotonic() + self._deadline_s)
            try:
                return await self._isolate(texts, info, once=True)
            except _Busy as error:
                if error.code not in _CRASHES or not self._suspects.crashed(keys):
                    raise
        poison = PoisonError("the encoder crashes over this text", reason="crashes", stage="encode")
        return np.zeros((1, info.dim + 1), np.float32), {0: poison}

    async def _probe(self, info: EncoderInfo) -> None:
        """While the breaker is open, ask for one plain sentence before anything else: it alone is the trial.

        Batches sent at once would be refused beside it, and their failure would cancel the trial itself.
        """
        async with self._trial:
            if self._breaker.is_open:
                await self._canary(info, monotonic() + self._deadline_s)

    async def _isolate(
        self, texts: list[str], info: EncoderInfo, *, once: bool = False
    ) -> tuple[Floats, dict[int, PoisonError]]:
        """Rows for at most a batch of texts. A text that fails alone, twice, around a canary that passes is poison.

        `once` makes no second attempt where the server fails.
        """
        end = monotonic() + self._deadline_s
        try:
            return await self._ask(texts, info, end, once=once), {}
        except (_Refused, WrongModelOutput):
            await self._canary(info, end)
        if len(texts) == 1:
            try:
                return await self._ask(texts, info, end), {}
            except (_Refused, WrongModelOutput) as error:
                reason = "refused" if isinstance(error, _Refused) else "wrong_output"
                poison = PoisonError(f"the encoder cannot take this text: {error}", reason=reason, stage="encode")
                return np.zeros((1, info.dim + 1), np.float32), {0: poison}
        half = len(texts) // 2
        left, bad = await self._isolate(texts[:half], info)
        right, bad_right = await self._isolate(texts[half:], info)
        return np.concatenate([left, right]), bad | {half + at: error for at, error in bad_right.items()}

    async def _canary(self, info: EncoderInfo, end: float) -> None:
        """Raises WrongModelOutput or EncoderUnavailable where the server cannot encode even a plain sentence now."""
        try:
            await self._ask([CANARY], info, end)
        except _Refused as error:
            served = _info_of(await self._retrying(self._read_config, end), self._max_batch).encoder_id
            if served != info.encoder_id:
                message = f"Triton serves {served} now, this process began with {info.encoder_id}: start it again"
                raise ConfigurationError(message) from error
            raise WrongModelOutput(f"Triton refuses a plain sentence: {error}") from error

    async def _ask(self, texts: list[str], info: EncoderInfo, end: float, *, once: bool = False) -> Floats:
        start = monotonic()
        try:
            block = await self._retrying(lambda left: self._infer(texts, info, left), end, once=once)
        except EncoderUnavailable as error:
            crash = isinstance(error, _Busy) and error.code in _CRASHES
            if texts != [CANARY] and (crash or self._breaker.is_open):
                self._suspects.doubt([text_key(text) for text in texts])
            raise
        if self._observer:
            self._observer.encoder_called(monotonic() - start, len(texts))
        return np.asarray(block, np.float32)

    async def _infer(self, texts: list[str], info: EncoderInfo, left_s: float) -> Floats:
        tensor = triton.InferInput(TEXT.name, [len(texts), 1], TEXT.dtype)
        tensor.set_data_from_numpy(np.array([[text.encode()] for text in texts], object))
        result = await self._client().infer(
            self._model, [tensor], timeout=max(1, int(left_s * 1e6)), client_timeout=left_s,
            parameters={ENCODER_ID_PARAMETER: info.encoder_id},
        )  # fmt: skip
        return checked(result.as_numpy(EMBEDDING.name), result.as_numpy(SENTIMENT.name), len(texts), info.dim)

    async def _read_config(self, left_s: float) -> Any:
        return (await self._client().get_model_config(self._model, client_timeout=left_s)).config

    async def _retrying(self, call: Any, end: float, *, once: bool = False) -> Any:
        """`await call(seconds left)`, again after what may pass, until `end`."""
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(_Busy),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=lambda state: once or monotonic() + state.upcoming_sleep >= end,
            before_sleep=self._told,
            reraise=True,
        )
        return await attempts(self._attempt, call, end)

    async def _attempt(self, call: Any, end: float) -> Any:
        # A call that hangs leaves half of the time to another one.
        left_s = max(0.001, min(end - monotonic(), self._deadline_s / 2))
        wait_s = self._breaker.admit(left_s)
        if wait_s:
            raise EncoderUnavailable("Triton failed several times in a row; not asked now", retry_after_s=wait_s)
        try:
            answer = await call(left_s)
        except InferenceServerException as error:
            code = str(error.status()).removeprefix("StatusCode.")
            message = str(error.message())[:200]
            if error.status() == _REFUSED:
                self._note(answered=True)
                raise _Refused(message) from error
            if untrusted(str(error.message())):
                raise ConfigurationError(
                    "Triton's certificate is signed by nobody we trust, or for another host: check triton.ca_file and "
                    "triton.url"
                ) from error
            queue_full = _QUEUE_FULL in message
            self._note(answered=queue_full)
            raise _Busy("QUEUE_FULL" if queue_full else code, message) from error
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

    def _told(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if self._observer and isinstance(error, _Busy):
            self._observer.encoder_retried(error.code)

    def _client(self) -> Any:
        if self._channel is None:
            credentials = grpc.ssl_channel_credentials(**self._credentials) if self._credentials else None
            self._channel = triton.InferenceServerClient(self._url, creds=credentials, channel_args=_CHANNEL)
        return self._channel


def _chunks(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of ascending `lengths` for one request each: at most `most` texts and `_REQUEST_CHARS` once padded."""
    start = 0
    for end, length in enumerate(lengths):
        if end > start and (end - start >= most or length * (end - start + 1) > _REQUEST_CHARS):
            yield start, end
            start = end
    if lengths:
        yield start, len(lengths)


def _info_of(config: Any, max_batch: int) -> EncoderInfo:
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

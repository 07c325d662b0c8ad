"""Texts to vectors: each distinct text is sent once and kept; one that the encoder cannot take is found and named."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np

from encoders.contract import MODEL_NAME
from streams.base.caches import CacheStats
from streams.base.credentials import TlsFiles
from streams.base.errors import ConfigurationError, EncoderUnavailable, PoisonError, WrongModelOutput
from streams.encoder.base import Encoded
from streams.encoder.breaker import Breaker
from streams.encoder.crash_suspects import CrashSuspects
from streams.encoder.text_cache import TextCache, text_key
from streams.encoder.text_model import EncoderInfo, EncoderObserver, TextModel
from streams.encoder.triton import Busy, Floats, RequestRefused
from streams.events.lookalikes import as_read
from streams.events.text import normalise_text

MAX_CHARS = 8_192
"""What is sent of a text: far more than a model of 512 tokens reads."""
CANARY = "A plain sentence that every encoder can read."
_IN_FLIGHT = 4
_REQUEST_CHARS = 16_384  # of the longest text times the texts: what a slow CPU encodes well within a deadline

_Ask = Callable[[list[str], EncoderInfo], Awaitable[tuple[Floats, dict[int, PoisonError]]]]


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
        self._model = TextModel(
            url, model_name, deadline_s=deadline_s, max_batch=max_batch, breaker=breaker or Breaker(),
            observer=observer, tls=tls,
        )  # fmt: skip
        self._max_batch, self._cache_bytes = max_batch, cache_bytes
        self._info: EncoderInfo | None = None
        self._cache: TextCache | None = None
        self._suspects = CrashSuspects()
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT)
        self._trial = asyncio.Lock()

    @property
    def dim(self) -> int:
        """The length of a vector. Raises EncoderUnavailable before the first `info()` or `encode()`."""
        if self._info is None:
            raise EncoderUnavailable("it is not known yet which model Triton serves: await info() first")
        return self._info.dim

    def cache_stats(self) -> CacheStats:
        """Hits, misses and bytes of the text cache."""
        return self._cache.stats() if self._cache else CacheStats(0, 0, 0)

    async def info(self) -> EncoderInfo:
        """What the server serves, asked once. Raises EncoderUnavailable, or ConfigurationError for another model."""
        if self._info is None:
            self._info = await self._model.info(self._model.deadline())
            self._cache = TextCache(self._cache_bytes, self._info.dim + 1)
        return self._info

    async def ready(self) -> bool:
        """Whether the server answers, within two seconds, that the model is ready."""
        return await self._model.ready()

    async def close(self) -> None:
        """Close the connection."""
        await self._model.close()

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
                normal = as_read(normalise_text(text[:MAX_CHARS]))
                key = text_key(normal)
                known[key] = normal
            except UnicodeEncodeError:
                poison[place] = PoisonError("the text holds a lone surrogate", reason="bad_utf8", stage="encode")
                key = b""
            keys.append(key)
        if self._model.failing:
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
        suspects = [place for place in missing if keys[place] in self._suspects]
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
        for chunk in self._suspects.groups(suspects, keys, most):
            await fill(chunk, self._try)
        return rows, refused

    async def _try(self, texts: list[str], info: EncoderInfo) -> tuple[Floats, dict[int, PoisonError]]:
        """Rows for texts that the encoder may have crashed over: asked once, after a canary that passes.

        One that crashes it alone, twice, is poison.
        """
        keys = [text_key(text) for text in texts]
        if not self._suspects.quarantined(keys[0]):
            await self._canary(info, self._model.deadline())
            try:
                return await self._isolate(texts, info, once=True)
            except Busy as error:
                if not error.may_be_crash or not self._suspects.crashed(keys):
                    raise
        poison = PoisonError("the encoder crashes over this text", reason="crashes", stage="encode")
        return np.zeros((1, info.dim + 1), np.float32), {0: poison}

    async def _probe(self, info: EncoderInfo) -> None:
        """While the breaker is open, ask for one plain sentence before anything else: it alone is the trial.

        Batches sent at once would be refused beside it, and their failure would cancel the trial itself.
        """
        async with self._trial:
            if self._model.failing:
                await self._canary(info, self._model.deadline())

    async def _isolate(
        self, texts: list[str], info: EncoderInfo, *, once: bool = False
    ) -> tuple[Floats, dict[int, PoisonError]]:
        """Rows for at most a batch of texts. A text that fails alone, twice, around a canary that passes is poison.

        `once` makes no second attempt where the server fails.
        """
        end = self._model.deadline()
        try:
            return await self._ask(texts, info, end, once=once), {}
        except (RequestRefused, WrongModelOutput):
            await self._canary(info, end)
        if len(texts) == 1:
            try:
                return await self._ask(texts, info, end), {}
            except (RequestRefused, WrongModelOutput) as error:
                reason = "refused" if isinstance(error, RequestRefused) else "wrong_output"
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
        except RequestRefused as error:
            served = (await self._model.info(end)).encoder_id
            if served != info.encoder_id:
                message = f"Triton serves {served} now, this process began with {info.encoder_id}: start it again"
                raise ConfigurationError(message) from error
            raise WrongModelOutput(f"Triton refuses a plain sentence: {error}") from error

    async def _ask(self, texts: list[str], info: EncoderInfo, end: float, *, once: bool = False) -> Floats:
        try:
            return await self._model.encode(texts, info, end, once=once)
        except EncoderUnavailable as error:
            crash = isinstance(error, Busy) and error.may_be_crash
            if texts != [CANARY] and (crash or self._model.failing):
                self._suspects.suspect([text_key(text) for text in texts])
            raise


def _chunks(lengths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of ascending `lengths` for one request each: at most `most` texts and `_REQUEST_CHARS` once padded."""
    start = 0
    for end, length in enumerate(lengths):
        if end > start and (end - start >= most or length * (end - start + 1) > _REQUEST_CHARS):
            yield start, end
            start = end
    if lengths:
        yield start, len(lengths)

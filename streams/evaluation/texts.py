"""Encoders for evaluations: a model in this process, and a file that keeps what was encoded once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streams.encoder.base import Encoded, Encoder
from streams.encoder.text_cache import text_key
from streams.encoder.text_model import checked
from streams.events.lookalikes import as_read
from streams.events.text import normalise_text

_MAX_CHARS = 8_192  # what the Triton client sends of a text
_CHUNK = 256


class Model(Protocol):
    """A loaded model: `encoders.encoder.LoadedEncoder` is one."""

    @property
    def dim(self) -> int: ...
    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...


class LocalEncoder:
    """A `streams.encoder.base.Encoder` over a model in this process."""

    def __init__(self, model: Model) -> None:
        self._model = model

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._model.dim

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts in a thread; every reply is checked as the server's are."""
        vectors, sentiment = await asyncio.to_thread(
            self._model.encode, [as_read(normalise_text(t[:_MAX_CHARS])) for t in texts]
        )
        block = checked(vectors, sentiment[:, None], len(texts), self.dim)
        return Encoded(block[:, :-1], block[:, -1].copy(), {})


class KeptEncoder:
    """Another encoder, with what it encoded kept in a file: a second run asks for nothing.

    The file is for one encoder: put its id into the name. Texts are kept by hash, never in clear.
    """

    def __init__(self, inner: Encoder, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._inner, self._width = inner, inner.dim + 1
        self._rows: dict[bytes, NDArray[np.float32]] = {}
        self._kept = sqlite3.connect(file, isolation_level=None)
        self._kept.execute("PRAGMA journal_mode=WAL")
        self._kept.execute("PRAGMA synchronous=OFF")  # a cache: what a crash loses is encoded again
        self._kept.execute("CREATE TABLE IF NOT EXISTS texts (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID")

    def __enter__(self) -> KeptEncoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._width - 1

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts, those not kept yet in chunks of like length."""
        normal = [as_read(normalise_text(text[:_MAX_CHARS])) for text in texts]
        keys = [text_key(text) for text in normal]
        missing = {key: text for key, text in zip(keys, normal, strict=True) if not self._known(key)}
        order = sorted(missing, key=lambda key: len(missing[key]))
        for start in range(0, len(order), _CHUNK):
            await self._add(order[start : start + _CHUNK], missing)
        block = np.stack([self._rows[key] for key in keys]) if keys else np.zeros((0, self._width), np.float32)
        return Encoded(block[:, :-1], block[:, -1].copy(), {})

    def _known(self, key: bytes) -> bool:
        if key in self._rows:
            return True
        row = self._kept.execute("SELECT row FROM texts WHERE key = ?", (key,)).fetchone()
        if row is None:
            return False
        self._rows[key] = np.frombuffer(row[0], np.float32)
        return True

    async def _add(self, keys: Sequence[bytes], texts: dict[bytes, str]) -> None:
        encoded = await self._inner.encode([texts[key] for key in keys])
        if encoded.poison:
            raise next(iter(encoded.poison.values()))
        rows = np.concatenate([encoded.vectors, encoded.sentiment[:, None]], axis=1)
        self._rows.update(zip(keys, rows, strict=True))
        self._kept.execute("BEGIN")
        self._kept.executemany(
            "INSERT OR REPLACE INTO texts VALUES (?, ?)",
            [(key, row.tobytes()) for key, row in zip(keys, rows, strict=True)],
        )
        self._kept.execute("COMMIT")

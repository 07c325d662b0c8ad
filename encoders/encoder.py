"""Texts to vectors and sentiments: tokenise, run, post-process. What the Triton model wraps."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from encoders.backends import Backend, make_backend
from encoders.errors import ModelError
from encoders.int8 import Ranges, load_ranges
from encoders.layout import Layout, read_layout
from encoders.locate import cache_dir, locate, name_of
from encoders.projection import Projection, read_projection
from encoders.sentiment import Head, load_head, sentiment_digest, sentiments
from encoders.text import Tokeniser, batches

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LoadedEncoder:
    """A loaded model. `encoder_id` names everything that shapes a vector; equal ids mean comparable vectors."""

    encoder_id: str
    layout: Layout
    head: Head
    tokeniser: Tokeniser
    backend: Backend
    projection: Projection

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return self.projection.dim

    @property
    def sentiment_id(self) -> str:
        """Names what shapes a sentiment, which the encoder id does not: for whoever keeps sentiments."""
        return sentiment_digest(self.head)

    def encode(self, texts: Sequence[str]) -> tuple[Floats, Floats]:
        """L2-normalised vectors of shape (n, dim) and sentiments of shape (n,) in [−1, 1], in the texts' order."""
        vectors, signs = np.empty((len(texts), self.dim), np.float32), np.empty(len(texts), np.float32)
        for rows, pooled in self._run(texts):
            vectors[rows] = self.projection.vectors(pooled, self.head, self.layout.dim)
            signs[rows] = sentiments(pooled, self.head, self.layout.dim)
        return vectors, signs

    def pooled(self, texts: Sequence[str]) -> Floats:
        """The graph's raw output for each text, shape (n, width · (1 + extra layers)): what heads are trained on."""
        out = np.empty((len(texts), self.backend.width), np.float32)
        for rows, pooled in self._run(texts):
            out[rows] = pooled
        return out

    def _run(self, texts: Sequence[str]) -> Iterator[tuple[npt.NDArray[np.intp], Floats]]:
        backend = self.backend
        tokens = self.tokeniser(texts)
        return backend.run(
            batches(tokens, backend.max_padded_tokens, backend.max_rows, backend.at_once, backend.shapes)
        )


def load_encoder(
    model: str,
    *,
    backend: str = "auto",
    cache: Path | None = None,
    max_tokens: int | None = None,
    device: str = "",
    streams: int = 0,
    precision: str = "float",
    compiled: bool = False,
    prompt: str = "",
    keep: int = 0,
    head: Head | None = None,
) -> LoadedEncoder:
    """Load a model by name or directory, with the head kept for it (or the one given).

    Arguments are those of `locate`, `read_layout` and `make_backend`. Raises ModelError where a model, a
    package or a supported layout is missing. No network is used.
    """
    cache = cache or cache_dir()
    folder = locate(model, cache)
    layout = read_layout(folder, max_tokens, prompt=prompt, keep=keep)
    projection = read_projection(layout)
    layout = dataclasses.replace(layout, keep=projection.keep)  # 0 where all are kept
    head = load_head(name_of(folder), folder) if head is None else head
    if head.mean is not None and len(head.mean) != projection.whole:
        raise ModelError(f"{folder.name}: its head's mean has {len(head.mean)} numbers, a vector {projection.whole}")
    ranges = load_ranges(name_of(folder), folder) if precision == "int8" else None
    runner = make_backend(
        backend, layout, extra_layers=head.layers, cache=cache, device=device, streams=streams, precision=precision,
        ranges=ranges, compiled=compiled,
    )  # fmt: skip
    return LoadedEncoder(encoder_id(layout, head, ranges), layout, head, Tokeniser(layout), runner, projection)


def encoder_id(layout: Layout, head: Head, ranges: Ranges | None = None) -> str:
    """A name fit for a collection: the model, `centred`, `256d` and `int8` where it is, 8 hex digits of what shapes it.

    The backend, the floating-point type and the sentiment head are no part of it: bf16 on a CPU and on a GPU agree to
    a cosine of 0.999. int8 has a name of its own (docs/decisions/encoder.md has what it moves).
    """
    digest = xxhash.xxh3_64(layout.fingerprint.encode())
    digest.update(f"|{layout.pooling}|{layout.prefix}|{layout.max_tokens}|".encode())
    if head.mean is not None:
        digest.update(head.mean.astype("<f4").tobytes())
        if head.languages is not None:
            digest.update(head.languages.astype("<f4").tobytes())
    if layout.end:
        digest.update(f"|end|{layout.end}|".encode())
    if layout.keep:
        digest.update(f"|keep|{layout.keep}|".encode())
    if ranges is not None:
        digest.update(f"|int8|{ranges.digest}|".encode())
    slug = re.sub(r"[^a-z0-9]+", "-", name_of(layout.folder).lower()).strip("-")[:48]
    cut = layout.keep or None
    kinds = [kind for kind, given in (("centred", head.mean), (f"{cut}d", cut), ("int8", ranges)) if given is not None]
    return "-".join([slug, *kinds, digest.hexdigest()[:8]])

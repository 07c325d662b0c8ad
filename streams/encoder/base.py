"""What an encoder does; the Triton client is one, and whatever passes its contract suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from encoders.errors import ModelError
from streams.base.errors import ConfigurationError, PoisonError


@dataclass(frozen=True, slots=True)
class Encoded:
    """Texts as vectors: `vectors` float32 (n, dim) of unit rows, `sentiment` float32 (n,) in [-1, 1].

    `poison` says by index which texts can never be encoded; their rows are zero.
    """

    vectors: NDArray[np.float32]
    sentiment: NDArray[np.float32]
    poison: Mapping[int, PoisonError]


class Encoder(Protocol):
    """Texts to vectors and sentiments, in order. Raises EncoderUnavailable past its deadline."""

    @property
    def dim(self) -> int:
        """The length of a vector."""

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts; an empty list is no call."""


@contextmanager
def model_errors() -> Iterator[None]:
    """ConfigurationError where `encoders` says that a model cannot be used."""
    try:
        yield
    except ModelError as error:
        raise ConfigurationError(str(error)) from error

"""Whether what the encoder answered may be used: every reply passes here before anything reads it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from encoders.contract import EMBEDDING, NORM_TOLERANCE, SENTIMENT
from streams.base.errors import WrongModelOutput

Floats = npt.NDArray[np.float32]


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

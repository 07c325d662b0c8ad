"""What is kept beside a model: what centres its vectors, and the head that reads a comment's sign."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from encoders.errors import ModelError

Floats = npt.NDArray[np.float32]

WEIGHTS = Path(__file__).parent / "weights"
OWN_FILE = "interests_head.npz"
"""A model directory may bring its own head under this name; it goes before the packaged one."""


@dataclass(frozen=True, slots=True)
class Head:
    """A model's post-processing: all arrays float32.

    `mean` of shape (dim,) is taken from the normalised vector and then what lies along the orthonormal rows of
    `languages`, shape (k, dim), before it is normalised again; None for neither.
    `layers` are the extra hidden layers the sentiment reads. `weights` and `biases` are its dense layers, tanh
    between them; `scale` and `offset` standardise its input. Without weights every sentiment is 0.
    """

    mean: Floats | None = None
    languages: Floats | None = None
    layers: tuple[int, ...] = ()
    offset: Floats | None = None
    scale: Floats | None = None
    weights: tuple[Floats, ...] = ()
    biases: tuple[Floats, ...] = ()


def own_or_packaged(packaged: str, folder: Path | None, own: str) -> Path | None:
    """A file that a model's directory has under the name `own`, else the packaged one, else None."""
    candidates = [*([folder / own] if folder is not None else []), WEIGHTS / packaged]
    return next((path for path in candidates if path.is_file()), None)


def load_head(name: str, folder: Path | None = None) -> Head:
    """The head of a model: from its own directory, else the packaged one of that name, else an empty one."""
    path = own_or_packaged(f"{name}.npz", folder, OWN_FILE)
    return read_head(path) if path else Head()


def read_head(path: Path) -> Head:
    """A head from its .npz file, values widened to float32. Raises ModelError where it cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name}: cannot be read as a head ({error}); train it again") from error
    floats = {key: value.astype(np.float32) for key, value in arrays.items() if key != "layers"}
    depth = sum(key.startswith("weight") for key in floats)
    return Head(
        mean=floats.get("mean"),
        languages=floats.get("languages"),
        layers=tuple(int(k) for k in arrays.get("layers", ())),
        offset=floats.get("offset"),
        scale=floats.get("scale"),
        weights=tuple(floats[f"weight{i}"] for i in range(depth)),
        biases=tuple(floats[f"bias{i}"] for i in range(depth)),
    )


def write_head(head: Head, path: Path) -> None:
    """Write a head as .npz, the same bytes for the same head: the weights as float16, the rest as float32."""
    arrays: dict[str, npt.NDArray[np.generic]] = {"layers": np.array(head.layers, np.int16)}
    for key, value in (
        ("mean", head.mean),
        ("languages", head.languages),
        ("offset", head.offset),
        ("scale", head.scale),
    ):
        if value is not None:
            arrays[key] = value.astype(np.float32)
    for i, (weight, bias) in enumerate(zip(head.weights, head.biases, strict=True)):
        arrays[f"weight{i}"] = weight.astype(np.float16)
        arrays[f"bias{i}"] = bias.astype(np.float32)
    np.savez_compressed(path, **arrays)


def sentiment_digest(head: Head) -> str:
    """Eight hex digits over what makes a sentiment: two heads of one digest give the same."""
    digest = xxhash.xxh3_64(repr(head.layers).encode())
    for value in (head.offset, head.scale, *head.weights, *head.biases):
        digest.update(b"|" if value is None else value.astype("<f4").tobytes())
    return digest.hexdigest()[:8]


def embeddings(pooled: Floats, head: Head, dim: int) -> Floats:
    """L2-normalised vectors (n, dim) from pooled states (n, dim · k), centred where the head has a mean."""
    vectors = normalised(pooled[:, :dim])
    return vectors if head.mean is None else centred(vectors, head.mean, head.languages)


def centred(vectors: Floats, mean: Floats, languages: Floats | None) -> Floats:
    """Unit vectors (n, dim) without their common part and without what only tells the language, of length 1 again."""
    rest: npt.NDArray[np.floating[Any]] = (vectors - mean).astype(np.float64)  # as in `sentiments`
    if languages is not None:
        rest = rest - (rest @ languages.T) @ languages
    return normalised(rest.astype(np.float32))


def sentiments(pooled: Floats, head: Head, dim: int) -> Floats:
    """The sign of each text in [−1, 1], shape (n,), from pooled states of shape (n, dim · k); 0 without a head."""
    if not head.weights:
        return np.zeros(len(pooled), np.float32)
    # In float64: a float32 product's last digits depend on how many texts share it, and weights must not.
    x: npt.NDArray[np.floating[Any]] = features(pooled, dim).astype(np.float64)
    if head.offset is not None and head.scale is not None:
        x = (x - head.offset) * head.scale
    for weight, bias in zip(head.weights, head.biases, strict=True):
        x = np.tanh(x @ weight + bias)
    sign = x[:, 0]
    # Squared with its sign kept: a faint leaning is mostly noise and must not move an interest.
    return np.asarray(sign * np.abs(sign), np.float32)


def features(pooled: Floats, dim: int) -> Floats:
    """What the head reads: each of the k pooled states normalised for itself, shape (n, dim · k)."""
    n, width = pooled.shape
    return normalised(pooled.reshape(n, width // dim, dim)).reshape(n, width)


def normalised(vectors: Floats) -> Floats:
    """Vectors of length 1 along the last axis; a zero vector stays zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)

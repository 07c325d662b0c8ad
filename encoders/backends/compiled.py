"""What a compiled torch graph needs around it: a few fixed shapes, kernels kept on disk, a check before it is used."""

from __future__ import annotations

import locale
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from encoders.graph import PooledModel
from encoders.text import Shape, TokenBatch

Graph = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Compiler = str | Callable[..., Any]
"""A backend of torch.compile, by name or itself."""

COSINE = 0.999
"""How close a compiled graph's states are to the plain one's at least: what an encoder id promises of float types."""


def compiled(graph: PooledModel, shapes: Sequence[Shape], compiler: Compiler, *, on_gpu: bool, kept_in: Path) -> Graph:
    """The graph, to be compiled at its first call: once for all shapes if it can be, at most once a shape.

    On CUDA each shape is recorded at its second call and replayed from then on (CUDA graphs), in the thread that
    recorded it; a replay overwrites what the last one put out. Kernels are kept in `kept_in`, unless
    TORCHINDUCTOR_CACHE_DIR names another folder: torch's own is below /tmp.
    """
    if locale.getencoding().lower() != "utf-8":  # ASCII in Triton: torch could not read its own C++ headers
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(kept_in))
    return torch.compile(  # type: ignore[no-any-return]  # torch is not typed here
        graph,
        backend=compiler,
        fullgraph=True,  # a graph in pieces would hide what was not compiled
        dynamic=True,  # one compilation for all shapes: each would take a minute
        mode="reduce-overhead" if on_gpu else None,
        recompile_limit=len(shapes),
        isolate_recompiles=True,  # the limit is this graph's own
    )


def sample(shape: Shape, vocabulary: int, seed: int) -> TokenBatch:
    """A full batch of random tokens in rows of random lengths."""
    rng = np.random.default_rng(seed)
    rows, width = shape
    lengths = rng.integers(1, width, rows, endpoint=True)
    mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
    return TokenBatch(rng.integers(0, vocabulary, shape, dtype=np.int64) * mask, mask, np.arange(rows))


def alike(states: npt.NDArray[np.float32], others: npt.NDArray[np.float32]) -> bool:
    """Whether each of two arrays' vectors (n, dim) are within `COSINE` of each other; not where one is not finite."""
    lengths = np.linalg.norm(states, axis=-1) * np.linalg.norm(others, axis=-1)
    return bool(((states * others).sum(-1) >= COSINE * lengths).all())

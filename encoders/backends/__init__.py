"""Where a model runs: one function from token batches to pooled states, in torch or OpenVINO."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from encoders.errors import ModelError
from encoders.layout import Layout
from encoders.text import TokenBatch

BACKENDS = ("auto", "torch", "openvino")


class Backend(Protocol):
    """Runs a model over token batches."""

    name: str
    max_padded_tokens: int
    max_rows: int

    def pooled(self, batches: Iterable[TokenBatch], n: int) -> npt.NDArray[np.float32]:
        """Pooled states of all `n` texts in their own order, shape (n, dim · (1 + extra layers)), not normalised."""
        ...


def make_backend(
    name: str, layout: Layout, *, extra_layers: Sequence[int] = (), cache: Path, device: str = "", streams: int = 0
) -> Backend:
    """A backend by name; `auto` is torch where CUDA is there and OpenVINO otherwise.

    `device` is torch's (`cuda:1`), empty for the best one; `streams` is OpenVINO's number of parallel requests, 0
    for one a core; `cache` keeps OpenVINO's graphs. Raises ModelError for another name.
    """
    if name not in BACKENDS:
        raise ModelError(f"backend {name!r}: expected one of {', '.join(BACKENDS)}")
    if name == "auto":
        name = "torch" if _cuda() or importlib.util.find_spec("openvino") is None else "openvino"
    if name == "torch":
        from encoders.backends.torch import TorchBackend  # noqa: PLC0415  # torch takes seconds to import

        return TorchBackend(layout, extra_layers, device=device)
    from encoders.backends.openvino import OpenvinoBackend  # noqa: PLC0415  # not needed on a GPU machine

    return OpenvinoBackend(layout, extra_layers, cache=cache, streams=streams)


def _cuda() -> bool:
    # Asking torch costs seconds of import on machines without a GPU; the driver's device file is asked first.
    if not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()):
        return False
    import torch  # noqa: PLC0415  # takes seconds to import

    return bool(torch.cuda.is_available())

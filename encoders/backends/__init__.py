"""Where a model runs, and in what precision: one function from token batches to pooled states."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from encoders.errors import ModelError
from encoders.int8 import Ranges
from encoders.layout import Layout
from encoders.text import Shape, TokenBatch

BACKENDS = ("auto", "torch", "openvino")
PRECISIONS = ("float", "f32", "bf16", "f16", "int8")
"""`float` is the floating-point type that is fastest on this machine; floats of any type make comparable vectors."""
_TORCH_TYPES = {"float": "", "f32": "float32", "bf16": "bfloat16", "f16": "float16"}


class Backend(Protocol):
    """Runs a model over token batches, of which `at_once` run side by side; a text's states are `width` numbers.

    Where there are `shapes`, (rows, width), its batches have no others.
    """

    name: str
    width: int
    max_padded_tokens: int
    max_rows: int
    at_once: int
    shapes: Sequence[Shape]

    def run(self, batches: Iterable[TokenBatch]) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
        """Each batch's rows and their pooled states, shape (rows, dim · (1 + extra layers)), not normalised.

        The batches that follow run while the caller works on one.
        """
        ...


def resolved(name: str) -> str:
    """The backend that a name stands for: `auto` is torch where CUDA is there and OpenVINO otherwise.

    Raises ModelError for another name.
    """
    if name not in BACKENDS:
        raise ModelError(f"backend {name!r}: expected one of {', '.join(BACKENDS)}")
    if name == "auto":
        return "torch" if _cuda() or importlib.util.find_spec("openvino") is None else "openvino"
    return name


def check_precision(name: str, *besides: str) -> None:
    """ModelError for a name that is neither one of `PRECISIONS` nor `besides`."""
    if name not in (known := (*besides, *PRECISIONS)):
        raise ModelError(f"precision {name!r}: expected one of {', '.join(known)}")


def make_backend(
    name: str,
    layout: Layout,
    *,
    extra_layers: Sequence[int] = (),
    cache: Path,
    device: str = "",
    streams: int = 0,
    precision: str = "float",
    ranges: Ranges | None = None,
    compiled: bool = False,
) -> Backend:
    """A backend by name, see `resolved`; for int8 it is OpenVINO, which alone has it, unless torch is named.

    `device` is torch's (`cuda:1`), empty for the best one; `streams` is OpenVINO's number of parallel requests, 0
    for one a core; `cache` keeps OpenVINO's graphs; `precision` is one of `PRECISIONS`; `ranges` belong to int8;
    `compiled` is torch's (OpenVINO always compiles its graph).
    Raises ModelError for another name, and where a backend cannot do what is asked.
    """
    check_precision(precision)
    name = "openvino" if (name, precision) == ("auto", "int8") else resolved(name)
    if name == "torch":
        if precision == "int8":
            raise ModelError("int8 runs in OpenVINO only: name that backend, or another precision")
        from encoders.backends.torch import TorchBackend  # noqa: PLC0415  # torch takes seconds to import

        backend = TorchBackend(layout, extra_layers, device=device, precision=_TORCH_TYPES[precision])
        if compiled:
            backend.compile(cache)
        return backend
    from encoders.backends.openvino import OpenvinoBackend  # noqa: PLC0415  # not needed on a GPU machine
    from encoders.backends.speed import float_precision  # noqa: PLC0415  # as OpenVINO

    if precision == "float":
        precision = float_precision(layout, extra_layers, cache)
    return OpenvinoBackend(layout, extra_layers, cache=cache, streams=streams, precision=precision, ranges=ranges)


def _cuda() -> bool:
    # Asking torch costs seconds of import on machines without a GPU; the driver's device file is asked first.
    if not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists()):
        return False
    import torch  # noqa: PLC0415  # takes seconds to import

    return bool(torch.cuda.is_available())

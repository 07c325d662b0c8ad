"""The torch backend: CUDA in bfloat16 or float16, or the CPU."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic

import numpy as np
import numpy.typing as npt
import torch

from encoders.backends.compiled import Compiler, Graph, alike, compiled, sample
from encoders.errors import ModelError
from encoders.graph import load_graph
from encoders.layout import Layout
from encoders.text import Shape, TokenBatch, fixed_shapes

log = logging.getLogger(__name__)

_IN_FLIGHT = 4
_COMPILE_WITHIN_S = 300.0


class TorchBackend:
    """Runs the graph in torch, on CUDA where there is one.

    On a GPU the weights are bfloat16 where it computes in that, else float16; on a CPU float32 (`precision` names
    another). Pooling is always float32.
    """

    def __init__(
        self, layout: Layout, extra_layers: Sequence[int] = (), *, device: str = "", precision: str = ""
    ) -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._on_gpu = self._device.type == "cuda"
        if not precision:
            precision = ("bfloat16" if torch.cuda.is_bf16_supported() else "float16") if self._on_gpu else "float32"
        self.name = f"torch-{self._device.type}-{precision}"
        self.max_padded_tokens = 65_536 if self._on_gpu else 2_048
        self.max_rows = 1_024 if self._on_gpu else 64
        self.at_once = 1
        self.shapes: Sequence[Shape] = ()
        self.width = layout.dim * (1 + len(extra_layers))
        self._layout = layout
        self._graph = load_graph(layout, extra_layers, getattr(torch, precision)).to(self._device)
        self._compiled: dict[Shape, Graph] = {}

    def compile(self, cache: Path, *, compiler: Compiler = "inductor", within_s: float = _COMPILE_WITHIN_S) -> None:
        """Compile the graph for a few shapes, and run it in each of them: no later batch waits for a compiler.

        Each shape's states are compared with the plain graph's. Where something fails or differs, the plain graph is
        used as before, and a warning says why. Shapes whose turn has not come after `within_s` run in the plain graph.
        """
        try:
            shapes = fixed_shapes(self._layout.max_tokens, 4_096 if self._on_gpu else 1_024)
            self._compile(shapes, compiler, cache / "torch-compiled", within_s)
        except Exception as error:  # whatever a compiler raises: the plain graph needs none
            self._compiled.clear()
            log.warning("the graph is not compiled (%s: %s)", type(error).__name__, " ".join(str(error).split())[:300])
            return
        self.shapes = shapes
        self.name += "-compiled"

    def run(self, batches: Iterable[TokenBatch]) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
        """Each batch's rows and their pooled states, shape (rows, dim · (1 + extra layers)).

        On a GPU up to `_IN_FLIGHT` batches are launched before the first one is waited for.
        """
        launched: deque[tuple[npt.NDArray[np.intp], torch.Tensor, torch.cuda.Event | None]] = deque()

        def oldest() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
            rows, states, there = launched.popleft()
            if there is not None:
                there.synchronize()
            return rows, states.numpy()

        for batch in batches:
            launched.append((batch.rows, *self._launch(batch)))
            if len(launched) > _IN_FLIGHT:
                yield oldest()
        while launched:
            yield oldest()

    def _launch(self, batch: TokenBatch) -> tuple[torch.Tensor, torch.cuda.Event | None]:
        """The batch's states in the host's memory; on a GPU they are there once the event has come.

        The copy follows the graph in the stream, so what the next replay overwrites has been copied by then.
        """
        rows, width = batch.ids.shape
        graph = self._compiled.get((rows, width), self._graph)
        with torch.inference_mode():  # not around a yield: it would hold in the caller too
            states = graph(self._moved(batch.ids), self._moved(batch.mask))[: len(batch.rows)]
            states = states.to("cpu", non_blocking=True)  # into pinned memory
        return states, torch.cuda.current_stream(self._device).record_event() if self._on_gpu else None

    def _moved(self, numbers: npt.NDArray[np.int64]) -> torch.Tensor:
        tensor = torch.from_numpy(numbers)
        # From memory that is not pinned a copy waits for all that was launched before.
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._on_gpu else tensor

    def _states(self, batches: Sequence[TokenBatch]) -> npt.NDArray[np.float32]:
        """The states of all batches, shape (texts, 1 + extra layers, dim), all of them in flight at once."""
        return np.concatenate([states for _, states in self.run(batches)]).reshape(
            -1, self.width // self._layout.dim, self._layout.dim
        )

    def _compile(self, shapes: Sequence[Shape], compiler: Compiler, kept_in: Path, within_s: float) -> None:
        until = monotonic() + within_s
        vocabulary = self._graph.model.config.vocab_size
        self._states([sample(shapes[0], vocabulary, 0)])  # at its first call transformers does what cannot be traced
        graph = compiled(self._graph, shapes, compiler, on_gpu=self._on_gpu, kept_in=kept_in)
        for shape in shapes:
            batches = [sample(shape, vocabulary, seed) for seed in range(_IN_FLIGHT)]
            expected = self._states(batches)
            self._compiled[shape] = graph
            if not alike(self._states(batches), expected):
                raise ModelError(f"states of shape {shape} differ from the plain graph's")
            if monotonic() > until:
                log.warning("%d of %d shapes are compiled after %.0f s", len(self._compiled), len(shapes), within_s)
                return

"""The torch backend: CUDA in bfloat16 or float16, or the CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from encoders.graph import load_graph
from encoders.layout import Layout
from encoders.text import TokenBatch

_IN_FLIGHT = 4


class TorchBackend:
    """Runs the graph in torch, on CUDA where there is one.

    On a GPU the weights are bfloat16 where it computes in that, else float16; on a CPU float32 (`precision` names
    another). Pooling is always float32.
    """

    def __init__(
        self, layout: Layout, extra_layers: Sequence[int] = (), *, device: str = "", precision: str = ""
    ) -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        on_gpu = self._device.type == "cuda"
        if not precision:
            precision = ("bfloat16" if torch.cuda.is_bf16_supported() else "float16") if on_gpu else "float32"
        self.name = f"torch-{self._device.type}-{precision}"
        self.max_padded_tokens = 65_536 if on_gpu else 2_048
        self.max_rows = 1_024 if on_gpu else 64
        self.at_once = 1
        self.width = layout.dim * (1 + len(extra_layers))
        self._graph = load_graph(layout, extra_layers, getattr(torch, precision)).to(self._device)

    def run(self, batches: Iterable[TokenBatch]) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]]:
        """Each batch's rows and their pooled states, shape (rows, dim · (1 + extra layers)).

        On a GPU up to `_IN_FLIGHT` batches are launched before the first one is waited for.
        """
        launched: deque[tuple[npt.NDArray[np.intp], torch.Tensor]] = deque()

        def oldest() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
            rows, states = launched.popleft()
            return rows, states.cpu().numpy()

        for batch in batches:
            with torch.inference_mode():  # not around the yields: it would hold in the caller too
                ids = torch.from_numpy(batch.ids).to(self._device, non_blocking=True)
                mask = torch.from_numpy(batch.mask).to(self._device, non_blocking=True)
                launched.append((batch.rows, self._graph(ids, mask)))
            if len(launched) > _IN_FLIGHT:
                yield oldest()
        while launched:
            yield oldest()

"""The torch backend: CUDA in bfloat16 or float16, or the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from encoders.graph import load_graph
from encoders.layout import Layout
from encoders.text import TokenBatch


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
        self._graph = load_graph(layout, extra_layers, getattr(torch, precision)).to(self._device)

    def pooled(self, batches: Iterable[TokenBatch], n: int) -> npt.NDArray[np.float32]:
        """Pooled states of all `n` texts, shape (n, dim · (1 + extra layers))."""
        done: list[tuple[npt.NDArray[np.intp], torch.Tensor]] = []
        with torch.inference_mode():
            for batch in batches:
                ids = torch.from_numpy(batch.ids).to(self._device, non_blocking=True)
                mask = torch.from_numpy(batch.mask).to(self._device, non_blocking=True)
                done.append((batch.rows, self._graph(ids, mask)))
        out = np.empty((n, done[0][1].shape[1] if done else 0), np.float32)
        for rows, states in done:
            out[rows] = states.cpu().numpy()
        return out

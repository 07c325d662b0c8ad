"""A learned linear map on a model's frozen vectors: the identity and a low-rank change, W = I + U·V.

The cheap rival of adapters in the model: every text is encoded once. It is written as a Dense module, so what is served
is a model directory like any other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from encoders.layout import Layout, load_json
from encoders.lora import copy_others
from encoders.projection import write_dense

Floats = npt.NDArray[np.float32]
FOLDER = "9_Dense"


class LinearMap:
    """The map on `frozen` vectors float32 (texts, width), which are the model's pooled states of length 1."""

    def __init__(self, layout: Layout, frozen: Floats, *, rank: int, seed: int, device: str = "") -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._layout = layout
        self._states = torch.from_numpy(np.ascontiguousarray(frozen)).to(self._device)
        width = frozen.shape[1]
        draw = torch.Generator().manual_seed(seed)
        self._down = (torch.randn(rank, width, generator=draw) / width**0.5).to(self._device).requires_grad_()
        self._up = torch.zeros(width, rank, device=self._device, requires_grad=True)
        self._off = False

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """What learns, by name."""
        return {"down": self._down, "up": self._up}

    def pooled(self, rows: npt.NDArray[np.intp]) -> torch.Tensor:
        """Mapped states (k, width) of the texts at `rows` (k,), with a gradient."""
        x = self._states[torch.from_numpy(rows).to(self._device)]
        return x if self._off else x + x @ self._down.T @ self._up.T

    def all_pooled(self, rows: npt.NDArray[np.intp]) -> Floats:
        """As `pooled`, without a gradient."""
        with torch.inference_mode():
            return np.asarray(self.pooled(rows).cpu().numpy())

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The vectors as they were."""
        self._off = True
        try:
            yield
        finally:
            self._off = False

    @property
    def weight(self) -> Floats:
        """W, float32 (width, width)."""
        with torch.inference_mode():
            change = (self._up @ self._down).cpu().numpy()
        return np.asarray(np.eye(len(change)) + change, np.float32)

    def write(self, folder: Path) -> None:
        """Write the model's directory again with the map as its last Dense module."""
        folder.mkdir(parents=True, exist_ok=True)
        copy_others(self._layout.folder, folder)
        for path in sorted(self._layout.folder.glob("*.safetensors")) or sorted(self._layout.folder.glob("*.bin")):
            shutil.copyfile(path, folder / path.name)
        write_dense(self.weight, folder / FOLDER)
        write_modules(folder, self._layout)


def write_modules(folder: Path, layout: Layout) -> None:
    """Name the map in the directory's modules.json, which is made where the model has none."""
    path = folder / "modules.json"
    kind = "sentence_transformers.models."
    if path.is_file():
        modules: list[dict[str, object]] = [one for one in load_json(path) if not one["type"].endswith("Normalize")]
    else:
        modules = [{"path": "", "type": f"{kind}Transformer"}, {"path": "1_Pooling", "type": f"{kind}Pooling"}]
        (folder / "1_Pooling").mkdir(exist_ok=True)
        mode = {"last": "lasttoken"}.get(layout.pooling, layout.pooling)
        said = {"word_embedding_dimension": layout.dim, "pooling_mode": mode}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(said, indent=1), encoding="utf-8")
    modules += [{"path": FOLDER, "type": f"{kind}Dense"}, {"path": "10_Normalize", "type": f"{kind}Normalize"}]
    numbered = [{"idx": at, "name": str(at), **one} for at, one in enumerate(modules)]
    path.write_text(json.dumps(numbered, indent=1) + "\n", encoding="utf-8")

"""A language model of which low-rank adapters of the upper blocks learn (LoRA, Hu et al. 2021), batch by batch.

What lies below the first adapter never changes, so its states are computed once a text and kept. The adapters are
merged into the weights at the end: what is served is a model like any other.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from encoders.errors import ModelError
from encoders.graph import load_graph, pool
from encoders.layout import Layout
from encoders.text import Tokeniser

Floats = npt.NDArray[np.float32]
KEEP_BYTES = 2 << 30
"""States that are kept take at most so much memory; what is over it is computed again each time."""
_WEIGHTS = (".safetensors", ".bin", ".npz", ".pt")


class LoraModel:
    """The model of a layout with adapters in its last `blocks` blocks, for a list of texts.

    `rank` is the adapters' rank, their scale is 2. Raises ModelError where the model's blocks are not found.
    """

    def __init__(
        self, layout: Layout, texts: Sequence[str], *, blocks: int, rank: int, seed: int, device: str = "",
        keep_bytes: int = KEEP_BYTES,
    ) -> None:  # fmt: skip
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415  # of an extra of its own

        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._layout = layout
        graph = load_graph(layout)
        name = _blocks_name(graph.model, layout)
        self._first = layout.layers - min(blocks, layout.layers)
        targets = [
            f"{name}.{at}.{inner}"
            for at in range(self._first, layout.layers)
            for inner, module in graph.model.get_submodule(f"{name}.{at}").named_modules()
            if isinstance(module, torch.nn.Linear)
        ]
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=targets)
        self._peft = get_peft_model(graph.model, config).to(self._device).eval()  # eval: no dropout, the same each time
        self._whole = self._peft.get_base_model()
        self._upper = _upper(self._whole, name, self._first)
        self._tokens = Tokeniser(layout)(texts)
        self._kept: dict[int, torch.Tensor] = {}
        self._room = keep_bytes

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """What learns, by name."""
        return {name: value for name, value in self._peft.named_parameters() if value.requires_grad}

    def pooled(self, rows: npt.NDArray[np.intp]) -> torch.Tensor:
        """Pooled states (k, width) of the texts at `rows` (k,), with a gradient; on the model's device."""
        order = sorted(range(len(rows)), key=lambda at: len(self._tokens[rows[at]]))  # little padding then
        parts = [
            self._pooled([int(rows[at]) for at in order[start : start + 32]]) for start in range(0, len(order), 32)
        ]
        back = torch.empty(len(order), dtype=torch.int64)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[back.to(self._device)]

    def all_pooled(self, rows: npt.NDArray[np.intp]) -> Floats:
        """As `pooled`, without a gradient: float32 (k, width)."""
        with torch.no_grad():  # not inference_mode: what is kept below is learned through later
            parts = [self.pooled(rows[at : at + 256]).cpu().numpy() for at in range(0, len(rows), 256)]
        return np.concatenate(parts)

    def _pooled(self, rows: Sequence[int]) -> torch.Tensor:
        lengths = [max(1, len(self._tokens[row])) for row in rows]
        mask = torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]
        mask = mask.long().to(self._device)
        if self._upper is None:
            states = self._whole(input_ids=self._ids(rows, mask), attention_mask=mask).last_hidden_state
        else:
            below = self._below(rows, lengths, mask)
            states = self._upper(inputs_embeds=below, attention_mask=mask).last_hidden_state
        return pool(states, mask, self._layout.pooling)

    def _ids(self, rows: Sequence[int], mask: torch.Tensor) -> torch.Tensor:
        ids = torch.zeros(mask.shape, dtype=torch.int64)
        for at, row in enumerate(rows):
            ids[at, : len(self._tokens[row])] = torch.tensor(self._tokens[row], dtype=torch.int64)
        return ids.to(self._device)

    def _below(self, rows: Sequence[int], lengths: Sequence[int], mask: torch.Tensor) -> torch.Tensor:
        """States (k, length, width) below the first block that learns."""
        missing = [at for at, row in enumerate(rows) if row not in self._kept]
        width = self._layout.dim
        states = torch.zeros((*mask.shape, width), device=self._device)
        if missing:
            with torch.no_grad():
                ids, part = self._ids([rows[at] for at in missing], mask[missing]), mask[missing]
                out = self._whole(input_ids=ids, attention_mask=part, output_hidden_states=True)
            computed = out.hidden_states[self._first]
            for at, found in zip(missing, computed, strict=True):
                states[at] = found
                size = lengths[at] * width * 4
                if size <= self._room:
                    self._room -= size
                    self._kept[rows[at]] = found[: lengths[at]].clone()
        for at, row in enumerate(rows):
            if at not in missing:
                states[at, : lengths[at]] = self._kept[row]
        return states

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The model as it was before it learned anything."""
        with self._peft.disable_adapter():
            yield

    def write(self, folder: Path) -> None:
        """Write the model with its adapters merged, and its other files, into a directory. The adapters are gone then.

        The directory is the model's own but for its weights.
        """
        folder.mkdir(parents=True, exist_ok=True)
        copy_others(self._layout.folder, folder)
        merged = self._peft.merge_and_unload()
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        merged.to("cpu").save_pretrained(folder, max_shard_size="100GB")
        (folder / "config.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def copy_others(source: Path, target: Path) -> None:
    """Copy all files of a model directory but its weights, its head and its ranges for int8."""
    for path in sorted(source.rglob("*")):
        inner = path.relative_to(source)
        weights = len(inner.parts) == 1 and (
            path.suffix in (".safetensors", ".bin", ".npz", ".pt") or "index" in path.name
        )
        if path.is_file() and not weights and not inner.parts[0].startswith((".", "runs", "onnx", "openvino")):
            (target / inner).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / inner)


def _blocks_name(model: Any, layout: Layout) -> str:
    """The name of the list of transformer blocks."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == layout.layers:
            return str(name)
    raise ModelError(f"{layout.folder.name}: no list of {layout.layers} blocks in a {type(model).__name__}")


class _Given(torch.nn.Module):  # type: ignore[misc]  # torch is not typed here (follow_imports = skip)
    """In the place of a model's embeddings: gives what it is given."""

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> torch.Tensor:
        """The states."""
        return inputs_embeds


def _upper(model: Any, name: str, first: int) -> Any:
    """A model of the same blocks from the first one that learns on, for states in the place of embeddings.

    The blocks are shared. None where a family is built otherwise: it is computed whole then.
    """
    if name not in ("layers", "encoder.layer") or first == 0:
        return None
    upper = _shallow(model)
    if name == "layers":
        upper._modules["layers"] = torch.nn.ModuleList(model.layers[first:])
        return upper
    if not hasattr(model, "embeddings"):
        return None
    upper._modules["embeddings"] = _Given()
    upper._modules["encoder"] = _shallow(model.encoder)
    upper._modules["encoder"]._modules["layer"] = torch.nn.ModuleList(model.encoder.layer[first:])
    return upper


def _shallow(module: Any) -> Any:
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin

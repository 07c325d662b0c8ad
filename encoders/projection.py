"""From a model's pooled states to its vectors: dense layers, centring, the first numbers only, length 1."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.errors import ModelError
from encoders.layout import Layout, load_json
from encoders.sentiment import Head, embeddings, normalised

Floats = npt.NDArray[np.float32]
Wide = npt.NDArray[np.floating[Any]]


def _gelu(x: Wide) -> Wide:
    return np.asarray(0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / np.sqrt(2))))


def _relu(x: Wide) -> Wide:
    return np.maximum(x, 0)


def _silu(x: Wide) -> Wide:
    return np.asarray(x / (1 + np.exp(-x)))


def _identity(x: Wide) -> Wide:
    return x


_ACTIVATIONS: dict[str, Callable[[Wide], Wide]] = {
    "Identity": _identity, "Tanh": np.tanh, "ReLU": _relu, "GELU": _gelu, "SiLU": _silu,
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A sentence-transformers Dense module: activation(x · weightᵀ + bias).

    `weight` is float32 (out, in), `bias` (out,) or None.
    """

    weight: Floats
    bias: Floats | None
    activation: Callable[[Wide], Wide]

    def __call__(self, x: Wide) -> Wide:
        """States (n, in) to (n, out)."""
        product: Wide = x @ self.weight.T.astype(np.float64)
        return self.activation(product if self.bias is None else product + self.bias)


@dataclass(frozen=True, slots=True)
class Projection:
    """What makes a vector of a pooled state: the model's Dense modules in order, then the first `keep` numbers.

    `whole` is how long the model's own vector is, `dim` how long what is kept of it.
    """

    dense: tuple[Dense, ...]
    keep: int
    whole: int

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return self.keep or self.whole

    def vectors(self, pooled: Floats, head: Head, width: int) -> Floats:
        """Vectors (n, dim) of length 1 from the graph's output, of which the first `width` columns are the state.

        Centred where the head has a mean, and then cut: what is centred is the model's whole vector.
        """
        states = self.states(pooled[:, :width])
        whole = embeddings(states, head, states.shape[1])
        return normalised(whole[:, : self.keep]) if self.keep else whole

    def states(self, pooled: Floats) -> Floats:
        """Pooled states (n, width) behind the Dense modules: (n, out), neither centred nor cut nor of length 1."""
        if not self.dense:
            return pooled
        wide: Wide = pooled.astype(np.float64)  # a float32 product's last digits depend on who shares it
        for layer in self.dense:
            wide = layer(wide)
        return np.asarray(wide, np.float32)


def read_projection(layout: Layout) -> Projection:
    """The projection of a layout. Raises ModelError where its Dense modules cannot be read, or are cut too long."""
    layers, width = [], layout.dim
    for folder in layout.dense:
        layers.append(_dense(folder, width))
        width = len(layers[-1].weight)
    if layout.keep > width:
        raise ModelError(f"{layout.folder.name}: vectors have {width} numbers, {layout.keep} of them are asked for")
    return Projection(tuple(layers), layout.keep if layout.keep < width else 0, width)


def _dense(folder: Path, width: int) -> Dense:
    config = load_json(folder / "config.json")
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = _ACTIVATIONS.get(name.rsplit(".", 1)[-1]) if name.startswith("torch.nn.") else None
    if activation is None or config.get("use_residual"):
        raise ModelError(f"{folder.name}: activation {name} or a residual is not supported: {', '.join(_ACTIVATIONS)}")
    from safetensors.numpy import load_file  # noqa: PLC0415  # for the few models that have it

    try:
        tensors = load_file(folder / "model.safetensors")
        weight, bias = tensors["linear.weight"], tensors.get("linear.bias")
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{folder.name}: its weights cannot be read from model.safetensors ({error})") from error
    if weight.shape != (int(config["out_features"]), width):
        expected = (int(config["out_features"]), width)
        raise ModelError(f"{folder.name}: expected weights of shape {expected}, got {weight.shape}")
    return Dense(weight.astype(np.float32), None if bias is None else bias.astype(np.float32), activation)


def write_dense(weight: Floats, folder: Path) -> None:
    """Write a Dense module without bias and activation, `weight` (out, in), as sentence-transformers reads it."""
    from safetensors.numpy import save_file  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "in_features": weight.shape[1], "out_features": weight.shape[0], "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    save_file({"linear.weight": np.ascontiguousarray(weight, np.float32)}, folder / "model.safetensors")

"""A graph that multiplies in 8 bits: where its activations are rounded, kept as a few numbers beside the model.

A linear layer's weights are rounded to int8 with one scale an output, its input to uint8 with one range for the whole
layer, fixed beforehand: so a text's numbers depend on nothing but the text. What a range would lose to a few wide
columns is moved into the weights first (SmoothQuant, Xiao et al. 2022, https://arxiv.org/abs/2211.10438). Embeddings,
norms, attention and pooling stay as they are.

`python -m encoders.quantise` finds the ranges; this module puts them into a graph. The weights' own scales follow from
the weights, so they are not kept.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from encoders.errors import ModelError
from encoders.sentiment import own_or_packaged

Floats = npt.NDArray[np.float32]

OWN_FILE = "interests_int8.npz"
"""A model directory may bring its own ranges under this name; they go before the packaged ones."""
LEVELS = 256
_LARGEST = 127  # of a weight; −128 is not used, so that both signs are alike


@dataclass(frozen=True, slots=True)
class Site:
    """The input that some linear layers share.

    `matmuls` are their names in the graph; values are multiplied by `smoothing` of shape (width,), then rounded to 256
    steps between `low` and `high`.
    """

    matmuls: tuple[str, ...]
    low: float
    high: float
    smoothing: Floats


@dataclass(frozen=True, slots=True)
class Ranges:
    """Every site of a model; `digest`, 8 hex digits over all numbers, is part of the encoder id."""

    sites: tuple[Site, ...]
    digest: str


def load_ranges(name: str, folder: Path | None = None) -> Ranges | None:
    """The ranges of a model: from its own directory, else the packaged ones of that name, else None."""
    path = own_or_packaged(f"{name}-int8.npz", folder, OWN_FILE)
    return read_ranges(path) if path else None


def read_ranges(path: Path) -> Ranges:
    """Ranges from their .npz file. Raises ModelError where it cannot be read as such."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = [str(line).split("\n") for line in file["matmuls"]]
            bounds = file["bounds"].astype(np.float32)
            smoothing = np.split(file["smoothing"].astype(np.float32), np.cumsum(file["widths"])[:-1])
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path.name}: cannot be read as ranges ({error}); make it again") from error
    sites = [Site(tuple(n), float(b[0]), float(b[1]), s) for n, b, s in zip(names, bounds, smoothing, strict=True)]
    return ranges_of(sites)


def ranges_of(sites: list[Site]) -> Ranges:
    """Ranges with their digest."""
    digest = xxhash.xxh3_64()
    for site in sites:
        digest.update("\n".join([*site.matmuls, ""]).encode())
        digest.update(np.array([site.low, site.high], "<f4").tobytes() + site.smoothing.astype("<f4").tobytes())
    return Ranges(tuple(sites), digest.hexdigest()[:8])


def write_ranges(sites: list[Site], path: Path) -> None:
    """Write ranges as .npz, the same bytes for the same ranges: the smoothing as float16, the bounds as float32."""
    np.savez_compressed(
        path,
        matmuls=np.array(["\n".join(site.matmuls) for site in sites]),
        bounds=np.array([[site.low, site.high] for site in sites], np.float32),
        widths=np.array([len(site.smoothing) for site in sites], np.int32),
        smoothing=np.concatenate([site.smoothing for site in sites]).astype(np.float16),
    )


def round_linear_layers(model: Any, ranges: Ranges) -> None:
    """Change an OpenVINO model in place: every linear layer that `ranges` names multiplies in 8 bits.

    Raises ModelError where the graph has no such layer: it was then converted by another version than the ranges.
    """
    from openvino import opset13 as op  # noqa: PLC0415  # only where a graph is made: a later start reads it

    nodes = {node.get_friendly_name(): node for node in model.get_ops() if node.get_type_name() == "MatMul"}
    for site in ranges.sites:
        missing = [name for name in site.matmuls if name not in nodes]
        if missing:
            raise ModelError(
                f"the ranges for int8 name layers that this graph has not ({missing[0]}): they were made for another "
                "version of the model or of transformers; make them again (python -m encoders.quantise)"
            )
        matmuls = [nodes[name] for name in site.matmuls]
        smooth = op.multiply(matmuls[0].input_value(0), op.constant(site.smoothing.reshape(1, 1, -1)))
        low, high = (op.constant(np.float32(bound)) for bound in (site.low, site.high))
        activations = op.fake_quantize(smooth, low, high, low, high, LEVELS)
        for matmul in matmuls:
            rounded, scale = rounded_weights(_weights(matmul), site.smoothing)
            weights = op.multiply(op.convert(op.constant(rounded), "f32"), op.constant(scale))
            matmul.input(0).replace_source_output(activations.output(0))
            matmul.input(1).replace_source_output(weights.output(0))
    model.validate_nodes_and_infer_types()


def keep_weights_in_8_bits(model: Any, least: int = 128) -> None:
    """Change an OpenVINO model in place: the weights of its linear layers are int8 with a scale an output.

    It computes in floats as before. Layers of fewer than `least` weights stay as they are, and what has no constant
    weights, such as attention's products.
    """
    from openvino import opset13 as op  # noqa: PLC0415  # only where a graph is made: a later start reads it

    for matmul in [node for node in model.get_ops() if node.get_type_name() == "MatMul"]:
        constant = matmul.input_value(1).get_node().get_type_name() == "Constant"
        if constant and matmul.get_attributes()["transpose_b"]:
            weights = _weights(matmul)
            if weights.size < least:
                continue
            rounded, scale = rounded_weights(weights, np.ones(weights.shape[1], np.float32))
            kept = op.multiply(op.convert(op.constant(rounded), "f32"), op.constant(scale))
            matmul.input(1).replace_source_output(kept.output(0))
    model.validate_nodes_and_infer_types()


def rounded_weights(weights: Floats, smoothing: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Weights (out, in) for smoothed inputs as int8, and their scales (out, 1): weights / smoothing ≈ int8 · scale."""
    moved = weights / smoothing
    scale = np.maximum(np.abs(moved).max(axis=1, keepdims=True) / _LARGEST, np.float32(1e-12)).astype(np.float32)
    return np.rint(moved / scale).clip(-_LARGEST, _LARGEST).astype(np.int8), scale


def _weights(matmul: Any) -> Floats:
    """The constant weights of a linear layer, shape (out, in)."""
    node = matmul.input_value(1).get_node()
    while node.get_type_name() == "Convert":  # kept as float16
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or not matmul.get_attributes()["transpose_b"]:
        raise ModelError(f"{matmul.get_friendly_name()}: expected constant weights of shape (out, in)")
    return np.asarray(node.get_data(), np.float32)

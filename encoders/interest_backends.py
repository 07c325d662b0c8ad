"""Where a model of learned interests runs: OpenVINO on a CPU, torch on a GPU. Histories in, answers out."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import xxhash

from encoders.answers import Answers
from encoders.backends import resolved
from encoders.errors import ModelError
from encoders.histories import Histories

if TYPE_CHECKING:
    from encoders.hierarchy_files import LearnedHierarchy

GRAPH_FILE = "graph.xml"
PRECISIONS = ("f32", "bf16", "int8")
"""What OpenVINO computes in; `int8` keeps the weights of linear layers in 8 bits, and computes in `bf16` or `f32`."""
_INPUTS = ("vectors", "types", "weights", "ages_s")


class InterestBackend(Protocol):
    """Runs a model over histories of its own length."""

    name: str

    def run(self, histories: Histories) -> Answers:
        """Answers about n people, in their order."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """What a folder says of the model in it."""

    model_id: str
    encoder_id: str
    tasks: tuple[str, ...]
    history: int
    dim: int


def read_served(folder: Path) -> ServedModel:
    """What the configuration of a trained model's folder says, without loading it. Raises ModelError."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model = config["model"]
        return ServedModel(
            str(config["model_id"]), str(config["encoder_id"]), tuple(map(str, model["tasks"])), int(model["history"]),
            int(model["dim"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder} holds no trained model of interests: {error}") from error


def make_interest_backend(
    folder: Path, *, backend: str = "auto", device: str = "", precision: str = "f32", threads: int = 0
) -> InterestBackend:
    """A backend for an exported model's folder: `auto` is torch where CUDA is there, OpenVINO otherwise.

    `device` is torch's; `precision` and `threads` (0: half of the cores) are OpenVINO's. Raises ModelError where the
    model cannot be loaded.
    """
    if precision not in PRECISIONS:
        raise ModelError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    if resolved(backend) == "torch":
        return TorchInterests(folder, device)
    return OpenvinoInterests(folder, precision, threads)


class TorchInterests:
    """The trained model itself, in float32: on the GPU where there is one."""

    def __init__(self, folder: Path, device: str = "") -> None:
        import torch  # noqa: PLC0415  # takes seconds to import, and a CPU is served without it

        from encoders.hierarchy_files import load_learned  # noqa: PLC0415  # as torch

        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._learned = load_learned(folder, device)
        self.name = f"torch-{device.partition(':')[0]}-f32"

    def run(self, histories: Histories) -> Answers:
        """Answers about n people, in their order."""
        return self._learned.answers(histories)


class OpenvinoInterests:
    """The converted graph on a CPU: one request at a time on `threads` cores, for the text encoder wants some too."""

    def __init__(self, folder: Path, precision: str = "f32", threads: int = 0) -> None:
        from encoders.backends.openvino import core  # noqa: PLC0415  # not needed on a GPU machine

        if precision == "int8":  # of the weights, which the graph holds; what it computes in is the machine's best
            precision = "bf16" if computes_bf16() else "f32"
        self._request = core().compile_model(
            core().read_model(str(folder / GRAPH_FILE)),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "NUM_STREAMS": "1",
                "INFERENCE_NUM_THREADS": str(threads or max(1, len(os.sched_getaffinity(0)) // 2)),
                "ENABLE_CPU_PINNING": False,
            },
        ).create_infer_request()  # fmt: skip
        self.name = f"openvino-cpu-{precision}"

    def run(self, histories: Histories) -> Answers:
        """Answers about n people, in their order."""
        self._request.infer(
            {
                "vectors": np.ascontiguousarray(histories.vectors, np.float32),
                "types": np.ascontiguousarray(histories.types, np.int32),
                "weights": np.ascontiguousarray(histories.weights, np.float32),
                "ages_s": np.ascontiguousarray(histories.ages_s, np.float32),
            }
        )
        return tidy(*(np.array(self._request.get_output_tensor(at).data, np.float32) for at in range(5)))


def tidy(interests: Any, scales: Any, biases: Any, click_through: Any, attention: Any) -> Answers:
    """Answers whose lengths and sums are 1 again, and scales above 0, where they were computed in few bits."""
    norms = np.linalg.norm(interests, axis=2, keepdims=True)
    sums = attention.sum(axis=1, keepdims=True)
    return Answers(
        interests / np.maximum(norms, 1e-12), np.maximum(scales, 1e-6), biases, click_through,
        attention / np.where(sums > 0, sums, 1),
    )  # fmt: skip


def computes_bf16() -> bool:
    """Whether this processor multiplies in bfloat16."""
    from encoders.backends.openvino import core  # noqa: PLC0415  # not needed on a GPU machine

    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def write_graph(learned: LearnedHierarchy, folder: Path) -> None:
    """Convert a model from torch and write it as OpenVINO's graph into a folder."""
    import openvino as ov  # noqa: PLC0415  # only an export needs it here
    import torch  # noqa: PLC0415  # as above

    history, dim = learned.config.history, learned.config.dim
    example = Histories.empty(3, history, dim)
    example.types[:, :2] = 1
    arrays = tuple(torch.from_numpy(getattr(example, name)) for name in _INPUTS)
    with torch.inference_mode(), warnings.catch_warnings():
        # What the trace takes for constants are the sizes that are fixed: L, D and T.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # OpenVINO reads torch through torch.jit.trace
        model = ov.convert_model(
            learned.model.eval(), example_input=arrays,
            input=[[-1, history, dim], [-1, history], [-1, history], [-1, history]],
        )  # fmt: skip
    for tensor, name in zip(model.inputs, _INPUTS, strict=True):
        tensor.get_tensor().set_names({name})
    ov.save_model(model, str(folder / GRAPH_FILE), compress_to_fp16=False)


def copy_graph(source: Path, target: Path, change: Callable[[Any], object] | None = None) -> None:
    """Write the graph of one folder into another one, changed by `change` where that is given."""
    import openvino as ov  # noqa: PLC0415  # only an export needs it here

    from encoders.backends.openvino import core  # noqa: PLC0415  # as above

    model = core().read_model(str(source / GRAPH_FILE))
    if change is not None:
        change(model)
    ov.save_model(model, str(target / GRAPH_FILE), compress_to_fp16=False)


def graph_files(folder: Path) -> tuple[Path, Path]:
    """The two files of a folder's graph: its structure and its weights."""
    graph = folder / GRAPH_FILE
    return graph, graph.with_suffix(".bin")


def graph_digest(folder: Path) -> str:
    """16 hex digits of the graph's files, so that a folder of which one was replaced is found out.

    Raises ModelError where one is missing.
    """
    digest = xxhash.xxh3_64()
    for file in graph_files(folder):
        if not file.is_file():
            raise ModelError(f"{folder} holds no {file.name}: export the model again")
        digest.update(file.read_bytes())
    return digest.hexdigest()

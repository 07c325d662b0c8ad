"""The OpenVINO backend: the CPU, in int8, bfloat16 or float32, several requests at once."""

from __future__ import annotations

import functools
import os
import queue
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from encoders.errors import ModelError
from encoders.int8 import Ranges, round_linear_layers
from encoders.layout import Layout
from encoders.locate import kept
from encoders.text import Shape, TokenBatch

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

_IR_FORMAT = 1  # raise it when the graph changes: cached IR of another format is converted again
_OTHER_IR_FORMAT = 2  # as above, of families that are not in _BF16_FAMILIES
_INT8_FORMAT = 1  # as above, for what round_linear_layers makes of it


# OpenVINO 2026.4 dies of SIGFPE compiling rotary-position decoders (Qwen3, Llama) for bf16 on a CPU with AMX, so only
# families that were run in bf16 or share their blocks with one that was.
_BF16_FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet")


@functools.cache
def core() -> ov.Core:
    """The process's one Core, kept to its end.

    On Linux each Core puts its own stack for signals in place (sigaltstack), made for AMX but whatever the processor,
    and, when it goes, the one it found. Of two that overlap, the later to go puts that of the other back, freed long
    ago: the next signal, such as Ctrl-C, ends the process with SIGSEGV (OpenVINO 2026.4).
    """
    return ov.Core()


def float_precisions(layout: Layout) -> list[str]:
    """The float types that this processor multiplies in and this model may run in, the one most likely faster first."""
    capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["bf16", "f32"] if "BF16" in capabilities and layout.model_type in _BF16_FAMILIES else ["f32"]


class OpenvinoBackend:
    """Runs the graph in OpenVINO with `streams` requests at once, one core each.

    The graph is converted from torch once and kept under `cache`; later loads do not import torch. `precision` is f32,
    bf16 or int8, which needs `ranges`; by default the first of `float_precisions`. Safe to share between threads: calls
    share the requests, and one that waits begins as soon as another one has no batch left to start.
    """

    def __init__(
        self,
        layout: Layout,
        extra_layers: Sequence[int] = (),
        *,
        cache: Path,
        streams: int = 0,
        precision: str = "",
        ranges: Ranges | None = None,
    ) -> None:
        precision = precision or float_precisions(layout)[0]
        cores = len(os.sched_getaffinity(0))
        streams = streams or cores
        self.name = f"openvino-cpu-{precision}"
        self.max_padded_tokens = 1_024
        self.max_rows = 16
        self.at_once = streams
        self.shapes: Sequence[Shape] = ()
        if precision == "int8":
            graph = converted_int8(layout, extra_layers, cache, ranges)
        else:
            graph = converted(layout, extra_layers, cache)
        compiled = core().compile_model(
            core().read_model(str(graph)),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else precision,  # of what is not int8
                "NUM_STREAMS": str(streams),
                "INFERENCE_NUM_THREADS": str(max(streams, cores)),
                "ENABLE_CPU_PINNING": False,  # the machine is shared: a pinned thread waits while another core idles
            },
        )
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(streams):
            self._free.put(compiled.create_infer_request())
        self.width = int(compiled.output(0).partial_shape[1].get_length())

    def run(self, batches: Iterable[TokenBatch]) -> Iterator[tuple[Rows, Floats]]:
        """Rows and pooled states (rows, dim · (1 + extra layers)) batch by batch; the next ones run meanwhile."""
        # The requests take turns and are read from this thread. Not AsyncInferQueue: its callbacks want the GIL in
        # OpenVINO's threads, and a model taken down while one of them waits for it never ends.
        running: deque[tuple[Any, Rows]] = deque()

        def oldest() -> tuple[Any, Rows, Floats]:
            request, rows = running[0]
            request.wait()
            states = np.array(request.get_output_tensor(0).data, np.float32)
            running.popleft()
            return request, rows, states

        try:
            for batch in batches:
                rows: Rows | None = None
                try:
                    request = self._free.get(block=not running)
                except queue.Empty:
                    request, rows, states = oldest()
                running.append((request, batch.rows))
                request.start_async({"input_ids": batch.ids, "attention_mask": batch.mask})
                if rows is not None:
                    yield rows, states
            while running:
                request, rows, states = oldest()
                self._free.put(request)
                yield rows, states
        finally:
            for request, _ in running:  # none, but where this ends early
                request.cancel()
                self._free.put(request)


def converted(layout: Layout, extra_layers: Sequence[int], cache: Path) -> Path:
    """The path of the model's OpenVINO graph under `cache`, converted from torch where it is not there yet.

    Weights are kept as float16 (the graph computes in the precision asked for at load). A decoder's rotary frequencies
    are not: rounded to float16 they turn a token 400 places further on by up to a tenth of a radian too much.
    """
    target = _place(layout, extra_layers, cache)
    return kept(target, lambda folder: _convert(layout, extra_layers, folder / "graph.xml")) / "graph.xml"


def converted_int8(layout: Layout, extra_layers: Sequence[int], cache: Path, ranges: Ranges | None) -> Path:
    """The path of the graph whose linear layers multiply in 8 bits, made from the other one where it is not there yet.

    Raises ModelError without ranges, or where they do not fit the graph.
    """
    if ranges is None:
        raise ModelError(f"{layout.folder.name}: int8 needs ranges; make them (python -m encoders.quantise)")
    base = _place(layout, extra_layers, cache)
    target = base.with_name(f"{base.name}-int8-{ranges.digest}-{_INT8_FORMAT}")

    def write(folder: Path) -> None:
        model = core().read_model(str(converted(layout, extra_layers, cache)))
        round_linear_layers(model, ranges)
        ov.save_model(model, str(folder / "graph.xml"), compress_to_fp16=False)

    return kept(target, write) / "graph.xml"


def _place(layout: Layout, extra_layers: Sequence[int], cache: Path) -> Path:
    layers = "-".join(map(str, extra_layers)) or "last"
    form = _IR_FORMAT if layout.model_type in _BF16_FAMILIES else _OTHER_IR_FORMAT
    return cache / "openvino" / f"{layout.fingerprint}-{layout.pooling}-{layers}-{form}"


def _convert(layout: Layout, extra_layers: Sequence[int], path: Path) -> None:
    import torch  # noqa: PLC0415  # takes seconds to import, and only a first load needs it

    from encoders.graph import load_graph  # noqa: PLC0415  # as torch

    graph = load_graph(layout, extra_layers)
    example = {
        "input_ids": torch.ones((2, 8), dtype=torch.int64),
        "attention_mask": torch.ones((2, 8), dtype=torch.int64),
    }
    with torch.inference_mode(), warnings.catch_warnings():
        # Shapes that the trace takes for constants are those this graph never varies (no cache, no past).
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)  # OpenVINO reads torch through torch.jit.trace
        model = ov.convert_model(
            graph, example_input=example, input=[("input_ids", [-1, -1]), ("attention_mask", [-1, -1])]
        )
    model.output(0).get_tensor().set_names({"POOLED"})
    known = layout.model_type in _BF16_FAMILIES
    if not known:
        _halve_matrices(model)
    ov.save_model(model, str(path), compress_to_fp16=known)


def _halve_matrices(model: Any) -> None:
    """Keep a graph's matrices as float16 and all smaller constants as they are."""
    from openvino import opset13 as op  # noqa: PLC0415  # only where a graph is made: a later start reads it

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32:
            continue
        if sum(size > 1 for size in node.get_output_shape(0)) < 2:
            continue
        consumers = list(node.output(0).get_target_inputs())
        with np.errstate(over="ignore"):
            half = np.asarray(node.get_data(), np.float32).astype(np.float16)
        if np.isfinite(half).all():
            smaller = op.convert(op.constant(half), "f32")
            for consumer in consumers:
                consumer.replace_source_output(smaller.output(0))

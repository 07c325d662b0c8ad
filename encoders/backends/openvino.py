"""The OpenVINO backend: the CPU, in bfloat16 where the processor multiplies in it, several requests at once."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from encoders.layout import Layout
from encoders.text import TokenBatch

_IR_FORMAT = 1  # raise it when the graph changes: cached IR of another format is converted again


# OpenVINO 2026.4 dies of SIGFPE compiling rotary-position decoders (Qwen3, Llama) for bf16 on a CPU with AMX, so only
# families that were run in bf16 or share their blocks with one that was.
_BF16_FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet")


class OpenvinoBackend:
    """Runs the graph in OpenVINO with `streams` requests at once, one core each.

    The graph is converted from torch once and kept under `cache`; later loads do not import torch. `precision` is
    OpenVINO's inference type; by default bf16 for BERT's relatives where the processor lists it, else f32.
    """

    def __init__(
        self,
        layout: Layout,
        extra_layers: Sequence[int] = (),
        *,
        cache: Path,
        streams: int = 0,
        precision: str = "",
    ) -> None:
        core = ov.Core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = precision or ("bf16" if "BF16" in capabilities and layout.model_type in _BF16_FAMILIES else "f32")
        cores = len(os.sched_getaffinity(0))
        streams = streams or cores
        self.name = f"openvino-cpu-{precision}"
        self.max_padded_tokens = 1_024
        self.max_rows = 16
        model = core.read_model(str(converted(layout, extra_layers, cache)))
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "NUM_STREAMS": str(streams),
                "INFERENCE_NUM_THREADS": str(max(streams, cores)),
                "ENABLE_CPU_PINNING": False,  # the machine is shared: a pinned thread waits while another core idles
            },
        )
        self._requests = [compiled.create_infer_request() for _ in range(streams)]
        self._one_call = threading.Lock()
        self._width = int(compiled.output(0).partial_shape[1].get_length())

    def pooled(self, batches: Iterable[TokenBatch], n: int) -> npt.NDArray[np.float32]:
        """Pooled states of all `n` texts, shape (n, dim · (1 + extra layers)); batches run side by side."""
        out = np.empty((n, self._width), np.float32)

        # The requests take turns and are read from this thread. Not AsyncInferQueue: its callbacks want the GIL in
        # OpenVINO's threads, and a model taken down while one of them waits for it never ends.
        running: deque[tuple[Any, npt.NDArray[np.intp]]] = deque()

        def collect() -> Any:
            request, rows = running.popleft()
            request.wait()
            out[rows] = request.get_output_tensor(0).data
            return request

        with self._one_call:
            free = list(self._requests)
            for batch in batches:
                request = free.pop() if free else collect()
                request.start_async({"input_ids": batch.ids, "attention_mask": batch.mask})
                running.append((request, batch.rows))
            while running:
                collect()
        return out


def converted(layout: Layout, extra_layers: Sequence[int], cache: Path) -> Path:
    """The path of the model's OpenVINO graph under `cache`, converted from torch where it is not there yet.

    Weights are kept as float16 (the graph computes in the precision asked for at load).
    """
    layers = "-".join(map(str, extra_layers)) or "last"
    target = cache / "openvino" / f"{layout.fingerprint}-{layout.pooling}-{layers}-{_IR_FORMAT}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
        try:
            _convert(layout, extra_layers, temporary / "graph.xml")
            temporary.chmod(0o755)
            try:
                temporary.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target / "graph.xml"


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
    ov.save_model(model, str(path), compress_to_fp16=True)

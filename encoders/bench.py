"""How many short texts a second a model encodes here, by backend.

python -m encoders.bench --model multilingual-e5-small --backend openvino
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from encoders.backends import PRECISIONS
from encoders.encoder import LoadedEncoder, load_encoder
from encoders.errors import ending_on_model_error
from encoders.locate import DEFAULT_MODEL

_WORDS = re.findall(
    r"\w+",
    "river bridge morning letter garden window market planet music winter engine story player coffee doctor paper "
    "city money train energy picture school weather history camera island forest kitchen science holiday",
)


def short_texts(n: int, seed: int = 0) -> list[str]:
    """`n` different texts of 6 to 16 English words, the same for the same seed."""
    draw = random.Random(seed)  # noqa: S311  # made-up texts, no secret
    return [" ".join(draw.choices(_WORDS, k=draw.randint(6, 16))) + f" {i}" for i in range(n)]


def texts_per_second(encoder: LoadedEncoder, texts: Sequence[str], runs: int = 3) -> float:
    """The best of `runs` passes over the texts, after one to warm up, in texts a second."""
    encoder.encode(texts)
    best = float("inf")
    for _ in range(runs):
        start = perf_counter()
        encoder.encode(texts)
        best = min(best, perf_counter() - start)
    return len(texts) / best


def main() -> None:
    """Measure one model in one backend and print one line."""
    parser = argparse.ArgumentParser(description="Texts a second, 6 to 16 words each.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="float", choices=PRECISIONS)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    with ending_on_model_error(parser):
        encoder = load_encoder(
            arguments.model, backend=arguments.backend, precision=arguments.precision, streams=arguments.streams,
            cache=arguments.cache, compiled=arguments.compile,
        )  # fmt: skip
    rate = texts_per_second(encoder, short_texts(arguments.texts))
    print(f"{encoder.encoder_id} {encoder.backend.name}: {rate:.0f} texts/s")


if __name__ == "__main__":
    main()

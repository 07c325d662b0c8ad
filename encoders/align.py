"""Fits what centres a model's vectors: their common part, and the directions that only tell English from Chinese.

    python -m encoders.align --model multilingual-e5-small

Texts: `weights/neutral.txt` and the taxonomy's names and descriptions, all written for this project. The common part
is the mean over both languages in equal parts; the language directions are the leading right singular vectors of the
differences between the taxonomy's Chinese texts and their English counterparts. Result: `mean` and `languages` in
`weights/<model>.npz`. Changing them changes the encoder id: collections and concept trees have to be made again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoders.encoder import load_encoder
from encoders.errors import ending_on_model_error
from encoders.locate import DEFAULT_MODEL, locate, name_of
from encoders.sentiment import WEIGHTS, Head, load_head, normalised, write_head

Floats = npt.NDArray[np.float32]

TAXONOMY = Path(__file__).parents[1] / "streams" / "concepts" / "taxonomy.json"
DIRECTIONS = 4


def neutral_texts() -> list[str]:
    """Plain sentences without a judgement, English and Chinese, written for this project."""
    return [line for line in (WEIGHTS / "neutral.txt").read_text(encoding="utf-8").splitlines() if line]


def plain_questions() -> list[str]:
    """Questions, problem reports and short replies: they name trouble and judge nothing. For the sentiment only."""
    return [line for line in (WEIGHTS / "questions.txt").read_text(encoding="utf-8").splitlines() if line]


def taxonomy_pairs(path: Path = TAXONOMY) -> tuple[list[str], list[str]]:
    """The taxonomy's names and descriptions in English, and the same in Chinese, in the same order."""
    concepts = json.loads(path.read_text(encoding="utf-8"))["concepts"]
    parts = [
        (concept[field]["en"], concept[field]["zh"]) for field in ("names", "descriptions") for concept in concepts
    ]
    return [english for english, _ in parts], [chinese for _, chinese in parts]


def fit(neutral: Floats, is_chinese: npt.NDArray[np.bool_], english: Floats, chinese: Floats) -> tuple[Floats, Floats]:
    """The mean, shape (dim,), and orthonormal language directions, shape (4, dim), from normalised vectors.

    `neutral` (n, dim) with `is_chinese` (n,); `english` and `chinese` (m, dim) are translations row by row.
    """
    means = [neutral[is_chinese].mean(0), neutral[~is_chinese].mean(0), english.mean(0), chinese.mean(0)]
    directions = np.linalg.svd(chinese - english, full_matrices=False)[2][:DIRECTIONS]
    return np.asarray(np.mean(means, axis=0), np.float32), np.asarray(directions, np.float32)


def fitted(encode: Callable[[Sequence[str]], Floats]) -> tuple[Floats, Floats]:
    """Mean and language directions of the vectors that `encode` gives of this project's texts, (n, dim), unit length.

    They must be whole and not centred yet.
    """
    neutral, (english, chinese) = neutral_texts(), taxonomy_pairs()
    vectors = encode([*neutral, *english, *chinese])
    parts = np.split(vectors, [len(neutral), len(neutral) + len(english)])
    return fit(parts[0], np.array([is_chinese(text) for text in neutral]), parts[1], parts[2])


def is_chinese(text: str) -> bool:
    """Whether a text holds a Han character."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description="Fit what centres a model's vectors.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    with ending_on_model_error(parser):
        encoder = load_encoder(arguments.model, backend="torch", device="cpu", cache=arguments.cache, head=Head())
    mean, languages = fitted(lambda texts: normalised(encoder.projection.states(encoder.pooled(texts))))
    name = name_of(locate(arguments.model, arguments.cache))
    head = dataclasses.replace(load_head(name), mean=mean, languages=languages)
    write_head(head, WEIGHTS / f"{name}.npz")
    print(f"{name}: mean of length {np.linalg.norm(mean):.3f}, {len(languages)} language directions")


if __name__ == "__main__":
    main()

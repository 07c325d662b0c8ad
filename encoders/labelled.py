"""Labelled comments: how they are read, and which are never trained on."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def held_out(text: str) -> bool:
    """Whether a text belongs to the fifth that is never trained on: its BLAKE2b's first byte is a multiple of 5."""
    return hashlib.blake2b(text.encode(), digest_size=2).digest()[0] % 5 == 0


def read_labelled(path: Path) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Texts and labels (1 good, 0 bad) of a gzipped JSON-lines file."""
    rows = read_rows(path)
    return [row["text"] for row in rows], np.array([row["label"] for row in rows], np.int64)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a gzipped JSON-lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]

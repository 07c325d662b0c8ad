"""Ranges of an int8 graph: kept as they are, refused where they are not ranges; weights rounded to the nearest step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from encoders.errors import ModelError
from encoders.int8 import Site, ranges_of, read_ranges, rounded_weights, write_ranges

SITES = [
    Site(("a/MatMul", "b/MatMul"), -0.5, 2.0, np.array([1, 0.5, 2], np.float32)),
    Site(("c/MatMul",), -1.0, 1.0, np.array([0.25, 4], np.float32)),
]


def test_ranges_are_read_as_written(tmp_path: Path) -> None:
    write_ranges(SITES, tmp_path / "x.npz")
    found = read_ranges(tmp_path / "x.npz")
    assert found.digest == ranges_of(SITES).digest
    assert [(s.matmuls, s.low, s.high, s.smoothing.tolist()) for s in found.sites] == [
        (s.matmuls, s.low, s.high, s.smoothing.tolist()) for s in SITES
    ]


def test_any_other_number_is_another_digest() -> None:
    first, second = SITES
    others = [
        [first],
        [second, first],
        [Site(first.matmuls, -0.5, 2.1, first.smoothing), second],
        [Site(first.matmuls, -0.5, 2.0, first.smoothing * 2), second],
        [Site(("a/MatMul",), -0.5, 2.0, first.smoothing), second],
    ]
    assert len({ranges_of(sites).digest for sites in [SITES, *others]}) == 6


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"not one"])
def test_what_is_no_file_of_ranges_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ModelError, match=r"x\.npz"):
        read_ranges(tmp_path / "x.npz")


def test_weights_are_within_half_a_step() -> None:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(8, 16)).astype(np.float32)
    smoothing = rng.uniform(0.1, 3, 16).astype(np.float32)
    rounded, scale = rounded_weights(weights, smoothing)
    assert rounded.dtype == np.int8
    assert np.abs(rounded).max(axis=1).tolist() == [127] * 8
    assert np.all(np.abs(rounded * scale - weights / smoothing) <= scale * 0.5001)


def test_a_row_of_zeros_stays_zero() -> None:
    rounded, scale = rounded_weights(np.zeros((2, 4), np.float32), np.ones(4, np.float32))
    assert not rounded.any()
    assert np.isfinite(scale).all()

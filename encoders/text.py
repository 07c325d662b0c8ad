"""Texts to batches of token ids: prefix, truncate, sort by length, pad little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from encoders.layout import Layout

Ids = npt.NDArray[np.int64]

_LEAST_ROWS = 4  # of a batch that is made smaller: fewer leave a core's multiplier half idle


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Some of the texts, padded on the right: `ids` and `mask` (n, length), `rows` (n,) their places."""

    ids: Ids
    mask: Ids
    rows: npt.NDArray[np.intp]


class Tokeniser:
    """A model's fast tokeniser with its prefix and length limit. Safe to share between threads."""

    def __init__(self, layout: Layout) -> None:
        self._tokenizer = _fast_tokenizer(layout.folder)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=layout.max_tokens)
        self._prefix = layout.prefix

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text, special tokens included, at most the layout's `max_tokens`.

        A text is read whole before it is cut: linear in its length.
        """
        prefixed = [self._prefix + text for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(prefixed)]


def _fast_tokenizer(folder: Path) -> Any:
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    from transformers import AutoTokenizer  # noqa: PLC0415  # seconds to import, for old model directories only

    return AutoTokenizer.from_pretrained(str(folder), use_fast=True, local_files_only=True).backend_tokenizer


def batches(
    tokens: Sequence[Sequence[int]], max_padded_tokens: int, max_rows: int, at_once: int = 1, multiple_of: int = 8
) -> Iterator[TokenBatch]:
    """Batches of one width each, longest first, at most `max_padded_tokens` ids with padding and `max_rows` texts.

    A text's width is its own length padded up to `multiple_of`, whatever it is batched with: then the backend
    computes the same bits for it in any company, and an event's weight is the same when Kafka delivers it again.
    Where `at_once` batches run side by side they become smaller towards the end, so that all end together: a batch
    has at most half of an equal share of what is left (guided self-scheduling, Polychronopoulos and Kuck 1987).
    A text without any token gets one masked in, since an empty row has no mean. Linear in the tokens, but for sorting
    the widths.
    """
    by_width: dict[int, list[int]] = {}
    for row, sequence in enumerate(tokens):
        width = max(1, len(sequence))
        by_width.setdefault(width + -width % multiple_of, []).append(row)
    left = sum(width * len(rows) for width, rows in by_width.items())
    for width, rows in sorted(by_width.items(), reverse=True):
        most = max(1, min(max_rows, max_padded_tokens // width))
        start = 0
        while start < len(rows):
            count = most if at_once == 1 else min(most, max(_LEAST_ROWS, left // (2 * at_once * width)))
            yield _padded(tokens, rows[start : start + count], width)
            start += count
            left -= count * width


def _padded(tokens: Sequence[Sequence[int]], rows: Sequence[int], width: int) -> TokenBatch:
    ids = np.zeros((len(rows), width), np.int64)
    mask = np.zeros((len(rows), width), np.int64)
    for at, row in enumerate(rows):
        sequence = tokens[row]
        ids[at, : len(sequence)] = sequence
        mask[at, : max(1, len(sequence))] = 1
    return TokenBatch(ids, mask, np.array(rows, np.intp))

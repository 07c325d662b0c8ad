"""Texts to batches of token ids: prefix, truncate, sort by length, pad little."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, processors

from encoders.errors import ModelError
from encoders.layout import Layout

Ids = npt.NDArray[np.int64]

Shape = tuple[int, int]
"""(rows, width) of a batch."""

WIDTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""The widths of `fixed_shapes`: from 17 tokens on a text is padded to less than twice its length."""
_MULTIPLE_OF = 8  # tokens: any width else
_LEAST_ROWS = 4  # of a batch that is made smaller: fewer leave a core's multiplier half idle


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Some of the texts, padded on the right: `ids` and `mask` (n or more, length), `rows` (n,) their places.

    What follows the first n rows is padding.
    """

    ids: Ids
    mask: Ids
    rows: npt.NDArray[np.intp]


class Tokeniser:
    """A model's fast tokeniser with its prefix and length limit. Safe to share between threads."""

    def __init__(self, layout: Layout) -> None:
        self._tokenizer = _fast_tokenizer(layout.folder)
        self._tokenizer.no_padding()
        if layout.end:
            end_with(self._tokenizer, layout.end)
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


def end_with(tokenizer: Any, token: str) -> None:
    """Make every text end with a token, also one that is cut, where the tokeniser's own files have not yet done so.

    Raises ModelError where the vocabulary has no such token.
    """
    end, plain = tokenizer.token_to_id(token), tokenizer.encode("a").ids
    if end is None:
        raise ModelError(f"the tokeniser has no token {token!r}, which its configuration ends texts with")
    if plain and plain[-1] == end:
        return
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    first = plain[: len(plain) - len(bare)] if plain[len(plain) - len(bare) :] == bare else []
    special = [(tokenizer.id_to_token(one), one) for one in dict.fromkeys([*first, end])]
    names = [tokenizer.id_to_token(one) for one in first]
    tokenizer.post_processor = processors.TemplateProcessing(single=[*names, "$A", token], special_tokens=special)


def batches(
    tokens: Sequence[Sequence[int]],
    max_padded_tokens: int,
    max_rows: int,
    at_once: int = 1,
    shapes: Sequence[Shape] = (),
) -> Iterator[TokenBatch]:
    """Batches of one width each, longest first, at most `max_padded_tokens` ids with padding and `max_rows` texts.

    A text's width is its own length padded up to a multiple of 8, whatever it is batched with: then the backend
    computes the same bits for it in any company, and an event's weight is the same when Kafka delivers it again.
    Where `at_once` batches run side by side they become smaller towards the end, so that all end together: a batch
    has at most half of an equal share of what is left (guided self-scheduling, Polychronopoulos and Kuck 1987).
    A text without any token gets one masked in, since an empty row has no mean. Linear in the tokens, but for sorting
    the widths.
    Where there are `shapes`, (rows, width) from the narrowest on, every batch has one of them: a text goes into the
    narrowest that holds it, and rows that are left over are padding.
    """
    rows_of = {width: rows for rows, width in shapes}
    widths = list(rows_of)
    by_width: dict[int, list[int]] = {}
    for row, sequence in enumerate(tokens):
        length = max(1, len(sequence))
        width = widths[bisect_left(widths, length)] if widths else length + -length % _MULTIPLE_OF
        by_width.setdefault(width, []).append(row)
    left = sum(width * len(rows) for width, rows in by_width.items())
    for width, rows in sorted(by_width.items(), reverse=True):
        most = rows_of.get(width) or max(1, min(max_rows, max_padded_tokens // width))
        start = 0
        while start < len(rows):
            count = most if at_once == 1 else min(most, max(_LEAST_ROWS, left // (2 * at_once * width)))
            yield _padded(tokens, rows[start : start + count], width, rows_of.get(width, 0))
            start += count
            left -= count * width


def fixed_shapes(max_tokens: int, tokens: int) -> tuple[Shape, ...]:
    """The shapes of batches for texts of at most `max_tokens`: one a width, of about `tokens` ids, the narrowest first.

    A width has one number of rows, however few the texts are: a GPU's library picks its kernels, and with them the
    order of its sums, by shape. So a text is computed alike in any company.
    """
    widths = (*(width for width in WIDTHS if width < max_tokens), max_tokens)
    return tuple((max(2, tokens // width), width) for width in widths)  # 2: torch compiles for a single row apart


def _padded(tokens: Sequence[Sequence[int]], rows: Sequence[int], width: int, least_rows: int) -> TokenBatch:
    ids = np.zeros((max(len(rows), least_rows), width), np.int64)
    mask = np.zeros_like(ids)
    mask[:, 0] = 1
    for at, row in enumerate(rows):
        sequence = tokens[row]
        ids[at, : len(sequence)] = sequence
        mask[at, : len(sequence)] = 1
    return TokenBatch(ids, mask, np.array(rows, np.intp))

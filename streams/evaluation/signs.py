"""What the signs of evidence are worth: the same log with every event speaking for its item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from streams.encoder.base import Encoded, Encoder
from streams.interests.signed_weight import WeightTable


class NoSentiment:
    """Another encoder whose texts all have the sentiment 0."""

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self._inner.dim

    async def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode texts."""
        encoded = await self._inner.encode(texts)
        return replace(encoded, sentiment=np.zeros_like(encoded.sentiment))


def unsigned(table: WeightTable) -> WeightTable:
    """The weights of a table without signs: dislikes are likes, a rating says more the higher it is, comments all alike
    with `NoSentiment`, and what was shown and left says nothing."""
    return replace(
        table, base={name: abs(weight) for name, weight in table.base.items()}, rating_neutral=0.0,
        comment_engagement=1.0, impression_skipped=0.0,
    )  # fmt: skip

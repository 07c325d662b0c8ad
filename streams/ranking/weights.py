"""Records of the compacted topic `ranking.weights`: what each feature is worth, learned by kind of list. Pure.

Keyed by encoder and kind; the latest record of a key counts. Whoever ranks takes it up, and falls back to the fixed
weights where it is missing, too old, of another version of the features, or says itself that it is not to be served.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
import numpy as np
import xxhash

from streams.base.errors import PoisonError
from streams.events.decode import own_record
from streams.events.wire import MAX_ID_CHARS
from streams.interests.score import Floats
from streams.ranking.parts import Kind
from streams.ranking.rows import NAMES, NAMES_OF, VERSION

_GREATEST: Final = 1e6


class PublishedWeights(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Weights by feature name, in the order of `rows.NAMES`, in units of the score.

    `version` rises by one whenever anything else of a key's record changes but `made_ms`, which a sign of life renews:
    when it was made, by the learner's clock. `lists` is how many examples the weights were learned from. `serve` is
    False where they did worse than the fixed ones of late.
    """

    encoder: str
    kind: Kind
    version: int
    features: int
    lists: int
    made_ms: int
    serve: bool
    values: dict[str, float]

    @property
    def key(self) -> bytes:
        """The record's key."""
        return f"{self.encoder}/{self.kind}".encode()

    @property
    def digest(self) -> str:
        """What stands for all of it but `version` and `made_ms`."""
        return xxhash.xxh3_128_hexdigest(_encode(msgspec.structs.replace(self, version=0, made_ms=0)))

    def array(self) -> Floats:
        """The weights (F,)."""
        return np.array([self.values[name] for name in NAMES])


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(PublishedWeights)


def pack_weights(weights: PublishedWeights) -> bytes:
    """A record's value."""
    return _encode(weights)


def unpack_weights(value: bytes | None) -> PublishedWeights | None:
    """Read back what `pack_weights` wrote; None for weights of a version of the features that is not known.

    Those of an earlier version weigh with 0 what it did not have. PoisonError for anything that no learner can have
    sent.
    """
    weights = own_record(value, _decoder, "published weights")
    names = NAMES_OF.get(weights.features)
    if names is None:
        return None
    if not 0 < len(weights.encoder) <= MAX_ID_CHARS:
        raise PoisonError(f"encoder: expected 1 to {MAX_ID_CHARS} characters", reason="out_of_range")
    if tuple(weights.values) != names:
        raise PoisonError("values: expected one for every feature", reason="out_of_range")
    if not all(math.isfinite(one) and abs(one) < _GREATEST for one in weights.values.values()):
        raise PoisonError("values: one is not finite or too great", reason="out_of_range")
    if weights.features != VERSION:
        values = dict.fromkeys(NAMES, 0.0) | weights.values
        weights = msgspec.structs.replace(weights, features=VERSION, values=values)
    return weights

"""Items as they are shown: one card an item, read by ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streams.interests.nodes import Vector
from streams.store import codec, versions
from streams.store.filters import ALL_PAYLOAD
from streams.store.messages import grpc
from streams.store.points import PointsClient

_ITEMS_PER_CALL = 500


class Card(NamedTuple):
    """An item as it is shown and scored: `vector` float32 (dim,), unit, (0,) where it was not read.

    `path` "", `ts_ms` None and `confidence` None, the probability that the path's topic is right: not known.
    """

    item_id: str
    vector: Vector
    path: str
    title: str | None = None
    description: str | None = None
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    brand: str | None = None
    lang: str | None = None
    ts_ms: int | None = None
    confidence: float | None = None


async def read_cards(
    points: PointsClient, collection: str, point_ids: Sequence[str], *, payload: grpc.WithPayloadSelector = ALL_PAYLOAD,
    vectors: grpc.WithVectorsSelector | None = None,
) -> dict[str, Card]:  # fmt: skip
    """The described items among some points, by point id; of each what `payload`, which has `item_id`, selects."""
    found = await points.get(collection, point_ids, payload=payload, vectors=vectors, at_once=_ITEMS_PER_CALL)
    return {point.id.uuid: card_of(point.payload, codec.row_of(point.vectors)) for point in found}


def card_of(payload: Mapping[str, grpc.Value], vector: Vector) -> Card:
    """A card from an item's point; what the payload lacks is not known. NewerPoints as `require_known`."""
    versions.require_known(payload, versions.ITEMS, "items")

    def text(name: str) -> str | None:
        return payload[name].string_value if name in payload else None

    def words(name: str) -> tuple[str, ...]:
        return tuple(one.string_value for one in payload[name].list_value.values) if name in payload else ()

    return Card(
        item_id=payload["item_id"].string_value, vector=vector, path=text("path") or "", title=text("title"),
        description=text("description"), categories=words("categories"), tags=words("tags"), brand=text("brand"),
        lang=text("lang"), ts_ms=payload["ts"].integer_value if "ts" in payload else None,
        confidence=payload["confidence"].double_value if "confidence" in payload else None,
    )  # fmt: skip

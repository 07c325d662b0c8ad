"""Items touched together with others, as Qdrant points: one an item and group, its partners packed into one string."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from streams.interests.applied import Applied, pack_applied, unpack_applied
from streams.interests.nodes import NAMESPACE
from streams.interests.together import ItemPartners, forgotten_at_ms, pack_counts, unpack_counts
from streams.store import codec, versions
from streams.store.base import Fence
from streams.store.wire import Point


def partners_id(group: str, item_id: str) -> str:
    """The point id of an item's partners: uuid5 of `together`, group and item, joined by U+001F."""
    return str(uuid.uuid5(NAMESPACE, f"together\x1f{group}\x1f{item_id}"))


def partners_point(partners: ItemPartners, group: str, fence: Fence, half_life_s: float, expire_below: float) -> Point:
    """An item's partners as a point; it expires when their total falls under `expire_below`."""
    payload = {
        "item_id": partners.item_id, "group": group, "partners": pack_counts(partners.counts),
        "total": float(partners.total), "t0": partners.t0_ms, "applied": pack_applied(partners.applied),
        "fence": fence.number, "expires_at": forgotten_at_ms(partners, half_life_s, expire_below),
        versions.FIELD: versions.TOGETHER,
    }  # fmt: skip
    return Point(partners_id(group, partners.item_id), codec.ONE, payload)


def partners_of(payload: Mapping[str, Any]) -> ItemPartners:
    """An item's partners from its point's payload; `applied` where that was read. NewerPoints as `require_known`."""
    versions.require_known(payload, versions.TOGETHER, "items' partners")
    return ItemPartners(
        item_id=payload["item_id"].string_value, counts=unpack_counts(payload["partners"].string_value),
        total=payload["total"].double_value, t0_ms=payload["t0"].integer_value,
        applied=unpack_applied(payload["applied"].string_value) if "applied" in payload else Applied(),
    )  # fmt: skip

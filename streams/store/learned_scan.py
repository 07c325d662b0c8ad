"""Whose learned node is not of their profile as it is stored: a scan of the profiles, some of them at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Set
from typing import Any, Final, NamedTuple

from streams.interests.applied import unpack_applied
from streams.interests.decay import runs_out_ms
from streams.interests.learned import source_of
from streams.interests.levels import LEARNED
from streams.interests.nodes import Node, NodeKey, NodePolicy, node_id
from streams.store import codec
from streams.store.base import Fence
from streams.store.filters import all_of, any_of, fields
from streams.store.points import PointsClient

_PAGE: Final = 500
_STATE: Final = ("count", "t0", "mass")
_PROFILES: Final = all_of(any_of("level", ["profile"]))


class Behind(NamedTuple):
    """A person's profile as it is stored, and the fence it was written under: what their learned nodes are not of."""

    profile: Node
    fence: Fence


async def learned_behind(
    points: PointsClient, collection: str, policy: NodePolicy, slots: Set[str], model: str, at_ms: int
) -> AsyncIterator[list[Behind]]:
    """People with events of any of the `topic/partition` in `slots` whose learned node is missing, of another state of
    their profile or of another model than `model`; page after page, empty ones too.

    Left out is whose node would have expired by `at_ms`. Every page is read when it is asked for. Raises
    StoreUnavailable.
    """
    wanted = fields("user_id", "applied", *_STATE)
    async for page in points.pages(collection, _PROFILES, payload=wanted, page=_PAGE):
        state = {
            point.payload["user_id"].string_value: point.payload for point in page
            if not slots.isdisjoint(unpack_applied(point.payload["applied"].string_value).offsets)
        }  # fmt: skip
        asked = {node_id(NodeKey(user_id, LEARNED, "/")): user_id for user_id in state}
        found = await points.get(collection, list(asked), payload=fields("model", *_STATE))
        learned = {asked[point.id.uuid]: point.payload for point in found}
        stale = [
            node_id(NodeKey(user_id, "profile", "/")) for user_id, profile in state.items()
            if not _is_of(learned.get(user_id), profile, model)
        ]  # fmt: skip
        stored = await points.get(collection, stale, deciding=True)
        every = [Behind(codec.node_of(one.payload, codec.row_of(one.vectors)), _fence(one.payload)) for one in stored]
        yield [one for one in every if _has_any(one.profile, policy, at_ms)]


def _is_of(learned: Mapping[str, Any] | None, profile: Mapping[str, Any], model: str) -> bool:
    """Whether a learned node was made by a model of a profile as it is; of nothing read its mass is 0."""
    if learned is None or learned["model"].string_value != model:
        return False
    same = all(learned[name].integer_value == profile[name].integer_value for name in ("count", "t0"))
    return same and learned["mass"].double_value in (0.0, profile["mass"].double_value)


def _has_any(profile: Node, policy: NodePolicy, at_ms: int) -> bool:
    """Whether there is anything to make learned nodes of that are not to be deleted at once."""
    ends_ms = runs_out_ms(profile.mass, profile.t0_ms, policy.half_life_ms(LEARNED), policy.expire_below)
    return source_of(profile) is not None and ends_ms > at_ms


def _fence(payload: Mapping[str, Any]) -> Fence:
    return Fence.of(payload["fence"].integer_value)

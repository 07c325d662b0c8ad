"""All that belongs to an encoder on a server: what a new one is given, how alike two are, what is deleted of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streams.interests.nodes import Node, NodePolicy, node_id, profile_key
from streams.store.base import Fence
from streams.store.collections import CONTROL, POPULARITY, TOGETHER, Collections
from streams.store.connection import guarded
from streams.store.crash_marks import of_group
from streams.store.encoders import EncoderPoints
from streams.store.filters import NO_PAYLOAD, all_of, any_of, fields
from streams.store.learner_state import learner_points
from streams.store.messages import grpc
from streams.store.node_table import NodeTable
from streams.store.points import PointsClient
from streams.store.qdrant import control_id

_NEAR = 10
_NOBODY = Fence(0, 0)
_AT_ONCE = 500


class Alike(NamedTuple):
    """How alike two encoders' items lie: shares of those compared, and how many these were.

    `neighbours` is how many of an item's ten nearest are the same ones, `paths` how many items have the same path.
    """

    items: int
    neighbours: float
    paths: float


class EncoderData:
    """Collections of encoders. Calls raise StoreUnavailable past the deadline."""

    def __init__(self, points: PointsClient) -> None:
        self._points = points

    async def erased_at(self, collections: Collections, users: Sequence[str]) -> dict[str, int]:
        """When each of these was erased by what their profile says, 0 for never; who has no profile is left out."""
        found: dict[str, int] = {}
        for start in range(0, len(users), _AT_ONCE):
            ids = [node_id(profile_key(user)) for user in users[start : start + _AT_ONCE]]
            for point in await self._points.get(
                collections.interests,
                ids,
                payload=fields("user_id", "erased_at"),
                at_once=_AT_ONCE,
                deciding=True,
            ):
                at_ms = point.payload["erased_at"].integer_value if "erased_at" in point.payload else 0
                found[point.payload["user_id"].string_value] = at_ms
        return found

    async def put_tombstones(self, collections: Collections, erased: Mapping[str, int], policy: NodePolicy) -> int:
        """Leave the marks of erasures among nodes that know nothing of these people yet; gives how many it left.

        So an event from before an erasure that comes late, once the log no longer has the erasure, changes nothing.
        """
        known = await self.erased_at(collections, list(erased))
        nothing = np.zeros(collections.dim, np.float32)
        fresh = [
            Node(key=profile_key(user), direction=nothing, t0_ms=at_ms, erased_at_ms=at_ms)
            for user, at_ms in erased.items()
            if user not in known
        ]
        await NodeTable(self._points, collections.interests, policy).write(fresh, _NOBODY)
        return len(fresh)

    async def alike(self, one: Collections, other: Collections, most: int) -> Alike:
        """Compare the items that both have described, up to `most` of them."""
        request = grpc.ScrollPoints(collection_name=one.items, limit=most, with_payload=fields("path"))
        here = {point.id.uuid: point.payload["path"].string_value for point in
                (await self._points.call("Scroll", request, "scroll")).result}  # fmt: skip
        there = {
            point.id.uuid: point.payload["path"].string_value
            for point in await self._points.get(other.items, list(here), payload=fields("path"))
        }
        shares = [len(await self._near(one, item) & await self._near(other, item)) / _NEAR for item in there]
        same = [here[item] == path for item, path in there.items()]
        return Alike(len(there), float(np.mean(shares)) if shares else 0.0, float(np.mean(same)) if same else 0.0)

    async def _near(self, collections: Collections, item: str) -> set[str]:
        nearest = grpc.Query(nearest=grpc.VectorInput(id=grpc.PointId(uuid=item)))
        request = grpc.QueryPoints(
            collection_name=collections.items, query=nearest, limit=_NEAR, with_payload=NO_PAYLOAD
        )
        return {point.id.uuid for point in (await self._points.call("Query", request, "query")).result}

    async def delete(self, collections: Collections, groups: Sequence[str], learners: Sequence[str]) -> None:
        """Delete an encoder's collections, and of its groups all that is kept: it can be done again where it stopped.

        `learners` are the names of its learners' states.
        """
        client = self._points.collections
        for name in (collections.items, collections.population, collections.interests):
            if await guarded(client.exists(name), "asking for a collection"):
                await guarded(client.delete(name), "deleting a collection")
        await self._points.delete_ids(CONTROL, [point for name in learners for point in learner_points(name)])
        for group in groups:
            for name in (POPULARITY, TOGETHER):
                if await guarded(client.exists(name), "asking for a collection"):
                    await self._points.delete_while(name, all_of(any_of("group", [group])))
            await self._points.delete_while(CONTROL, of_group(group))
            await self._points.delete_ids(CONTROL, [control_id(group)])
            await EncoderPoints(self._points).forget(group)

"""What all users together say, on Qdrant: items' popularity and partners, and the nodes of cohorts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import heappush, heappushpop
from typing import Any, Final, NamedTuple

from streams.interests.applied import Applied, pack_applied, unpack_applied
from streams.interests.nodes import NAMESPACE, Node, NodeKey, NodePolicy
from streams.interests.popularity import SHORTER_S, ItemPopularity, forgotten_at_ms
from streams.interests.together import ItemPartners, PartnerPolicy
from streams.store import codec, versions
from streams.store.base import Fence
from streams.store.collections import POPULARITY, TOGETHER, Collections
from streams.store.connection import QdrantConfig, guarded
from streams.store.filters import all_of, any_of, expired, fields, not_newer
from streams.store.node_table import NodeTable
from streams.store.partners import partners_id, partners_of, partners_point
from streams.store.points import Called, PointsClient, not_counted
from streams.store.wire import Point

_IDS_A_CALL = 1_000


class Bounds(NamedTuple):
    """Cohorts a group keeps, and nodes a cohort and level: as many as may be, those that are left are the heaviest."""

    cohorts: int
    nodes: int


#: Topics that are a catalogue's own words make cohorts and nodes too: so many are kept, whoever invents how many.
MOST: Final = Bounds(cohorts=500, nodes=1_000)


def popularity_id(group: str, item_id: str) -> str:
    """The point id of an item's popularity: uuid5 of `popularity`, group and item, joined by U+001F."""
    return str(uuid.uuid5(NAMESPACE, f"popularity\x1f{group}\x1f{item_id}"))


class CohortStore:
    """Cohorts' nodes, read and written as users' nodes are, and items' popularity and partners.

    All belong to a consumer group, since fence and log are the group's. `policy` has the half-lives of cohorts'
    nodes; `half_life_s` is that of popularity, `together_half_life_s` that of partners. A sweep deletes cohorts that
    `knows` does not know, as earlier settings may have left them, and what goes beyond `most`.
    """

    def __init__(
        self, config: QdrantConfig, policy: NodePolicy, collections: Collections, *, group: str, half_life_s: float,
        together_half_life_s: float = PartnerPolicy().half_life_s, knows: Callable[[str], bool] = lambda _: True,
        most: Bounds = MOST, called: Called = not_counted,
    ) -> None:  # fmt: skip
        self._points, self._names, self._policy = PointsClient(config, called), collections, policy
        self._nodes = NodeTable(self._points, collections.population, policy)
        self._group, self._knows, self._most = group, knows, most
        self._half_life_s, self._together_half_life_s = half_life_s, together_half_life_s

    async def prepare(self) -> None:
        """Make the collections and their payload indexes where they are missing, and check their size."""
        points = self._points
        await guarded(self._names.prepare_population(points.collections), "prepare")

    async def read(self, keys: Sequence[NodeKey]) -> dict[NodeKey, Node]:
        """The cohorts' nodes that exist among `keys`."""
        found = await self._nodes.read([key._replace(user_id=scoped(self._group, key.user_id)) for key in keys])
        return {node.key: node for node in map(unscoped, found.values())}

    async def write(self, nodes: Sequence[Node], fence: Fence) -> None:
        """Upsert cohorts' nodes durably; those stored under a newer fence stay as they are."""
        mine = [replace(n, key=n.key._replace(user_id=scoped(self._group, n.key.user_id))) for n in nodes]
        await self._nodes.write(mine, fence)

    async def popularity(self, item_ids: Iterable[str]) -> dict[str, ItemPopularity]:
        """The popularity of the items among `item_ids` that have any."""
        ids = [popularity_id(self._group, item_id) for item_id in item_ids]
        found = [popularity_of(point.payload) for point in await self._points.get(POPULARITY, ids, deciding=True)]
        return {item.item_id: item for item in found}

    async def put_popularity(self, items: Sequence[ItemPopularity], fence: Fence) -> None:
        """Write items' popularity durably; what is stored under a newer fence stays as it is."""
        await self._points.upsert_all(POPULARITY, (self._point(item, fence) for item in items), not_newer(fence))

    async def partners(self, item_ids: Iterable[str]) -> dict[str, ItemPartners]:
        """The partners of the items among `item_ids` that have any."""
        ids = [partners_id(self._group, item_id) for item_id in item_ids]
        found = [partners_of(point.payload) for point in await self._points.get(TOGETHER, ids, deciding=True)]
        return {item.item_id: item for item in found}

    async def put_partners(self, items: Sequence[ItemPartners], fence: Fence) -> None:
        """Write items' partners durably; what is stored under a newer fence stays as it is."""
        half_life_s, below = self._together_half_life_s, self._policy.expire_below
        made = (partners_point(item, self._group, fence, half_life_s, below) for item in items)
        await self._points.upsert_all(TOGETHER, made, not_newer(fence))

    async def sweep(self, now_ms: int) -> None:
        """Delete the nodes that have expired or go beyond the bounds, and what is forgotten of items."""
        await self._nodes.delete_expired(now_ms)
        await self._delete_strays()
        await self._points.delete_while(POPULARITY, all_of(expired(now_ms)))
        await self._points.delete_while(TOGETHER, all_of(expired(now_ms)))

    async def _delete_strays(self) -> None:
        """Delete this group's unknown cohorts, and the lightest cohorts and nodes beyond the bounds.

        All nodes halve alike, so what expires last is the heaviest.
        """
        cohorts: list[tuple[int, str]] = []
        nodes: dict[tuple[str, str], list[tuple[int, str]]] = {}
        stray_cohorts: set[str] = set()
        stray_nodes: list[str] = []
        wanted = fields("user_id", "level", "expires_at")
        async for page in self._points.pages(self._names.population, all_of(), payload=wanted):
            for point in page:
                user_id, level = point.payload["user_id"].string_value, point.payload["level"].string_value
                if user_id.rpartition("\x1f")[0] != self._group:
                    continue
                until = point.payload["expires_at"].integer_value
                if level != "profile":
                    stray_nodes += _beyond(
                        self._most.nodes, nodes.setdefault((user_id, level), []), (until, point.id.uuid)
                    )
                elif not self._knows(user_id.rpartition("\x1f")[2]):
                    stray_cohorts.add(user_id)
                else:
                    stray_cohorts.update(_beyond(self._most.cohorts, cohorts, (until, user_id)))
        for at in range(0, len(stray_nodes), _IDS_A_CALL):
            await self._points.delete_ids(self._names.population, stray_nodes[at : at + _IDS_A_CALL])
        names = sorted(stray_cohorts)
        for at in range(0, len(names), _IDS_A_CALL):
            theirs = all_of(any_of("user_id", names[at : at + _IDS_A_CALL]))
            await self._points.delete(self._names.population, theirs)

    async def close(self) -> None:
        """Close the channels."""
        await self._points.close()

    def _point(self, item: ItemPopularity, fence: Fence) -> Point:
        payload = {
            "item_id": item.item_id, "group": self._group, "mass": float(item.mass), "t0": item.t0_ms,
            "shorter": pack_shorter(item.masses[1:]), "last": item.last_ms,
            "count": item.count, "applied": pack_applied(item.applied), "fence": fence.number,
            "expires_at": forgotten_at_ms(item, self._half_life_s, self._policy.expire_below),
            versions.FIELD: versions.POPULARITY,
        }  # fmt: skip
        return Point(popularity_id(self._group, item.item_id), codec.ONE, payload)


def _beyond(most: int, kept: list[tuple[int, str]], one: tuple[int, str]) -> list[str]:
    """Keep one more in a heap of at most `most`; gives what falls out."""
    if len(kept) < most:
        heappush(kept, one)
        return []
    return [heappushpop(kept, one)[1]]


def pack_shorter(masses: Iterable[float]) -> str:
    """The masses at the shorter half-lives as one string, with all digits."""
    return ";".join(map(repr, masses))


def masses_of(payload: Mapping[str, Any]) -> tuple[float, ...]:
    """An item's masses from its point's payload; where earlier versions wrote it, the shorter ones are 0."""
    shorter = payload["shorter"].string_value if "shorter" in payload else ""
    rest = map(float, shorter.split(";")) if shorter else (0.0 for _ in SHORTER_S)
    return (payload["mass"].double_value, *rest)


def popularity_of(payload: Mapping[str, Any]) -> ItemPopularity:
    """An item's popularity from its point's payload; `applied` where that was read. NewerPoints as `require_known`."""
    versions.require_known(payload, versions.POPULARITY, "items' popularity")
    return ItemPopularity(
        item_id=payload["item_id"].string_value, masses=masses_of(payload), t0_ms=payload["t0"].integer_value,
        last_ms=payload["last"].integer_value if "last" in payload else 0,
        count=payload["count"].integer_value,
        applied=unpack_applied(payload["applied"].string_value) if "applied" in payload else Applied(),
    )  # fmt: skip


def scoped(group: str, cohort: str) -> str:
    """The `user_id` under which a group keeps a cohort's nodes: every group learns for itself, as it folds."""
    return f"{group}\x1f{cohort}"


def unscoped(node: Node) -> Node:
    """A cohort's node under the cohort's own name."""
    return replace(node, key=node.key._replace(user_id=node.key.user_id.rpartition("\x1f")[2]))

"""Similar people, and people interested in a text or an item: searched in Qdrant, weighed here."""

from __future__ import annotations

from collections.abc import Iterable

from streams.api.backends import Backends
from streams.api.models import (
    Audience,
    AudienceMember,
    AudienceNode,
    AudienceRequest,
    SimilarUser,
    SimilarUsers,
)
from streams.api.problems import unknown_item, unknown_user
from streams.interests.decay import decayed
from streams.interests.nodes import NodePolicy, Vector
from streams.store.reader import Hit

_MORE_GROUPS = 4  # strength is similarity times mass, and Qdrant orders by similarity alone
_MOST_GROUPS = 2000
_NODES_EACH = 5


async def similar(backends: Backends, user_id: str, k: int, at_ms: int) -> SimilarUsers:
    """The people whose whole person is nearest. 404 where nothing is kept of this one."""
    profile = await backends.reader.profile(user_id)
    if profile is None:
        raise unknown_user()
    if not profile.direction.any():  # erased, or all cancelled out: nobody is near nothing
        return SimilarUsers(user_id=user_id, erased_at_ms=profile.erased_at_ms or None)
    near = await backends.reader.alike(profile.direction, user_id, k, at_ms)
    paths = await backends.reader.paths_of([user_id, *[other for other, _ in near]], at_ms)
    own = paths[user_id]
    return SimilarUsers(
        user_id=user_id,
        erased_at_ms=profile.erased_at_ms or None,
        users=[
            SimilarUser(user_id=other, similarity=similarity, shared_paths=sorted(own & paths[other]))
            for other, similarity in near
        ],
    )


async def search(backends: Backends, query: AudienceRequest, at_ms: int) -> Audience:
    """Who is interested in a text or an item, strongest first."""
    vector = await _vector(backends, query)
    names = await backends.reader.names()
    paths = None if query.path is None else await backends.reader.paths_below(names.interests, query.path)
    if paths is not None and not paths:
        return Audience(at_ms=at_ms)
    hits = await backends.reader.groups(
        vector, query.levels, paths, at_ms, users=min(_MOST_GROUPS, _MORE_GROUPS * query.limit),
        floor=query.min_similarity,
    )  # fmt: skip
    ranked = sorted(hits, key=lambda hit: (-_strength(hit, at_ms, backends.policy), hit.user_id))
    chosen = [hit.user_id for hit in ranked if _mass(hit, at_ms, backends.policy) >= query.min_mass][: query.limit]
    more = await backends.reader.nodes_near(
        vector, query.levels, paths, at_ms, users=chosen, limit=_NODES_EACH * len(chosen), floor=query.min_similarity
    )
    by_user: dict[str, dict[tuple[str, str], Hit]] = {user_id: {} for user_id in chosen}
    for hit in [*hits, *more]:
        if hit.user_id in by_user:
            by_user[hit.user_id][hit.level, hit.path] = hit
    members = [_member(backends, user_id, by_user[user_id].values(), query.min_mass, at_ms) for user_id in chosen]
    return Audience(at_ms=at_ms, members=sorted(members, key=lambda one: (-one.strength, one.user_id)))


async def _vector(backends: Backends, query: AudienceRequest) -> Vector:
    if query.item_id is None:
        vector: Vector = (await backends.encode([query.text or ""]))[0]
        return vector
    card = (await backends.catalogue.cards([query.item_id])).get(query.item_id)
    if card is None:
        raise unknown_item()
    return card.vector


def _member(backends: Backends, user_id: str, hits: Iterable[Hit], min_mass: float, at_ms: int) -> AudienceMember:
    heavy = [hit for hit in hits if _mass(hit, at_ms, backends.policy) >= min_mass]
    ordered = sorted(heavy, key=lambda hit: (-_strength(hit, at_ms, backends.policy), hit.path))[:_NODES_EACH]
    return AudienceMember(
        user_id=user_id, strength=_strength(ordered[0], at_ms, backends.policy),
        similarity=max(hit.similarity for hit in ordered), since_ms=min(hit.first_ms for hit in ordered),
        last_ms=max(hit.last_ms for hit in ordered),
        nodes=[
            AudienceNode(
                level=hit.level, path=hit.path, name=backends.names(hit.level, hit.path), similarity=hit.similarity,
                mass=_mass(hit, at_ms, backends.policy), first_ms=hit.first_ms, last_ms=hit.last_ms,
            )
            for hit in ordered
        ],
    )  # fmt: skip


def _mass(hit: Hit, at_ms: int, policy: NodePolicy) -> float:
    return decayed(hit.mass, hit.t0_ms, at_ms, policy.half_life_ms(hit.level))


def _strength(hit: Hit, at_ms: int, policy: NodePolicy) -> float:
    return hit.similarity * _mass(hit, at_ms, policy)

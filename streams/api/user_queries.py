"""Reads about users that are not scores: a person's tree and recent items, and the list of all people, by pages."""

from __future__ import annotations

import uuid

from streams.api.backends import Backends
from streams.api.interest_tree import NodeView, TreeQuery, chosen, item_ids, tree
from streams.api.models import Context, RecentEntry, Recents, Tree, UserCard, Users
from streams.api.params import bad_cursor, cursor, read_cursor
from streams.api.person import read_person
from streams.api.problems import unknown_user
from streams.interests.nodes import is_forgotten, recents_of


async def interest_tree(
    backends: Backends, user_id: str, at_ms: int, query: TreeQuery, context: Context, *, prior: bool
) -> Tree:
    """A person's tree. 404 where nothing is kept of them and no prior is wanted."""
    person = await read_person(backends, user_id, at_ms, context, prior=prior, vectors=query.vectors)
    if not person.known and not prior:
        raise unknown_user()
    rows = chosen(person.alive, at_ms, backends.policy, query)[query.start : query.start + query.limit]
    titles = await backends.catalogue.titles(item_ids(rows, query.evidence))
    view = NodeView(
        at_ms=at_ms, policy=backends.policy, name_of=backends.names, titles=titles, prior_ids=person.prior_ids
    )
    return tree(
        user_id, person.stored, person.alive, view, query, prior=person.prior, cursor=lambda end: cursor(at_ms, end)
    )


async def recent_items(backends: Backends, user_id: str, limit: int) -> Recents:
    """A person's recent items, latest first; none where they were erased, or nothing is kept of them."""
    profile = await backends.reader.profile(user_id)
    kept = () if profile is None or is_forgotten(profile) else recents_of(profile)[:limit]
    titles = await backends.catalogue.titles(one.item_id for one in kept)
    return Recents(
        user_id=user_id, erased_at_ms=(profile.erased_at_ms or None) if profile else None,
        items=[
            RecentEntry(item_id=one.item_id, title=titles.get(one.item_id), ts_ms=one.ts_ms, weight=one.weight)
            for one in kept
        ],
    )  # fmt: skip


async def user_page(backends: Backends, limit: int, following: str | None) -> Users:
    """A page of people, from the cursor `following` on."""
    start = None
    if following is not None:
        (start,) = read_cursor(following, 1)
        try:
            start = str(uuid.UUID(start))
        except ValueError:
            raise bad_cursor() from None
    page = await backends.reader.people(limit, start)
    cards = [UserCard(user_id=one.user_id, events=one.events, last_ms=one.last_ms) for one in page.people]
    return Users(users=cards, next_cursor=cursor(page.following) if page.following else None)

"""Trees and pages of people, read and told."""

from __future__ import annotations

import uuid

from streams.api.backends import Backends
from streams.api.models import Context, Tree, UserCard, Users
from streams.api.params import bad_cursor, cursor, read_cursor
from streams.api.people import read_person
from streams.api.problems import ApiProblem, not_found
from streams.api.trees import TreeQuery, View, chosen, item_ids
from streams.api.trees import tree as tree_of


async def interests(
    backends: Backends, user_id: str, at_ms: int, wanted: TreeQuery, context: Context, *, prior: bool
) -> Tree:
    """A person's tree. 404 where nothing is kept of them and nothing is lent."""
    who = await read_person(backends, user_id, at_ms, context, prior=prior, vectors=wanted.vectors)
    if not who.known and not prior:
        raise unknown_user()
    rows = chosen(who.alive, at_ms, backends.policy, wanted)[wanted.start : wanted.start + wanted.limit]
    titles = await backends.catalogue.titles(item_ids(rows, wanted.evidence))
    view = View(at_ms=at_ms, policy=backends.policy, name_of=backends.names, titles=titles, borrowed=who.borrowed)
    return tree_of(user_id, who.stored, who.alive, view, wanted, prior=who.prior, cursor=lambda end: cursor(at_ms, end))


async def people(backends: Backends, limit: int, following: str | None) -> Users:
    """A page of people."""
    at = None
    if following is not None:
        (at,) = read_cursor(following, 1)
        try:
            at = str(uuid.UUID(at))
        except ValueError:
            raise bad_cursor() from None
    page = await backends.reader.people(limit, at)
    cards = [UserCard(user_id=one.user_id, events=one.events, last_ms=one.last_ms) for one in page.people]
    return Users(users=cards, next_cursor=cursor(page.following) if page.following else None)


def unknown_user() -> ApiProblem:
    """Nobody by this id."""
    return not_found("unknown-user", "Nothing is kept of this user: no event of theirs was folded, or all were erased.")

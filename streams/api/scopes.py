"""Scopes: what a caller may do, and which of them an event needs for what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from streams.events.wire import EventType

Scope = Literal["read", "ingest", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

#: What an event of each type needs besides the `ingest` of its route: the scope of what it does. A test holds that no
#: type is missing; one that were would need `admin`.
SCOPE_OF_EVENT: Final[dict[EventType, Scope]] = {
    "click": "ingest", "view": "ingest", "post": "ingest", "comment": "ingest", "like": "ingest", "dislike": "ingest",
    "bookmark": "ingest", "share": "ingest", "follow": "ingest", "purchase": "ingest", "rating": "ingest",
    "search": "ingest", "hide": "ingest", "impression": "ingest", "unlike": "ingest", "unbookmark": "ingest",
    "undislike": "ingest", "unfollow": "ingest", "unhide": "ingest",
    "erase": "admin",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: a name for limits and logs (of a token only a hash), and what they may do."""

    name: str
    scopes: frozenset[Scope]


EVERYBODY = Principal("local", frozenset(SCOPES))


class CredentialsRefused(Exception):
    """The credentials are missing or do not hold; the message says which, never what they were."""


def scope_of_event(event_type: EventType) -> Scope:
    """The scope of what an event of this type does."""
    return SCOPE_OF_EVENT.get(event_type, "admin")

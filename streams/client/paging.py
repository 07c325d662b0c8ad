"""Lists that come in pages, one call after the other. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from streams.api.models import InterestNode, Tree, UserCard, Users
from streams.client import calls
from streams.client.calls import Call
from streams.client.errors import UnexpectedAnswer
from streams.interests.levels import Level

PAGE: Final = 200


class Page(Protocol):
    """What all pages have."""

    @property
    def next_cursor(self) -> str | None:
        """Asks for the next page; None on the last."""


G = TypeVar("G", bound=Page)
R = TypeVar("R")


@dataclass(slots=True)
class Pages(Generic[G, R]):
    """How to ask for a page by its cursor, and the rows of one."""

    ask: Callable[[str | None], Call[G]]
    rows: Callable[[G], Sequence[R]]
    _seen: set[str] = field(default_factory=set)

    def after(self, page: G) -> Call[G] | None:
        """The call of the next page. Raises UnexpectedAnswer where the server goes round in circles."""
        cursor = page.next_cursor
        if cursor is None:
            return None
        if cursor in self._seen:
            raise UnexpectedAnswer("the API's pages go round in circles", "a cursor came twice")
        self._seen.add(cursor)
        return self.ask(cursor)


def iter_users(*, page: int = PAGE) -> Pages[Users, UserCard]:
    """Everybody, one by one; asks for `page` people at a time."""
    return Pages(lambda cursor: calls.users(limit=page, cursor=cursor), lambda answer: answer.users)


def iter_interests(
    user_id: str, *, levels: Sequence[Level] | None = None, path: str | None = None, evidence: int | None = None,
    vectors: bool | None = None, page: int = PAGE,
) -> Pages[Tree, InterestNode]:  # fmt: skip
    """All nodes of a user's tree, one by one, however many there are; asks for `page` at a time."""

    def ask(cursor: str | None) -> Call[Tree]:
        return calls.interests(
            user_id, levels=levels, path=path, evidence=evidence, vectors=vectors, limit=page, cursor=cursor
        )

    return Pages(ask, lambda answer: answer.nodes)

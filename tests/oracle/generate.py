"""Events from a seed: unique ids, every type, late and out of order, some sent twice, some poison."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

DAY_MS = 86_400_000
TAKES_BACK = {
    "unlike": "like", "undislike": "dislike", "unbookmark": "bookmark", "unfollow": "follow", "unhide": "hide"
}  # fmt: skip
_PLACES = [
    ("Sports", "Football"), ("Sports", "Basketball"), ("Science", "Space"), ("Technology", "Programming"),
    ("Finance", "Stocks"), ("Politics", "Elections"), ("Science", "Biology"), ("Business", "Startups"),
]  # fmt: skip
_TITLES = [
    "The keeper saves a late penalty", "A rookie scores forty points", "A probe sends pictures of a moon",
    "A smaller compiler for a new language", "Markets rest after a long week", "Polls close across the country",
    "A frog thought lost is found again", "Two friends begin a bakery online", "The derby ends without a goal",
    "Playoffs start in the rain", "A telescope opens its mirror", "Old code is read once more",
]  # fmt: skip
_REMARKS = [
    "What a wonderful read, thank you", "This is the worst thing I have seen all week", "I do not know what to think",
    "Great pictures and clear words", "Boring, and wrong as well", "When is the next part out?",
    "I loved every minute of it", "Terrible, I want my time back", "It is fine", "A fair and careful report",
]  # fmt: skip
_SEARCHES = ["results of the weekend", "how do frogs sing", "learn a programming language", "who won the election"]


class Made(NamedTuple):
    """One record to produce: the kind of its topic (clicks, comments, events), key, value and what must become of it.

    `fate` is `applied`, `dead`, `unread` (set aside by its place, since nobody can read it; key and value are empty) or
    `either` (for bytes of which nobody said what they are).
    """

    kind: str
    key: bytes
    value: bytes
    fate: str = "applied"
    headers: tuple[tuple[str, bytes | None], ...] = ()


def catalogue(prefix: str, count: int = len(_TITLES)) -> list[dict[str, Any]]:
    """Items with texts that are the same in every run, so that they are encoded once; ids start with `prefix`."""
    return [
        {"item_id": f"{prefix}-{n}", "title": _TITLES[n % len(_TITLES)], "categories": list(_PLACES[n % len(_PLACES)])}
        for n in range(count)
    ]


def texts() -> list[str]:
    """Every text that an event may carry."""
    return [*_REMARKS, *_SEARCHES]


@dataclass(slots=True)
class Generator:
    """Makes the events of one run. `span_ms` is how far back times reach, `late_ms` how far those of the late ones.

    The numbers of likes and events a user are kept within what a profile remembers, which bounds the promise.
    """

    seed: str
    run: str
    items: list[str]
    now_ms: int
    users: int = 8
    span_ms: int = 2 * 3_600_000
    late_ms: int = 3 * DAY_MS
    made: int = 0
    _chance: random.Random = field(init=False)
    _likes: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def user(self, number: int) -> str:
        """The name of a user; numbers go round."""
        return f"{self.run}-u{number % self.users}"

    def events(self, count: int) -> list[Made]:
        """The next `count` events, and besides them about one in twenty once more."""
        out: list[Made] = []
        for body in (self._body() for _ in range(count)):
            out.append(_record(body))
            if self._chance.random() < 0.05:
                out.insert(self._chance.randrange(len(out) + 1), _record(body))
        return out

    def every_user(self, rounds: int = 1) -> list[Made]:
        """A click of every user on some item, so often."""
        return [
            _record(self._named("click", n, item_id=self._item())) for _ in range(rounds) for n in range(self.users)
        ]

    def clicks_on(self, item_id: str, count: int) -> list[Made]:
        """Clicks on one item by several users."""
        return [_record(self._named("click", n, item_id=item_id)) for n in range(count)]

    def searches(self, said: list[str]) -> list[Made]:
        """Searches with these words, by one user after another."""
        return [_record(self._named("search", n, text=text)) for n, text in enumerate(said)]

    def erasures(self, users: Iterable[int], at_ms: int) -> list[Made]:
        """Requests to forget these users, as of a time."""
        return [_record(self._named("erase", user, ts=at_ms)) for user in users]

    def around_erasure(self, users: Iterable[int], at_ms: int) -> list[Made]:
        """Users' erasures among events of theirs: older ones and such of that very time on both sides, younger after.

        The younger lie behind the erasure in its own topic. Topics have no order among each other, and an erasure takes
        all that was folded before it, whatever its time.
        """
        return [made for some in zip_longest(*(self._around(user, at_ms) for user in users)) for made in some if made]

    def _around(self, user: int, at_ms: int) -> list[Made]:
        older = [
            self._named("click", user, item_id=self._item()), self._named("bookmark", user, item_id=self._item()),
            self._named("comment", user, item_id=self._item(), text=self._chance.choice(_REMARKS)),
            *(self._named(kind, user, item_id=self._item(), ts=at_ms) for kind in ("click", "like", "purchase")),
        ]  # fmt: skip
        self._chance.shuffle(older)
        younger = [
            self._named("like", user, item_id=self._item(), ts=at_ms + 1),
            self._named("search", user, text=self._chance.choice(_SEARCHES), ts=at_ms + 500),
            self._named("rating", user, item_id=self._item(), rating=4.5, ts=at_ms + 1000),
        ]
        behind = [*older[3:], *younger]
        self._chance.shuffle(behind)
        before, after = [_record(body) for body in older[:3]], [_record(body) for body in behind]
        return [*before, *self.erasures([user], at_ms), *after]

    def move_on(self, by_ms: int) -> None:
        """From here on times are within the last `by_ms` before a moment so much later, but for the late ones."""
        self.now_ms, self.span_ms = self.now_ms + by_ms, by_ms

    def poison(self, count: int) -> list[Made]:
        """Records that can only be dead-lettered."""
        return [
            Made(self._chance.choice(["clicks", "comments"]), self.user(n).encode(), bad, "dead")
            for n, bad in zip(range(count), self._bad(), strict=False)
        ]

    def _bad(self) -> Iterator[bytes]:
        while True:
            yield b"{not json %d" % self._next()
            yield json.dumps({"user_id": "somebody-else", "type": "click", "item_id": "x"}).encode()
            yield b'{"user_id": 7}'
            yield b"\xff\xfe"

    def _next(self) -> int:
        self.made += 1
        return self.made

    def _item(self) -> str:
        return self._chance.choice(self.items)

    def _ts(self) -> int:
        back = self.late_ms if self._chance.random() < 0.1 else self.span_ms
        return self.now_ms - self._chance.randrange(1, back)

    def _named(self, kind: str, user: int, **fields: Any) -> dict[str, Any]:
        fields = {"ts": self._ts(), **fields}
        return {"event_id": f"{self.run}-e{self._next()}", "user_id": self.user(user), "type": kind, **fields}

    def _body(self) -> dict[str, Any]:
        chance, user = self._chance, self._chance.randrange(self.users)
        kind = chance.choices(*zip(*_MIX, strict=True))[0]
        if kind in TAKES_BACK:
            return self._undone(kind, user)
        if kind == "search":
            return self._named(kind, user, text=chance.choice(_SEARCHES))
        if kind == "impression":
            shown = chance.sample(self.items, 4)
            return self._named(kind, user, items=shown, clicked=shown[:1])
        body = self._named(kind, user, item_id=self._item())
        if kind == "comment":
            body["text"] = chance.choice(_REMARKS)
        if kind == "rating" or (kind == "comment" and chance.random() < 0.3):
            body["rating"] = chance.randrange(1, 11) / 2
        if kind == "view":
            body["dwell_ms"] = chance.randrange(120_000)
        if kind in TAKES_BACK.values():
            self._likes.append(body)
        return body

    def _undone(self, kind: str, user: int) -> dict[str, Any]:
        """Takes back a like, mostly one that was given; now and then a time before it, which takes back nothing."""
        given = [one for one in self._likes if one["type"] == TAKES_BACK[kind]]
        if not given:
            return self._named(kind, user, item_id=self._item())
        like = self._chance.choice(given)
        ts = like["ts"] + self._chance.randrange(-60_000, 600_000)
        body = self._named(kind, user, item_id=like["item_id"], ts=min(ts, self.now_ms))
        return {**body, "user_id": like["user_id"]}


_MIX: list[tuple[str, float]] = [
    ("click", 40), ("view", 10), ("like", 10), ("unlike", 5), ("bookmark", 4), ("unbookmark", 2), ("comment", 10),
    ("rating", 5), ("purchase", 3), ("hide", 3), ("unhide", 2), ("dislike", 2), ("undislike", 1), ("follow", 2),
    ("unfollow", 1), ("search", 3), ("impression", 3),
]  # fmt: skip


def _record(body: dict[str, Any]) -> Made:
    kind = {"click": "clicks", "view": "clicks", "comment": "comments"}.get(body["type"], "events")
    return Made(kind, body["user_id"].encode(), json.dumps(body).encode())

"""The groups of cases that results are given for."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.ranking.parts import Kind

#: What each group of a kind holds, behind the kind and a comma; the first is all but users' first events.
LAST_FIFTH: Final = "last fifth"
COHORTS: Final[Mapping[str, tuple[int, float]]] = {
    "after 0": (0, 0), "after 1 or 2": (1, 2), "after 3 to 10": (3, 10), "light": (11, 50), "heavy": (51, np.inf),
}  # fmt: skip
GROUPS: Final[Mapping[str, str]] = {
    "": "of users with a past",
    LAST_FIFTH: "the last fifth in time",
    "not own": "without items that the event itself made",
    "liked": "the event spoke for its item",
    "disliked": "the event spoke against its item: lower is better",
    "after 0": "users of whom nothing was known",
    "after 1 or 2": "users after one or two events",
    "after 3 to 10": "users after 3 to 10 events",
    "light": "users after 11 to 50 events",
    "heavy": "users after more than 50 events",
    "half a": "one half of the users, by the CRC-32 of their id",
    "half b": "the other half",
}


def about(group: str) -> str:
    """What a group holds, by its full name."""
    return GROUPS[group.partition(", ")[2]]


class Head(NamedTuple):
    """What a case is grouped by."""

    kind: Kind
    user_id: str
    events: int
    own: bool
    weight: float


def half_of(user_id: str) -> str:
    """One of two halves of the users, `a` or `b`, by the user id's CRC-32."""
    return "ab"[zlib.crc32(user_id.encode()) & 1]


def members(heads: list[Head]) -> dict[str, NDArray[np.int64]]:
    """The places in `heads`, of one kind and in order of time, that each group has, by its name.

    Groups without a case are left out, and `not own` where it is all.
    """
    past = [at for at, head in enumerate(heads) if head.events > 0]
    tests: dict[str, Callable[[Head], bool]] = {
        "": lambda head: True,
        "not own": lambda head: not head.own,
        "liked": lambda head: head.kind == "next" and head.weight > 0,
        "disliked": lambda head: head.kind == "next" and head.weight < 0,
        "half a": lambda head: half_of(head.user_id) == "a",
        "half b": lambda head: half_of(head.user_id) == "b",
    }
    chosen = {name: [at for at in past if test(heads[at])] for name, test in tests.items()}
    chosen[LAST_FIFTH] = past[int(len(past) * 0.8) :]
    for name, (least, most) in COHORTS.items():
        chosen[name] = [at for at, head in enumerate(heads) if least <= head.events <= most]
    if len(chosen["not own"]) == len(past):
        del chosen["not own"]
    return {name: np.array(chosen[name], np.int64) for name in GROUPS if chosen.get(name)}

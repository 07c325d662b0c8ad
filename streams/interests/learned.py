"""Learned nodes: a profile's recent items as a model reads them, and its answers as nodes. Pure numpy.

A model reads of each person their latest items that are described and were not taken back. What it answers is written
as nodes of the level `learned`: `/`, the interest, and one a task. They are no sums: made again, they replace what was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from encoders.answers import Answers
from encoders.histories import Histories, type_code
from streams.interests.evidence import Evidence, Strongest
from streams.interests.item_vectors import StoredItem
from streams.interests.levels import LEARNED
from streams.interests.nodes import LearnedPart, Node, NodeKey, is_forgotten
from streams.interests.recents import Recent, oldest_ms, unpack_recents

#: The task whose node holds the variance of the person's click-through rate.
_CLICK: Final = "click"


class LearnedSource(NamedTuple):
    """What a person's learned nodes are made of, as their profile left it: `recents` are packed, times are in ms."""

    user_id: str
    recents: str
    mass: float
    t0_ms: int
    first_ms: int
    last_ms: int
    events: int

    @property
    def earliest_ms(self) -> int:
        """The earliest time there is of the person: an erasure of then or later ends what is made of this."""
        return min(self.first_ms or self.t0_ms, oldest_ms(self.recents))

    def items(self) -> tuple[Recent, ...]:
        """The recent items that count for something, latest first."""
        return tuple(one for one in unpack_recents(self.recents) if one.weight)


def source_of(profile: Node) -> LearnedSource | None:
    """What to make a person's learned nodes of; None for whom there is nothing: no item, or forgotten."""
    if not profile.recents or is_forgotten(profile):
        return None
    return LearnedSource(
        profile.key.user_id, profile.recents, profile.mass, profile.t0_ms, profile.first_ms, profile.last_ms,
        profile.count,
    )  # fmt: skip


def read_by_model(recents: Iterable[Recent], items: Mapping[str, StoredItem], length: int) -> list[Recent]:
    """The `length` latest of somebody's items that are described, oldest first; `recents` are latest first."""
    described = [one for one in recents if one.item_id in items]
    return described[:length][::-1]


def histories_of(read: Sequence[Sequence[Recent]], items: Mapping[str, StoredItem], length: int, dim: int) -> Histories:
    """What a model reads of n people, each up to `length` items, oldest first; `items` has them all."""
    made = Histories.empty(len(read), length, dim)
    every = [one for mine in read for one in mine]
    if every:
        rows = np.repeat(np.arange(len(read)), [len(mine) for mine in read])
        places = np.concatenate([np.arange(len(mine)) for mine in read])
        made.vectors[rows, places] = [items[one.item_id].vector for one in every]
        made.types[rows, places] = [type_code(one.type) for one in every]
        made.weights[rows, places] = [one.weight for one in every]
        made.ages_s[rows, places] = [(mine[-1].ts_ms - one.ts_ms) / 1000.0 for mine in read for one in mine]
    return made


def learned_nodes(
    source: LearnedSource, read: Sequence[Recent], answers: Answers, at: int, *, model: str, tasks: Sequence[str],
    made_ms: int, evidence_length: int,
) -> list[Node]:  # fmt: skip
    """A person's learned nodes from row `at` of the answers of a model about what it `read` of them; made at `made_ms`.

    Of somebody of whom it read nothing they have no mass, so that what was there before counts no more. An erasure is
    known to have ended them by their earliest time, which is that of the profile or of a recent item.
    """
    mass, first_ms = source.mass if read else 0.0, source.earliest_ms
    evidence = Strongest.of(_evidence(read, answers.attention[at, : len(read)].tolist(), evidence_length))
    return [
        Node(
            key=NodeKey(source.user_id, LEARNED, f"/{task}"),
            direction=np.array(answers.interests[at, row], np.float32),
            norm=mass, mass=mass, net=mass, t0_ms=source.t0_ms, first_ms=first_ms, last_ms=source.last_ms,
            count=source.events, evidence=evidence,
            learned=_part(answers, at, row, task)._replace(model=model, made_ms=made_ms),
        )
        for row, task in enumerate(("", *tasks))
    ]  # fmt: skip


def _part(answers: Answers, at: int, row: int, task: str) -> LearnedPart:
    """What the answers say of a task in their row, 0 for the interest, which is no task's; no model named yet."""
    if not row:
        return LearnedPart("")
    part = LearnedPart("", float(answers.scales[at, row - 1]), float(answers.biases[at, row - 1]))
    if task != _CLICK:
        return part
    mean, variance = answers.click_through[at].tolist()
    return part._replace(mean=mean, variance=variance)


def _evidence(read: Sequence[Recent], shares: Sequence[float], length: int) -> tuple[Evidence, ...]:
    """The items that the model looked at most, most first, each with its share of the attention."""
    ranked = sorted(zip(shares, read, strict=True), key=lambda pair: (-pair[0], -pair[1].ts_ms, pair[1].item_id))
    return tuple(Evidence("", one.item_id, one.ts_ms, share, one.type) for share, one in ranked[:length])

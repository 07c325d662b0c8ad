"""A log replayed once, its cases kept: what a learned model is asked about many times over.

A case holds its list and row, and the person's recent items then, which is all that a model reads of a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from encoders.histories import Histories, type_code
from streams.evaluation.experiment import ranked
from streams.evaluation.ground import Ground, Meter
from streams.evaluation.prequential import Case, ListCase, PrequentialProtocol
from streams.evaluation.world import Floats, KnownItems
from streams.interests.nodes import Vector
from streams.interests.recents import Recent
from streams.ranking.parts import Kind
from streams.ranking.rows import fixed_weights
from streams.training.training_set import LogSet

#: About so many cases of a log are ranked at most, drawn evenly over time.
MOST_CASES: Final = 12_000
#: The model is trained on what came before this share of the cases; the last fifth is what counts.
TRAINED, TESTED = 0.6, 0.8


@dataclass(slots=True, kw_only=True)
class KeptCase(ListCase):
    """A case without its event: when it was, its targets as rows of the catalogue (n,), and the person's recent items
    then, latest first.
    """

    at_ms: int
    chosen: NDArray[np.int64]
    recents: Sequence[Recent]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLog:
    """A log's cases in order of time, with its items, its events as arrays, and the fixed weights (F,)."""

    name: str
    kind: Kind
    catalogue: KnownItems
    cases: Sequence[KeptCase]
    events: LogSet
    fixed: Floats
    encoder_id: str

    @property
    def cut_ms(self) -> int:
        """Before when a model of this log may have seen events: the time of the case after three fifths of them."""
        return self.cases[int(len(self.cases) * TRAINED)].at_ms

    @property
    def vectors(self) -> Vector:
        """The items' vectors, float32 (m, dim)."""
        return self.catalogue.vectors

    def later(self) -> list[KeptCase]:
        """The cases after the cut, of people with a past or without."""
        cut_ms = self.cut_ms
        return [case for case in self.cases if case.at_ms >= cut_ms]

    def last_fifth(self) -> list[KeptCase]:
        """The last fifth of the cases in time, of people with a past."""
        past = [case for case in self.cases if case.events]
        return past[int(len(past) * TESTED) :]

    def histories(self, cases: Sequence[KeptCase], length: int) -> Histories:
        """What a model reads of each case's person: their recent items that are described, oldest first."""
        made = Histories.empty(len(cases), length, self.vectors.shape[1])
        for at, case in enumerate(cases):
            known = [one for one in case.recents if one.item_id in self.catalogue.rows][:length][::-1]
            if not known:
                continue
            n = len(known)
            made.vectors[at, :n] = self.vectors[[self.catalogue.rows[one.item_id] for one in known]]
            made.types[at, :n] = [type_code(one.type) for one in known]
            made.weights[at, :n] = [one.weight for one in known]
            made.ages_s[at, :n] = [(known[-1].ts_ms - one.ts_ms) / 1000.0 for one in known]
        return made


async def keep(name: str, ground: Ground, events: LogSet, meter: Meter, *, seed: int) -> KeptLog:
    """Replay a log and keep its cases: its impressions where it has any, else the next new items."""
    shown = events.counts.types["impression"]
    kind: Kind = "impression" if shown else "next"
    share = min(1.0, MOST_CASES / (shown or len(ground.events)))
    protocol = PrequentialProtocol(seed=seed, kinds=frozenset({kind}), first=True, share=share)
    replay = await ground.replay(protocol)
    cases = [_kept(case) async for case in ranked(ground, replay, meter, f"{name}: rank")]
    return KeptLog(
        name=name, kind=kind, catalogue=KnownItems(ground.points, ground.encoder.dim), cases=cases, events=events,
        fixed=fixed_weights(ground.settings.ranking.policy()), encoder_id=ground.encoder_id,
    )  # fmt: skip


def _kept(case: Case) -> KeptCase:
    of_list = {one.name: getattr(case, one.name) for one in fields(ListCase)}
    return KeptCase(**of_list, at_ms=case.event.ts_ms, chosen=case.chosen, recents=case.recents)

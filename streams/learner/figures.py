"""Live quality by ranker, kind of list, encoder and cohort: sums that only rise, and means whose past fades. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from streams.learner.rankers import Quality
from streams.ranking.examples import Cohort
from streams.ranking.parts import Kind

#: A list leaves so much of the means before it: about 500 lists count.
FADES: Final = 0.998
#: Encoders of records are free text, labels are not.
MOST_ENCODERS: Final = 4
OTHER: Final = "other"


class Label(NamedTuple):
    """What a figure is about."""

    ranker: str
    kind: str
    encoder: str
    cohort: str


class Figure(msgspec.Struct, array_like=True):
    """`lists`, and the sums of their recall@10 and reciprocal ranks; the same of late, faded."""

    lists: int = 0
    recall: float = 0.0
    reciprocal_rank: float = 0.0
    late: float = 0.0
    late_recall: float = 0.0
    late_reciprocal_rank: float = 0.0

    def add(self, quality: Quality) -> None:
        """One more list."""
        self.lists += 1
        self.recall += quality.recall
        self.reciprocal_rank += quality.reciprocal_rank
        self.late = self.late * FADES + 1.0
        self.late_recall = self.late_recall * FADES + quality.recall
        self.late_reciprocal_rank = self.late_reciprocal_rank * FADES + quality.reciprocal_rank


class Figures:
    """All figures of a learner. A value that changes with `add`."""

    def __init__(self) -> None:
        self._by_label: dict[Label, Figure] = {}

    def add(self, kind: Kind, encoder: str, cohort: Cohort, of: Mapping[str, Quality]) -> None:
        """What every ranker made of one list."""
        if encoder not in (known := {label.encoder for label in self._by_label}) and len(known) >= MOST_ENCODERS:
            encoder = OTHER
        for ranker, quality in of.items():
            self._by_label.setdefault(Label(ranker, kind, encoder, cohort), Figure()).add(quality)

    def without_shadows_but(self, shadows: Collection[str]) -> None:
        """Forget shadows, all but these."""
        gone = [
            label
            for label in self._by_label
            if label.ranker.startswith("shadow:") and label.ranker.removeprefix("shadow:") not in shadows
        ]
        for label in gone:
            del self._by_label[label]

    def __iter__(self) -> Iterator[tuple[Label, Figure]]:
        yield from self._by_label.items()

    def rows(self) -> list[tuple[Label, Figure]]:
        """As they are written."""
        return list(self._by_label.items())

    @classmethod
    def of(cls, rows: list[tuple[Label, Figure]]) -> Figures:
        """Read back what `rows` gave."""
        figures = cls()
        figures._by_label = dict(rows)
        return figures

"""What a learner knows, as one value: its weights, its judge, the figures, and how far it has read. Pure.

It changes by one example at a time and is written as a whole, so what was learned and what was read cannot disagree.
The same examples in the same order give the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from streams.base.errors import PoisonError
from streams.interests.score import Floats
from streams.learner.figures import Figure, Figures, Label
from streams.learner.log_place import LogPlace
from streams.learner.rankers import LEARNED_LEVEL, has_learned, learned_level, qualities, standing_rankers
from streams.ranking.examples import Example
from streams.ranking.judge import Judge, JudgePolicy
from streams.ranking.learner import Learner, LearnerPolicy
from streams.ranking.parts import KINDS, Kind
from streams.ranking.rows import NAMES, NAMES_OF, VERSION
from streams.ranking.weights import PublishedWeights

Outcome = Literal["learned", "scored", "repeated", "other_version"]
"""What became of an example; `scored`: another encoder's, which is not learned from."""

#: Partitions of event topics that are remembered, the latest ones.
MOST_MARKS: Final = 4096
_FORM: Final = 1

_Slot = tuple[str, str, int]


@dataclass(slots=True)
class LearnedKind:
    """One kind of lists: what was learned of it, whether that is good, its version, and the digest of what that is."""

    learner: Learner
    judge: Judge
    version: int = 0
    digest: str = ""


class _PackedKind(msgspec.Struct):
    learner: bytes
    judge: bytes
    version: int
    digest: str = ""


class _Packed(msgspec.Struct):
    form: int
    encoder: str
    features: int
    log: int
    cluster: str
    next: dict[int, int]
    kinds: dict[Kind, _PackedKind]
    marks: list[tuple[str, str, int, int, int]]
    figures: list[tuple[Label, Figure]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a learner goes by: the fixed weights (F,), the shadows (F,) by name, and the constants."""

    fixed: Floats
    shadows: Mapping[str, Floats] = field(default_factory=dict)
    learner: LearnerPolicy = field(default_factory=LearnerPolicy)
    judge: JudgePolicy = field(default_factory=JudgePolicy)


class LearnerState:
    """The state of a learner for one encoder. A value that changes with `fold`; `place` is set by who reads."""

    def __init__(self, encoder: str, rules: Rules) -> None:
        self.encoder, self._rules = encoder, rules
        self.place = LogPlace()
        self.figures = Figures()
        self.kinds: dict[Kind, LearnedKind] = {
            kind: LearnedKind(Learner.start(rules.fixed, rules.learner), Judge(rules.judge)) for kind in KINDS
        }
        self._marks: dict[_Slot, tuple[int, int]] = {}
        self._standing = standing_rankers(rules.fixed, rules.shadows)

    def fold(self, example: Example | None) -> Outcome:
        """Score an example by everything that ranks, then learn from it; None: of other features."""
        if example is None:
            return "other_version"
        if not self._mark(example):
            return "repeated"
        values, relevant = example.values(), example.relevant()
        if LEARNED_LEVEL not in self._standing and has_learned(values):
            self._standing[LEARNED_LEVEL] = learned_level()
        learned = self.kinds[example.kind]
        weights = learned.learner.weights()
        ours = weights if learned.judge.serve else self._rules.fixed
        found = qualities({"ours": ours, "learned": weights, **self._standing}, values, relevant)
        self.figures.add(example.kind, example.encoder, example.cohort, found)
        if example.encoder != self.encoder:
            return "scored"
        learned.judge.observe(found["learned"].reciprocal_rank, found["fixed"].reciprocal_rank)
        learned.learner.learn(values, relevant)
        return "learned"

    def _mark(self, example: Example) -> bool:
        """Note where an example's event lies; False where it, or a later one of that partition, was known already."""
        slot = (example.group, example.topic, example.partition)
        at = (example.log, example.offset)
        if self._marks.get(slot, (-1, -1)) >= at:
            return False
        self._marks.pop(slot, None)  # the latest are last
        self._marks[slot] = at
        if len(self._marks) > MOST_MARKS:
            del self._marks[next(iter(self._marks))]
        return True

    def revise(self, kind: Kind) -> int:
        """The version of one kind's weights as they are: one more than before where anything of them has changed."""
        learned, digest = self.kinds[kind], self.published(kind, 0).digest
        if digest != learned.digest:
            learned.version, learned.digest = learned.version + 1, digest
        return learned.version

    def published(self, kind: Kind, now_ms: int) -> PublishedWeights:
        """The record of one kind's weights as they are."""
        learned = self.kinds[kind]
        weights = learned.learner.weights().tolist()
        return PublishedWeights(
            encoder=self.encoder, kind=kind, version=learned.version, features=VERSION, lists=learned.learner.lists,
            made_ms=now_ms, serve=learned.judge.serve, values=dict(zip(NAMES, weights, strict=True)),
        )  # fmt: skip

    def pack(self) -> str:
        """All of it as JSON; about 25 kB, and 100 bytes a figure."""
        packed = _Packed(
            form=_FORM, encoder=self.encoder, features=VERSION, log=self.place.number, cluster=self.place.cluster,
            next=dict(self.place.next),
            kinds={
                kind: _PackedKind(one.learner.pack(), one.judge.pack(), one.version, one.digest)
                for kind, one in self.kinds.items()
            },
            marks=[(*slot, *at) for slot, at in self._marks.items()],
            figures=self.figures.rows(),
        )  # fmt: skip
        return msgspec.json.encode(packed).decode()

    @classmethod
    def unpack(cls, packed: str, encoder: str, rules: Rules) -> LearnerState:
        """Read back what `pack` wrote, to the bit, and what it wrote for an earlier version of the features.

        PoisonError for anything else, or another encoder's.
        """
        try:
            read = msgspec.json.decode(packed, type=_Packed)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise PoisonError("a learner's state that cannot be read", reason="bad_state") from error
        known = read.features in NAMES_OF
        if (read.form, read.encoder) != (_FORM, encoder) or not known or set(read.kinds) != set(KINDS):
            raise PoisonError("a learner's state of another form, encoder or version of features", reason="bad_state")
        state = cls(encoder, rules)
        state.place = LogPlace(number=read.log, cluster=read.cluster, next=read.next)
        for kind, one in read.kinds.items():
            state.kinds[kind] = LearnedKind(
                Learner.unpack(one.learner, rules.fixed, rules.learner),
                Judge.unpack(one.judge, rules.judge),
                one.version,
                one.digest,
            )
        state._marks = {(group, topic, partition): (log, offset) for group, topic, partition, log, offset in read.marks}
        state.figures = Figures.of(read.figures)
        if any(label.ranker == LEARNED_LEVEL for label, _ in state.figures):
            state._standing[LEARNED_LEVEL] = learned_level()
        state.figures.without_shadows_but(rules.shadows)
        return state

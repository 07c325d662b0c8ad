"""The level `learned`, beside the path: whoever a batch has changed is asked about again, many people in one call.

No batch waits for it, and nothing here fails one. Where the model, Triton or Qdrant is away, people wait in the queue
for it to come back, and only these nodes stay as they were. Whoever was in the queue when a process died is found by
the next one: `streams.worker.learned_sweep`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from time import monotonic
from typing import Final, Protocol

import structlog

from encoders.histories import Histories
from streams.base.clock import now_ms
from streams.base.errors import (
    ConfigurationError,
    EncoderUnavailable,
    InterestsError,
    StoreUnavailable,
    WrongModelOutput,
)
from streams.encoder.interest_client import InterestInfo, ServedAnswers
from streams.encoder.triton import RequestRefused
from streams.interests.item_vectors import StoredItem
from streams.interests.learned import histories_of, learned_nodes, read_by_model
from streams.interests.nodes import Node
from streams.interests.recents import Recent
from streams.pipeline.faultpoints import reach
from streams.store.base import Fence
from streams.worker.learned_queue import LearnedQueue, Waiting

log = structlog.get_logger(__name__)

_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_UNKNOWN: Final = "unknown model"  # Triton's words where it has none of that name; the status is that of an outage
_OF_PEOPLE: Final = (WrongModelOutput, RequestRefused, ValueError)
"""What one person of a call may be at fault for."""


class InterestModel(Protocol):
    """A model that says what people are interested in, by their recent items."""

    async def info(self) -> InterestInfo:
        """What is served."""

    async def answers(self, histories: Histories) -> ServedAnswers:
        """What it says about people, in their order."""


class LearnedObserver(Protocol):
    """Hears what becomes of people; a metrics class fits it."""

    def learned_written(self, people: int, nodes: int) -> None:
        """So many people's nodes were written, so many `nodes` in all."""

    def learned_by(self, model: str) -> None:
        """From here on this model answers."""

    def learned_dropped(self, reason: str, people: int) -> None:
        """So many people left without an answer."""

    def learned_failed(self, reason: str) -> None:
        """A round failed; its people wait for the next one."""

    def learned_round(self, seconds: float) -> None:
        """A round took so long, whatever came of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSources:
    """What it is made of: the model, the items by id, and where nodes are written, all beside the path's own calls."""

    model: InterestModel
    items: Callable[[Iterable[str]], Awaitable[Mapping[str, StoredItem]]]
    write: Callable[[Sequence[Node], Fence], Awaitable[None]]
    observer: LearnedObserver


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedLimits:
    """Its bounds: people in a call, items of a person, evidence of a node.

    `linger_s` is how long, in s, a call that is not full waits for more people. After a round it rests `rest` times as
    long as that took, so that the path, which shares its processors, is left most of them however much there is to do.
    """

    people_a_call: int = 128
    history: int = 32
    evidence: int = 8
    linger_s: float = 0.2
    rest: float = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What a model is asked: about whom, what it reads of each by their id, and the vectors of these items."""

    people: Sequence[Waiting]
    read: Mapping[str, Sequence[Recent]]
    items: Mapping[str, StoredItem]
    length: int
    dim: int

    def histories(self) -> Histories:
        """As arrays, a row a person."""
        read = [self.read[one.source.user_id] for one in self.people]
        return histories_of(read, self.items, self.length, self.dim)

    def halves(self) -> tuple[_Question, _Question]:
        """The same about one half of the people and the other."""
        half = len(self.people) // 2
        return replace(self, people=self.people[:half]), replace(self, people=self.people[half:])


class LearnedLevel:
    """Keeps learned nodes fresh: `changed` puts people into the queue, `run` works it off until `stop`."""

    def __init__(
        self, sources: LearnedSources, queue: LearnedQueue, limits: LearnedLimits,
        clock: Callable[[], float] = monotonic,
    ) -> None:  # fmt: skip
        self._from, self._queue, self._limits, self._clock = sources, queue, limits, clock
        self._filled, self._stopping = asyncio.Event(), asyncio.Event()
        self._model = ""

    def changed(self, nodes: Iterable[Node], fence: Fence) -> None:
        """Have the people asked about whose profiles are among a batch's nodes; call it once these are durable."""
        self._queue.changed(nodes, fence)
        self.filled()

    def filled(self) -> None:
        """Work off the queue, where there is anybody in it."""
        if len(self._queue):
            self._filled.set()

    def stop(self) -> None:
        """Let `run` end: it works off what is there, until a round fails."""
        self._stopping.set()
        self._filled.set()

    async def run(self) -> None:
        """Work off the queue, a call at a time, until `stop`; then what is left of it, until a round fails."""
        failures = 0
        while not self._stopping.is_set():
            await self._filled.wait()
            if len(self._queue) < self._limits.people_a_call:
                await self._pause(self._limits.linger_s)
            if not len(self._queue):
                self._filled.clear()
            elif not self._stopping.is_set():
                began_s = self._clock()
                failures = 0 if await self._tried() else failures + 1
                wait_s = _FIRST_WAIT_S * 2.0 ** min(failures - 1, 8) if failures else 0.0
                await self._pause(min(_LONGEST_WAIT_S, wait_s or self._limits.rest * (self._clock() - began_s)))
        while len(self._queue) and await self._tried():
            pass

    async def _tried(self) -> bool:
        """Do a round; False where it failed, which is counted and logged."""
        began_s = self._clock()
        try:
            await self._round()
        except InterestsError as error:
            reason = _reason_of(error)
            self._from.observer.learned_failed(reason)
            log.warning("learned_level_failed", reason=reason, error=str(error), people=len(self._queue))
            return False
        except Exception:  # a defect: its people are given up, and the next round is of others
            self._queue.done(self._give_up(self._queue.in_hand()))
            log.exception("learned_level_failed", reason="defect")
            return False
        finally:
            self._from.observer.learned_round(self._clock() - began_s)
        return True

    async def _pause(self, seconds: float) -> None:
        """Wait, but not for longer than the worker goes on."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _round(self) -> None:
        """Ask about some people, the oldest first, and write what is answered; where that fails they wait again."""
        self._queue.take(self._limits.people_a_call)
        try:
            await self._refresh(self._queue.in_hand())
        except (InterestsError, asyncio.CancelledError):
            self._queue.put_back()
            raise

    async def _refresh(self, people: Sequence[Waiting]) -> None:
        info = await self._from.model.info()
        recents = [one.source.items() for one in people]
        items = await self._from.items({one.item_id for mine in recents for one in mine})
        length = min(self._limits.history, info.history)
        read = [read_by_model(mine, items, length) for mine in recents]
        by_user = {one.source.user_id: mine for one, mine in zip(people, read, strict=True)}
        await self._ask(_Question(people, by_user, items, length, info.dim))

    async def _ask(self, question: _Question) -> None:
        """Ask about people and write the answers; whom the model cannot answer about is found by halves and dropped."""
        try:
            served = await self._from.model.answers(question.histories())
        except _OF_PEOPLE:
            # An empty history is nobody's fault: where that fails too, the model does.
            await self._from.model.answers(Histories.empty(1, question.length, question.dim))
            if len(question.people) == 1:
                self._queue.done(self._give_up(question.people))
                return
            for half in question.halves():
                await self._ask(half)
            return
        self._note(served.info.model_id)
        await self._write(question, served)

    def _note(self, model: str) -> None:
        if model != self._model:
            log.info("learned_model", model=model, before=self._model or None)
            self._from.observer.learned_by(model)
            self._model = model

    async def _write(self, question: _Question, served: ServedAnswers) -> None:
        """Write the nodes of those who are in hand still, each under the fence of the batch that changed them."""
        places = {one.source.user_id: at for at, one in enumerate(question.people)}
        length = served.info.history  # another model may have answered than the one that the question was made for
        left = sorted(self._queue.in_hand(question.people), key=lambda one: one.fence)
        for fence, group in groupby(left, key=lambda one: one.fence):
            theirs = list(group)
            nodes = [
                node for one in theirs
                for node in learned_nodes(
                    one.source, question.read[one.source.user_id][-length:], served.answers, places[one.source.user_id],
                    model=served.info.model_id, tasks=served.info.tasks, made_ms=now_ms(),
                    evidence_length=self._limits.evidence,
                )
            ]  # fmt: skip
            await reach("before_learned")
            await self._from.write(nodes, fence)
            await reach("after_learned")
            self._queue.done(theirs)
            self._from.observer.learned_written(len(theirs), len(nodes))

    def _give_up(self, people: Sequence[Waiting]) -> Sequence[Waiting]:
        self._from.observer.learned_dropped("refused", len(people))
        return people


def _reason_of(error: InterestsError) -> str:
    """In a word, what a round failed for."""
    if isinstance(error, ConfigurationError) or _UNKNOWN in str(error):
        return "model"
    if isinstance(error, EncoderUnavailable):
        return "triton"
    return "qdrant" if isinstance(error, StoreUnavailable) else "other"

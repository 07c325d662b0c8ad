"""Parts of a log: what happened before a moment, and what some of the people did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from encoders.histories import PersonLog, TrainingSet


def before(data: TrainingSet, at_ms: float) -> TrainingSet:
    """What happened before a moment; people who did nothing by then are left out, items are kept."""
    people = [_until(person, at_ms) for person in data.people]
    return replace(data, people=[person for person in people if len(person.rows) or person.shown])


def of_people(data: TrainingSet, wanted: Callable[[str], bool]) -> TrainingSet:
    """What the people did whose ids are wanted."""
    return replace(data, people=[person for person in data.people if wanted(person.user_id)])


def _until(person: PersonLog, at_ms: float) -> PersonLog:
    end = int(np.searchsorted(person.times_ms, at_ms))
    return PersonLog(
        person.user_id, person.times_ms[:end], person.rows[:end], person.types[:end], person.weights[:end],
        tuple(shown for shown in person.shown if shown.time_ms < at_ms),
    )  # fmt: skip

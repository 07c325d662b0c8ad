"""What a model of the hierarchy says about people, as arrays: what a client gets, and what offline evaluation reads."""

from __future__ import annotations

from dataclasses import dataclass

from encoders.histories import Floats

TASKS: tuple[str, ...] = ("click", "exposure", "purchase")
"""What is foretold besides the interest. `purchase` is the strongest positive type a log has; the card names it."""


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """About n people, with T tasks, vectors of `dim` and histories of `length`.

    `interests` (n, 1 + T, dim): row 0 is the interest, then one direction a task, all of length 1. `scales` (n, T),
    above 0, and `biases` (n, T): the logit of task t for an item with unit vector v is
    scales[t] · ⟨interests[1 + t], v⟩ + biases[t]. `click_through` (n, 2): mean and variance of the person's rate.
    `attention` (n, length): each event's share, summing to 1, or to 0 where the history is empty.
    """

    interests: Floats
    scales: Floats
    biases: Floats
    click_through: Floats
    attention: Floats

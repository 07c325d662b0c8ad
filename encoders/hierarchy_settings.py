"""How a model of the hierarchy is trained, and what a training says of itself meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from encoders.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """The constants of a training.

    Nothing from `until_ms` on is looked at, where it is given. Of what is left the last `validation_share` in time
    decides when to stop and calibrates: of lists where the log has any, else of events. With `people_held_out` so
    large a share of the people, by a hash of their ids, teaches nothing, and validation is theirs alone.

    A round is `round_anchors` events or all there are; it ends with a validation. Training ends after `rounds`, or
    after `patience` without a better one. `average` is how much of the weights' moving average a step keeps.
    """

    seed: int = 0
    until_ms: float | None = None
    validation_share: float = 0.15
    people_held_out: float = 0.0
    rounds: int = 80
    patience: int = 10
    round_anchors: int = 8192
    batch: int = 256
    lists: int = 32
    list_items: int = 60
    negatives: int = 1024
    sampled: int = 4
    hidden_share: float = 0.15
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    average: float = 0.97
    kl_weight: float = 0.01
    free_bits: float = 0.05
    checkpoint_steps: int = 25
    device: str = "auto"

    def __post_init__(self) -> None:
        """Raise ModelError where a value cannot be."""
        if not 0 < self.validation_share < 0.9 or not 0 <= self.people_held_out < 0.9:
            raise ModelError("validation_share lies in (0, 0.9), people_held_out in [0, 0.9)")
        counts = (self.rounds, self.patience, self.round_anchors, self.batch, self.negatives, self.sampled)
        if min(*counts, self.checkpoint_steps, self.list_items) < 1:
            raise ModelError(
                "rounds, patience, round_anchors, batch, negatives, sampled, checkpoint_steps are 1 or more"
            )


class Progress(NamedTuple):
    """Where a training stands: round and step of how many, the mean loss of this round, validation so far.

    `score` is the last validation's (lower is better) and `best` the best one's; both are nan before the first.
    """

    round: int
    rounds: int
    step: int
    steps: int
    loss: float
    score: float
    best: float

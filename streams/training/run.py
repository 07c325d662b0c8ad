"""One training from a log to a folder: the model, its card, and the same without each level where that is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from encoders.checkpoints import CHECKPOINT_FILE
from encoders.hierarchy_model import LEVELS, HierarchyConfig
from encoders.hierarchy_settings import Progress, TrainingConfig
from encoders.hierarchy_training import RUNS, Trained, train
from encoders.histories import HISTORY
from streams.encoder.base import model_errors
from streams.training import card
from streams.training.parsed_log import enough_people
from streams.training.training_set import LogSet
from streams.training.variants import FULL, VARIANTS, config_of

CARD_FILE, CARD_PAGE = "card.json", "card.md"
ABLATION: Final = "ablation"
Watch = Callable[[str, Progress], None]
"""Told the variant that is trained and how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What to train, and where to: `ablation` trains it without each level too, and what stands beside it.

    Without `resume` a training begins anew, whatever the folder has. `encoded` says for the card how the text encoder
    was chosen. Raises ConfigurationError where no model is so.
    """

    out: Path
    kind: str = FULL
    levels: tuple[str, ...] = LEVELS
    history: int = HISTORY
    training: TrainingConfig = field(default_factory=TrainingConfig)
    resume: bool = True
    ablation: bool = False
    encoded: str = ""

    def __post_init__(self) -> None:
        """Refuse a kind or levels that are not to be had, before anything is encoded."""
        self.model(dim=1)

    def model(self, dim: int) -> HierarchyConfig:
        """The model's configuration for vectors of `dim`."""
        with model_errors():
            return HierarchyConfig(dim=dim, kind=self.kind, levels=self.levels, history=self.history)


def run(log: LogSet, encoder_id: str, plan: TrainingPlan, watch: Watch) -> Mapping[str, Any]:
    """Train on a log and write model and card into `plan.out`; gives the card.

    Raises ConfigurationError where the log is too small or the folder holds a checkpoint of another training.
    """
    enough_people(sum(len(person.rows) > 1 or bool(person.shown) for person in log.data.people))
    trained = _train(log, encoder_id, plan, plan.out, plan.model(log.data.dim), _named(watch, plan.kind))
    others: dict[str, Mapping[str, Any]] = {}
    if plan.ablation:
        for name in VARIANTS:
            if name != FULL:
                config = config_of(name, log.data.dim, history=plan.history)
                folder = plan.out / ABLATION / name.replace(" ", "-")
                others[name] = _train(log, encoder_id, plan, folder, config, _named(watch, name)).figures
    made = card.card(log, encoder_id, trained, plan.training, others, plan.encoded)
    (plan.out / CARD_FILE).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (plan.out / CARD_PAGE).write_text(card.page(made), encoding="utf-8")
    return made


def _named(watch: Watch, name: str) -> Callable[[Progress], None]:
    return lambda one: watch(name, one)


def _train(
    log: LogSet, encoder_id: str, plan: TrainingPlan, folder: Path, model: HierarchyConfig,
    progress: Callable[[Progress], None],
) -> Trained:  # fmt: skip
    if not plan.resume:
        (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder / RUNS, ignore_errors=True)
    with model_errors():
        return train(log.data, folder, encoder_id=encoder_id, model=model, training=plan.training, progress=progress)

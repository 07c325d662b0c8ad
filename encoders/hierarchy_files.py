"""A trained model of the hierarchy as a folder, and asked for answers: model.safetensors and config.json."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file

from encoders.answers import Answers
from encoders.errors import ModelError
from encoders.hierarchy_model import HierarchyConfig, HierarchyModel
from encoders.histories import Histories

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
FORMAT = 1
"""Raised where a folder of an older version would give other answers."""


@dataclass(frozen=True, slots=True, eq=False)
class LearnedHierarchy:
    """A trained model and the text encoder whose vectors it reads.

    `model_id` names what shapes an answer: kind, weights, configuration and text encoder.
    """

    model: HierarchyModel
    encoder_id: str

    @property
    def config(self) -> HierarchyConfig:
        """Sizes, levels, tasks."""
        config: HierarchyConfig = self.model.config
        return config

    @property
    def model_id(self) -> str:
        """`interest-<kind>-<8 hex digits>`; equal ids mean equal answers."""
        said = json.dumps(_config_of(self), sort_keys=True).encode()
        weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in self.model.state_dict().items()})
        return f"interest-{self.config.kind}-{hashlib.blake2b(said + weights, digest_size=4).hexdigest()}"

    def answers(self, histories: Histories, rows: int = 512) -> Answers:
        """What the model says about n people, `rows` of them at a time.

        Raises ModelError where the vectors or the length are not what it was made for.
        """
        config = self.config
        got = histories.vectors.shape[1:]
        if got != (config.history, config.dim):
            raise ModelError(f"the model reads histories of {config.history} vectors of {config.dim}; got {got}")
        device = next(self.model.parameters()).device
        was_training = self.model.training
        self.model.eval()
        parts = []
        with torch.no_grad():
            for start in range(0, max(1, len(histories)), rows):
                part = histories[start : start + rows]
                arrays = (part.vectors, part.types, part.weights, part.ages_s)
                out = self.model(*(torch.from_numpy(np.ascontiguousarray(one)).to(device) for one in arrays))
                parts.append([one.cpu().numpy() for one in out])
        self.model.train(was_training)
        return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _config_of(learned: LearnedHierarchy) -> dict[str, Any]:
    return {"format": FORMAT, "encoder_id": learned.encoder_id, "model": dataclasses.asdict(learned.config)}


def save_learned(learned: LearnedHierarchy, folder: Path, more: Mapping[str, Any] | None = None) -> None:
    """Write the model into a folder, which is made; `more` is kept in config.json and shapes no answer."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in learned.model.state_dict().items()}
    save_file(state, folder / MODEL_FILE)
    config = {"model_id": learned.model_id, **_config_of(learned), **(more or {})}
    said = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False)  # what JSON has no word for is a defect
    (folder / CONFIG_FILE).write_text(said + "\n", encoding="utf-8")


def load_learned(folder: Path, device: str = "cpu") -> LearnedHierarchy:
    """Read back what `save_learned` wrote. Raises ModelError where it cannot be read, or was changed."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise ModelError(f"{folder}: format {config['format']}, this version reads {FORMAT}; train the model anew")
        model = HierarchyModel(HierarchyConfig(**config["model"]))
        model.load_state_dict(load_file(folder / MODEL_FILE))
        learned = LearnedHierarchy(model.eval().to(device), config["encoder_id"])
        expected = config["model_id"]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} holds no trained model that can be read: {error}") from error
    if learned.model_id != expected:
        raise ModelError(f"{folder}: {CONFIG_FILE} says {expected}, the weights make it {learned.model_id}")
    return learned

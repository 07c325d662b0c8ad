"""What a model repository says of the text encoder in it, read from its config.pbtxt; no server is asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from encoders import contract

CONFIG_FILE: Final = "config.pbtxt"
SHIPPED: Final = Path(__file__).resolve().parents[1] / "model_repo"
"""The repository that comes with this code: a checkout's, or the one of an installed package."""
_PARAMETER: Final = re.compile(r'key:\s*"([^"]*)"\s*value\s*\{\s*string_value:\s*"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class ServedEncoder:
    """A text encoder in a repository: the model as it was named at its export, its precision and its id."""

    config: Path
    model: str
    precision: str
    encoder_id: str


def served_encoder(*repos: Path, name: str = contract.MODEL_NAME) -> ServedEncoder | None:
    """The encoder `name` of the first repository that has it; None where none has."""
    for repo in repos:
        config = repo / name / CONFIG_FILE
        if config.is_file():
            said = {key: re.sub(r"\\(.)", r"\1", value) for key, value in _PARAMETER.findall(config.read_text("utf-8"))}
            return ServedEncoder(
                config, said.get("model", ""), said.get("precision", ""), said.get(contract.ENCODER_ID_PARAMETER, "")
            )
    return None


def precision_for(model: str, served: ServedEncoder | None) -> tuple[str, str]:
    """The precision that gives `model` the vectors that are served, and why.

    int8 where the repository serves this very model so: int8 has an encoder id of its own. All floats share one.
    """
    if served is None:
        return "float", "no model repository is here"
    if served.model not in (model, str(Path(model).resolve())):
        return "float", f"{served.config} is about another model"
    return "int8" if served.precision == "int8" else "float", f"as {served.config} says"

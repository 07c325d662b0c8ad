"""A training's state in one file that is whole or not there. Tensors and plain values only: nothing in it can run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from encoders.errors import ModelError

CHECKPOINT_FILE = "checkpoint.pt"


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write beside, make it durable, rename: a kill at any moment leaves the one before or this one."""
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / f"{CHECKPOINT_FILE}.part"
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / CHECKPOINT_FILE)


def read_checkpoint(folder: Path, fingerprint: str, device: str) -> dict[str, Any] | None:
    """The state that was written last, None where there is none.

    Raises ModelError where it belongs to another training or cannot be read.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        state: Any = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises what its unpickler meets; each means the same to whoever resumes
        raise ModelError(
            f"{path} is no checkpoint, or damaged ({type(error).__name__}): delete it to begin anew"
        ) from error
    if not isinstance(state, dict) or state.get("fingerprint") != fingerprint:
        raise ModelError(
            f"{path} is of another training (log, text encoder, model or settings): delete it to begin anew, or name "
            "another folder"
        )
    return state

"""The file of shadow weights: scored on the same traffic, never served."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

import numpy as np

from streams.base.errors import ConfigurationError
from streams.interests.score import Floats
from streams.ranking.rows import COLUMN, NAMES

MOST: Final = 8
_MOST_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_FORM: Final = '{"name": {"feature": weight}}'


def read_shadows(file: Path | None) -> dict[str, Floats]:
    """Weights (F,) by name; a feature that is not named counts 0. ConfigurationError says what does not fit."""
    if file is None:
        return {}
    try:
        with file.open("rb") as opened:
            shadows = json.loads(opened.read(_MOST_BYTES))
    except OSError as error:
        raise _wrong(f"{file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _wrong(f"{file} is no JSON") from error
    if not isinstance(shadows, dict) or not all(isinstance(one, dict) for one in shadows.values()):
        raise _wrong(f"{file}: expected {_FORM}")
    if len(shadows) > MOST:
        raise _wrong(f"{file}: got {len(shadows)} names, expected {MOST} at most")
    return {name: _weights(name, weights, file) for name, weights in shadows.items()}


def _weights(name: str, given: dict[str, Any], file: Path) -> Floats:
    if not _NAME.fullmatch(name):
        raise _wrong(f"{file}: a name is to match {_NAME.pattern}")
    weights = np.zeros(len(NAMES))
    for feature, weight in given.items():
        if feature not in COLUMN:
            raise _wrong(f"{file}: {name} names a feature that is not known; docs/evaluation.md lists them")
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or abs(weight) > 1e6:
            raise _wrong(f"{file}: {name}, {feature}: expected a number from -1e6 to 1e6")
        weights[COLUMN[feature]] = weight
    return weights


def _wrong(message: str) -> ConfigurationError:
    return ConfigurationError(f"learning.shadow_weights: {message}")

"""The forms of the model that are compared: whole, without each of its levels, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from encoders.hierarchy_model import LEVELS, HierarchyConfig

FULL: Final = "hierarchy"
#: By name what is changed in the configuration.
VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    FULL: {},
    **{f"without {left}": {"levels": tuple(one for one in LEVELS if one != left)} for left in LEVELS},
    "transformer": {"kind": "transformer"},
    "mean": {"kind": "mean"},
}


def config_of(variant: str, dim: int, **sizes: Any) -> HierarchyConfig:
    """The configuration of a variant for vectors of `dim`."""
    return HierarchyConfig(dim=dim, **VARIANTS[variant], **sizes)

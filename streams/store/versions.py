"""Versions of points: which each kind is written in, and that a newer one is refused, never misread or folded over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streams.base.errors import ConfigurationError

#: The payload field that holds it. Points of before it was written everywhere are of version 1.
FIELD: Final = "v"

# Raised when what a payload means changes, and flagged in the CHANGELOG; docs/operations.md has how to upgrade then.
NODES: Final = 3
ITEMS: Final = 1
POPULARITY: Final = 1
TOGETHER: Final = 1
CONTROL: Final = 1
LEARNER: Final = 1
CRASH_MARKS: Final = 1
ENCODER_NOTES: Final = 1


class NewerPoints(ConfigurationError):
    """A newer release has written points that this one cannot read."""

    def __init__(self, what: str, version: int, known: int) -> None:
        super().__init__(
            f"{what} in Qdrant are of version {version}, this release reads up to {known}: a newer release has written "
            "them; run that one, or go back as docs/operations.md (Upgrades) says"
        )


def require_known(payload: Mapping[str, Any], known: int, what: str) -> None:
    """NewerPoints where a payload (protobuf values) is of a newer version than `known`."""
    version = payload[FIELD].integer_value if FIELD in payload else 1
    if version > known:
        raise NewerPoints(what, version, known)

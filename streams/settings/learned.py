"""The settings of learned nodes. See `service.py`."""

from __future__ import annotations

from pydantic import Field

from encoders.histories import HISTORY, MOST_HISTORY
from streams.settings.policies import Section


class LearnedSettings(Section):
    """Learned nodes: what a model makes of a person's recent items. docs/nodes.md says what they hold."""

    model: str = Field(
        "", description="Triton's model that makes them, as `interest_encoder`; empty: none are made, nobody is asked."
    )
    people_a_call: int = Field(128, ge=1, le=256, description="People that one request asks about, at most.")
    queue: int = Field(
        10_000, ge=1, description="People who wait to be asked about, at most; past it who waits longest is left out."
    )
    deadline_s: float = Field(
        5.0, gt=0, description="Deadline of a request, retries included, and of each call to Qdrant beside it; a "
        "worker that stops goes on asking for so long, where people wait.",
    )  # fmt: skip
    history: int = Field(
        HISTORY, ge=1, le=MOST_HISTORY, description="Recent items of a person that are sent, at most; the latest ones, "
        "and no more than the model reads.",
    )  # fmt: skip

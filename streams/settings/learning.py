"""The settings of the learner. See `service.py`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from streams.settings.policies import Section


class LearningSettings(Section):
    """The learner: what it learns from and for, how often it writes and publishes, where it is watched."""

    examples_per_s: float = Field(
        5.0, ge=0, le=1000, description="Examples that a worker makes of what people choose, at most; 0: none."
    )
    encoder: str | None = Field(
        None, description="Id of the encoder whose lists are learned from; unset: that behind Qdrant's alias `items`."
    )
    commit_s: float = Field(1.0, gt=0, description="Seconds between writes of what was learned, at most.")
    commit_examples: int = Field(1000, ge=1, description="Examples between writes, at most.")
    publish_s: float = Field(10.0, gt=0, description="Seconds between records of the weights, at most.")
    shadow_weights: Path | None = Field(
        None, description='File of weights to score and not to serve: `{"name": {"feature": weight}}` in JSON.'
    )
    metrics_host: str = Field("127.0.0.1", description="Where the learner serves /metrics, /healthz and /readyz.")
    metrics_port: int = Field(9109, ge=0, le=65535, description="Their port; 0: any free one.")

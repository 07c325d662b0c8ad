"""Predictions as the API takes and answers with them: what the learned level says of items and texts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from streams.api.models import MAX_TARGETS, ErasedAtMs, ItemId, ReadText, RequestModel, ResponseModel
from streams.ranking.parts import Task


class PredictRequest(RequestModel):
    """What to predict: items by id and texts."""

    items: list[ItemId] = Field(default=[], max_length=MAX_TARGETS)
    texts: list[ReadText] = Field(default=[], max_length=64)


class ClickThrough(ResponseModel):
    """How often a person clicks what they are shown, as the model expects it: mean and variance of the rate."""

    mean: float
    variance: float


class Prediction(ResponseModel):
    """What the model says of one item or text: how near it is to the interest, and how likely each task is.

    Null, and no probabilities, where the person has no learned nodes. A task that the model did not learn is left out.
    """

    item_id: str | None = None
    text_index: int | None = None
    title: str | None = None
    path: str = ""
    cosine: float | None = None
    probabilities: dict[Task, float] = Field(default={})


class Predictions(ResponseModel):
    """Predictions in the order asked for, items before texts; `unknown` are items that nobody has described."""

    user_id: str
    at_ms: int
    model: Annotated[
        str | None,
        Field(description="Id of the model that made the person's learned nodes. Null: they have none, because no "
                          "model is in use, or it has not come to them yet, or their nodes have faded."),
    ] = None  # fmt: skip
    made_ms: Annotated[int | None, Field(description="When the oldest of these nodes was made.")] = None
    behind_ms: Annotated[
        int | None,
        Field(description="How much later the person's last event is than the last one that the model has seen. 0: it "
                          "has seen all."),
    ] = None  # fmt: skip
    erased_at_ms: ErasedAtMs = None
    click_through: ClickThrough | None = None
    items: list[Prediction] = Field(default=[])
    unknown: list[str] = Field(default=[])

"""Recent items to learned interests, by a model on a Triton server: few requests for many people, answers checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import numpy as np

from encoders.answers import Answers
from encoders.histories import Histories
from encoders.interest_contract import (
    AGES,
    ATTENTION,
    ATTENTION_TOLERANCE,
    BIASES,
    CLICK_THROUGH,
    ENCODER_ID_PARAMETER,
    HISTORY_PARAMETER,
    INTERESTS,
    MODEL_ID_PARAMETER,
    MODEL_NAME,
    NORM_TOLERANCE,
    OUTPUTS,
    SCALES,
    TASKS_PARAMETER,
    TYPES,
    VECTORS,
    WEIGHTS,
)
from streams.base.credentials import TlsFiles
from streams.base.errors import ConfigurationError, WrongModelOutput
from streams.encoder.breaker import Breaker
from streams.encoder.triton import Array, RequestRefused, TritonModel, checked_tensor


class InterestObserver(Protocol):
    """Called with what the client does; a metrics class fits it."""

    def interests_called(self, seconds: float, people: int) -> None:
        """One request of `people` people was answered rightly after `seconds`."""

    def interests_retried(self, code: str) -> None:
        """One attempt failed with a gRPC status name or `QUEUE_FULL`, and is made again."""

    def interests_breaker(self, is_open: bool) -> None:
        """The breaker opened or closed."""


@dataclass(frozen=True, slots=True)
class InterestInfo:
    """What a server says of its model of interests.

    `model_id` names what makes the answers, `encoder_id` the text encoder whose vectors of length `dim` it reads, the
    latest `history` of a person's. `tasks` are in the order of their rows. A request has at most `max_batch` people.
    """

    model_id: str
    encoder_id: str
    tasks: tuple[str, ...]
    history: int
    dim: int
    max_batch: int


@dataclass(frozen=True, slots=True, eq=False)
class ServedAnswers:
    """Answers about people, and the one model that gave all of them."""

    answers: Answers
    info: InterestInfo


class TritonInterests:
    """Asks a Triton model that keeps `encoders/interest_contract.py`.

    `encoder_id` names the text encoder that made the vectors which are sent: a model trained on another one is refused.
    `deadline_s` bounds one request of at most `max_batch` people, its retries included. Nothing connects before the
    first call; with `tls` it is encrypted. For one event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        encoder_id: str,
        model_name: str = MODEL_NAME,
        deadline_s: float = 5.0,
        max_batch: int = 128,
        breaker: Breaker | None = None,
        observer: InterestObserver | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self._model = TritonModel(
            url, model_name, deadline_s=deadline_s, breaker=breaker or Breaker(), tls=tls,
            on_retry=observer.interests_retried if observer else None,
            on_breaker=observer.interests_breaker if observer else None,
        )  # fmt: skip
        self._encoder_id, self._max_batch = encoder_id, max_batch
        self._observer = observer
        self._info: InterestInfo | None = None

    async def info(self) -> InterestInfo:
        """What the server serves: asked at first, and again whenever it refuses a request.

        Raises EncoderUnavailable, or ConfigurationError for another kind of model or one of another text encoder.
        """
        if self._info is None:
            self._info = await self._read_info(self._model.deadline())
        return self._info

    async def ready(self) -> bool:
        """Whether the server answers, within two seconds, that the model is ready."""
        return await self._model.ready()

    async def close(self) -> None:
        """Close the connection."""
        await self._model.close()

    async def answers(self, histories: Histories) -> ServedAnswers:
        """What the served model says about people, in their order; nobody is no call but for the model's `info`.

        Histories longer than the model's lose their oldest items. All answers are of one model: where another one is
        served meanwhile, all are asked again, once. Raises ValueError where a number is not finite, ConfigurationError
        as `info`, EncoderUnavailable where a request's deadline passes or the breaker is open, RequestRefused where
        the model takes no such request, and WrongModelOutput for an answer that breaks the contract.
        """
        check_finite(histories)
        info = await self.info()
        try:
            return await self._ask_all(histories, info)
        except RequestRefused:
            self._info = await self._read_info(self._model.deadline())
            if self._info == info:
                raise
        return await self._ask_all(histories, self._info)

    async def _ask_all(self, histories: Histories, info: InterestInfo) -> ServedAnswers:
        if histories.vectors.shape[2] != info.dim:
            raise ConfigurationError(
                f"model {info.model_id} reads vectors of {info.dim} numbers, these have {histories.vectors.shape[2]}"
            )
        sent = latest(histories, info.history)
        parts = [
            await self._ask(sent[start : start + info.max_batch], info) for start in range(0, len(sent), info.max_batch)
        ]
        return ServedAnswers(joined(parts, info), info)

    async def _ask(self, histories: Histories, info: InterestInfo) -> Answers:
        start = monotonic()
        inputs: list[tuple[Any, Array]] = [
            (VECTORS, histories.vectors.astype(np.float16)),
            (TYPES, histories.types),
            (WEIGHTS, histories.weights),
            (AGES, histories.ages_s),
        ]
        answers = await self._model.infer(
            inputs, OUTPUTS, self._model.deadline(),
            parameters={ENCODER_ID_PARAMETER: self._encoder_id, MODEL_ID_PARAMETER: info.model_id},
            check=lambda reply: checked_answers(reply, histories, info),
        )  # fmt: skip
        if self._observer:
            self._observer.interests_called(monotonic() - start, len(histories))
        return answers

    async def _read_info(self, end: float) -> InterestInfo:
        info = interest_info_of(await self._model.config(end), self._max_batch)
        if info.encoder_id != self._encoder_id:
            raise ConfigurationError(
                f"Triton's model {self._model.name} ({info.model_id}) was trained on vectors of {info.encoder_id}, not "
                f"of {self._encoder_id}: train it on those (interests train), or serve the one that was"
            )
        return info


def interest_info_of(config: Any, max_batch: int) -> InterestInfo:
    """InterestInfo from the model's configuration. Raises ConfigurationError where it is no model of interests."""
    inputs = {tensor.name: list(tensor.dims) for tensor in config.input}
    outputs = {tensor.name for tensor in config.output}
    said = {name: config.parameters[name].string_value for name in config.parameters}
    dims = inputs.get(VECTORS.name, [])
    names = (MODEL_ID_PARAMETER, ENCODER_ID_PARAMETER, TASKS_PARAMETER, HISTORY_PARAMETER)
    missing = [spec.name for spec in OUTPUTS if spec.name not in outputs] + [
        name for name in names if not said.get(name)
    ]
    if missing or len(dims) != 2 or str(dims[0]) != said[HISTORY_PARAMETER] or dims[1] < 1:
        raise ConfigurationError(
            f"Triton's model {config.name} is none of learned interests: it lacks {', '.join(missing) or 'sizes'}; "
            "export one with `interests train export`"
        )
    return InterestInfo(
        said[MODEL_ID_PARAMETER], said[ENCODER_ID_PARAMETER], tuple(said[TASKS_PARAMETER].split(",")), int(dims[0]),
        int(dims[1]), min(max_batch, int(config.max_batch_size) or 1),
    )  # fmt: skip


def checked_answers(reply: Sequence[object], histories: Histories, info: InterestInfo) -> Answers:
    """The reply for these histories, its tensors in the order of the contract's outputs.

    Raises WrongModelOutput where a tensor is missing, its type, count or size differs, a value is not finite, a
    direction's length is not 1 ± 0.01, a scale is not above 0, a rate lies outside [0, 1], a variance below 0, or a
    person's attention does not sum to 1 (to 0 without a history).
    """
    n, length, tasks = len(histories), info.history, len(info.tasks)
    answers = Answers(
        interests=checked_tensor(reply[0], INTERESTS, n, 1 + tasks, info.dim),
        scales=checked_tensor(reply[1], SCALES, n, tasks),
        biases=checked_tensor(reply[2], BIASES, n, tasks),
        click_through=checked_tensor(reply[3], CLICK_THROUGH, n, 2),
        attention=checked_tensor(reply[4], ATTENTION, n, length),
    )
    for spec, value in zip(OUTPUTS, (answers.interests, answers.scales, answers.biases, answers.click_through,
                                     answers.attention), strict=True):  # fmt: skip
        if not np.isfinite(value).all():
            raise WrongModelOutput(f"{info.model_id}: expected finite values in {spec.name}")
    norms = np.linalg.norm(answers.interests, axis=2)
    rates, variances = answers.click_through[:, 0], answers.click_through[:, 1]
    sums = answers.attention.sum(axis=1) - (histories.types > 0).any(axis=1)
    broken = {
        "interests of length 1": np.abs(norms - 1) > NORM_TOLERANCE,
        "scales above 0": answers.scales <= 0,
        "rates in [0, 1]": (rates < 0) | (rates > 1),
        "variances of at least 0": variances < 0,
        "shares of at least 0": answers.attention < 0,
        "shares that sum to 1": np.abs(sums) > ATTENTION_TOLERANCE,
    }
    for expected, where in broken.items():
        if where.any():
            raise WrongModelOutput(f"{info.model_id}: expected {expected}, got others for {where.sum()} of {n} people")
    return answers


def check_finite(histories: Histories) -> None:
    """ValueError where a number of a history is not finite."""
    for name in ("vectors", "weights", "ages_s"):
        if not np.isfinite(getattr(histories, name)).all():
            raise ValueError(f"{name} of histories are to be finite")


def latest(histories: Histories, length: int) -> Histories:
    """The same people with their latest `length` items each, padded to exactly so many."""
    n, had = histories.types.shape
    if had == length:
        return histories
    if had < length:
        wider = Histories.empty(n, length, histories.vectors.shape[2])
        for name in ("vectors", "types", "weights", "ages_s"):
            getattr(wider, name)[:, :had] = getattr(histories, name)
        return wider
    used = (histories.types > 0).sum(axis=1)
    places = np.maximum(used - length, 0)[:, np.newaxis] + np.arange(length)
    rows = np.arange(n)[:, np.newaxis]
    return Histories(
        histories.vectors[rows, places], histories.types[rows, places], histories.weights[rows, places],
        histories.ages_s[rows, places],
    )  # fmt: skip


def joined(parts: Sequence[Answers], info: InterestInfo) -> Answers:
    """Answers about the people of all parts, in order; of none they are empty."""
    tasks = len(info.tasks)
    none = Answers(
        np.empty((0, 1 + tasks, info.dim), np.float32), np.empty((0, tasks), np.float32),
        np.empty((0, tasks), np.float32), np.empty((0, 2), np.float32), np.empty((0, info.history), np.float32),
    )  # fmt: skip
    every = [none, *parts]
    return Answers(
        np.concatenate([part.interests for part in every]), np.concatenate([part.scales for part in every]),
        np.concatenate([part.biases for part in every]), np.concatenate([part.click_through for part in every]),
        np.concatenate([part.attention for part in every]),
    )  # fmt: skip

"""A person's recent items to an interest: states of the item vectors, a recurrent level and a convolutional one.

Every level is pooled by attention. The combined attention makes a mean of the item vectors, which is the answer an
untrained model gives; maps that begin at zero add to it what the levels found, the last through a bottleneck. All that
is learned is on the person's side, so an answer can be compared with any vector of the text encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from encoders.answers import TASKS
from encoders.errors import ModelError
from encoders.hierarchy_levels import (
    AttentionPooling,
    Bottleneck,
    CausalTransformer,
    Convolutional,
    EventStates,
    Recurrent,
)
from encoders.histories import HISTORY, MOST_HISTORY

KINDS = ("hierarchy", "transformer", "mean")
LEVELS = ("language", "recurrent", "convolutional")


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyConfig:
    """What shapes a model: `dim` of the text encoder's vectors, its kind, the levels of the kind `hierarchy`, sizes.

    `language` without the others pools the states of the events themselves; left out, those states are still what the
    other levels read, but are not pooled. `transformer` has one causal level in place of all three, `mean` the
    weighted mean of the states, which knows neither order nor time. `rank` is the size of the maps from `dim` to
    `dim` that are added to the identity.
    """

    dim: int
    kind: str = "hierarchy"
    levels: tuple[str, ...] = LEVELS
    history: int = HISTORY
    hidden: int = 64
    bottleneck: int = 16
    rank: int = 32
    dropout: float = 0.2
    tasks: tuple[str, ...] = TASKS

    def __post_init__(self) -> None:
        """Raise ModelError where a value cannot be."""
        object.__setattr__(self, "levels", tuple(self.levels))  # lists, as JSON has them
        object.__setattr__(self, "tasks", tuple(self.tasks))
        if self.kind not in KINDS:
            raise ModelError(f"a model is one of {', '.join(KINDS)}; got {self.kind!r}")
        if not self.levels or not set(self.levels) <= set(LEVELS):
            raise ModelError(f"levels are one or more of {', '.join(LEVELS)}; got {list(self.levels)}")
        if not 1 <= self.history <= MOST_HISTORY:
            raise ModelError(f"a history is 1 to {MOST_HISTORY} items; got {self.history}")
        if self.hidden % 4 or min(self.dim, self.hidden, self.bottleneck, self.rank) < 1:
            raise ModelError("dim, hidden (a multiple of 4), bottleneck and rank are at least 1")


class Read(NamedTuple):
    """What a model makes of n histories while it is trained.

    `interests` (n, 1 + T, dim), `scales` and `biases` (n, T), `click_through` (n, 2) mean and concentration of a Beta
    distribution, `attention` (n, length), `states` (n, length, hidden) of the last level, `mean` and `log_variance`
    (n, bottleneck) of the posterior.
    """

    interests: torch.Tensor
    scales: torch.Tensor
    biases: torch.Tensor
    click_through: torch.Tensor
    attention: torch.Tensor
    states: torch.Tensor
    mean: torch.Tensor
    log_variance: torch.Tensor


class LowRank(nn.Module):  # type: ignore[misc]  # torch is not typed here (follow_imports = skip)
    """x + B A x with B at zero first: a map that begins as the identity (Hu et al. 2022)."""

    def __init__(self, dim: int, rank: int, dropout: float) -> None:
        super().__init__()
        self.down = nn.Linear(dim, rank, bias=False)
        self.up = nn.Linear(rank, dim, bias=False)
        nn.init.zeros_(self.up.weight)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Mapped vectors (n, dim)."""
        return vectors + self.up(self.dropout(self.down(vectors)))


class Addition(nn.Module):  # type: ignore[misc]  # as above
    """What is added to a vector of length 1 whose coordinates are about 1 / √dim: a linear map that begins at zero.

    Scaled by 1 / √(columns · dim), so that a step of Adam, which moves every weight alike, moves the sum a little.
    """

    def __init__(self, columns: int, dim: int) -> None:
        super().__init__()
        self.linear = _from_zero(columns, dim)
        self.scale = (columns * dim) ** -0.5

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """From (n, columns) to (n, dim)."""
        return self.linear(values) * self.scale


def _from_zero(columns: int, rows: int, bias: bool = False) -> nn.Linear:
    layer = nn.Linear(columns, rows, bias=bias)
    nn.init.zeros_(layer.weight)
    return layer


class HierarchyModel(nn.Module):  # type: ignore[misc]  # as above
    """Histories to interests, tasks, click-through and attention; `forward` is what is served."""

    def __init__(self, config: HierarchyConfig) -> None:
        super().__init__()
        self.config = config
        dim, hidden, tasks = config.dim, config.hidden, len(config.tasks)
        self.states = EventStates(dim, hidden, config.dropout, timed=config.kind != "mean")
        self.used_levels = config.levels if config.kind == "hierarchy" else (config.kind,)
        if "recurrent" in self.used_levels:
            self.recurrent = Recurrent(hidden, config.dropout)
        if "convolutional" in self.used_levels:
            self.convolutional = Convolutional(hidden, config.dropout)
        if "transformer" in self.used_levels:
            self.transformer = CausalTransformer(hidden, config.history, config.dropout)
        self.pooling = nn.ModuleList(AttentionPooling(hidden) for _ in self.used_levels)
        self.gates = nn.Parameter(torch.zeros(len(self.used_levels)))
        self.additions = nn.ModuleList(Addition(hidden, dim) for _ in self.used_levels)
        self.bottleneck = Bottleneck(hidden, config.bottleneck)
        self.from_bottleneck = Addition(config.bottleneck, dim)
        self.against = nn.Parameter(torch.tensor(-1.0))  # what a disliked item counts, through softplus: .31 at first
        self.newcomer = nn.Parameter(torch.zeros(dim))  # times √dim, for the reason of `Addition`
        self.newcomer_events = nn.Parameter(torch.tensor(-1.0))  # as many events the newcomer's answer is worth: .31
        self.map = LowRank(dim, config.rank, config.dropout)
        self.task_maps = nn.ModuleList(LowRank(dim, max(1, config.rank // 4), config.dropout) for _ in config.tasks)
        known = config.bottleneck + 1
        self.scales, self.biases = _from_zero(known, tasks, bias=True), _from_zero(known, tasks, bias=True)
        nn.init.constant_(self.scales.bias, 5.0)
        nn.init.constant_(self.biases.bias, -2.0)
        self.click_through = _from_zero(known, 2, bias=True)
        self.sharpness = nn.Parameter(torch.tensor(2.5))  # ln of what a cosine is multiplied with in the contrast
        self.masked_items = nn.Linear(hidden, dim)
        self.register_buffer("calibration", torch.tensor([[1.0, 0.0]] * tasks))  # a logit's factor and what is added

    def read(
        self,
        vectors: torch.Tensor,
        types: torch.Tensor,
        weights: torch.Tensor,
        ages_s: torch.Tensor,
        *,
        hidden_items: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
    ) -> Read:
        """Read histories; `noise` (n, bottleneck), standard normal, draws from the posterior in place of its mean.

        Items with `hidden_items` (n, length) 1 are not seen: neither their state nor the mean holds them.
        """
        used = (types > 0).to(torch.float32)
        vectors = vectors.to(torch.float32) * used.unsqueeze(-1)
        weights, ages_s = weights * used, ages_s * used
        levels = self._levels(vectors, types, weights, ages_s, used, hidden_items)
        seen = used if hidden_items is None else used * (1 - hidden_items)
        pooled = [pool(states, weights, ages_s, seen) for pool, states in zip(self.pooling, levels, strict=True)]
        if self.config.kind == "mean":
            share = weights.abs() * seen
            share = share / share.sum(1, keepdim=True).clamp(min=1e-12)
            pooled = [((share.unsqueeze(1) @ levels[0]).squeeze(1), share)]
        attention = (self.gates.softmax(0).reshape(-1, 1, 1) * torch.stack([share for _, share in pooled])).sum(0)
        mean, log_variance = self.bottleneck(pooled[-1][0])
        drawn = mean if noise is None else mean + noise * torch.exp(0.5 * log_variance)
        interest = self._interest(vectors, weights, attention, seen, [state for state, _ in pooled], drawn)
        known = torch.cat([drawn, torch.log1p(seen.sum(1, keepdim=True)) / 3.0], 1)
        directions = torch.stack([interest, *(task(interest) for task in self.task_maps)], 1)
        rate = self.click_through(known)
        return Read(
            nn.functional.normalize(directions, dim=-1, eps=1e-6),
            nn.functional.softplus(self.scales(known)),
            self.biases(known),
            torch.stack([torch.sigmoid(rate[:, 0]), nn.functional.softplus(rate[:, 1] + 2.0) + 1e-3], 1),
            attention,
            levels[-1],
            mean,
            log_variance,
        )

    def _levels(
        self,
        vectors: torch.Tensor,
        types: torch.Tensor,
        weights: torch.Tensor,
        ages_s: torch.Tensor,
        used: torch.Tensor,
        hidden_items: torch.Tensor | None,
    ) -> list[torch.Tensor]:
        """The states of each level that is pooled, each (n, length, hidden), the last level last."""
        states = self.states(vectors, types, weights, ages_s, hidden_items)
        levels = []
        for name in ("language", "mean", "recurrent", "convolutional", "transformer"):
            if name not in self.used_levels:
                continue
            if name == "recurrent":
                states = self.recurrent(states, used)
            elif name == "convolutional":
                states = self.convolutional(states)
            elif name == "transformer":
                states = self.transformer(states, ages_s)
            levels.append(states)
        return levels

    def _interest(
        self,
        vectors: torch.Tensor,
        weights: torch.Tensor,
        attention: torch.Tensor,
        seen: torch.Tensor,
        pooled: list[torch.Tensor],
        drawn: torch.Tensor,
    ) -> torch.Tensor:
        """The interest (n, dim) before it is brought to length 1.

        The signed mean by attention, drawn towards the newcomer's answer by 1 / (1 + events / newcomer_events), then
        the low-rank map, then what the levels and the bottleneck add, by what is known of the person.
        """
        sign = torch.where(weights > 0, 1.0, 0.0) - torch.where(weights < 0, 1.0, 0.0) * nn.functional.softplus(
            self.against
        )
        mean = ((attention * sign).unsqueeze(1) @ vectors).squeeze(1)
        events = seen.sum(1, keepdim=True)
        worth = nn.functional.softplus(self.newcomer_events)
        own = events / (events + worth)
        added = self.from_bottleneck(drawn)
        for add, state in zip(self.additions, pooled, strict=True):
            added = added + add(state)
        return self.map(mean * own + self.newcomer * self.config.dim**-0.5 * (1 - own)) + added * own

    def forward(
        self, vectors: torch.Tensor, types: torch.Tensor, weights: torch.Tensor, ages_s: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Interests, calibrated scales and biases, click-through mean and variance, attention: see `Answers`.

        `vectors` (n, length, dim) of any float type, `types` (n, length) whole numbers, `weights` and `ages_s`
        (n, length).
        """
        read = self.read(vectors, types, weights, ages_s)
        factor, added = self.calibration[:, 0], self.calibration[:, 1]
        rate, concentration = read.click_through[:, 0], read.click_through[:, 1]
        variance = rate * (1 - rate) / (concentration + 1)
        return (
            read.interests,
            read.scales * factor,
            read.biases * factor + added,
            torch.stack([rate, variance], 1),
            read.attention,
        )

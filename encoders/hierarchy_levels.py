"""The levels that read a person's events: states, a recurrent and a convolutional level, a transformer, attention.

Shapes: n people, `length` events, `hidden` values a state. `used` (n, length) is 1 where an event is and 0 in padding,
which stands at the end; no module lets padding reach an event.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from encoders.histories import TYPES

EPSILON = 1e-4
"""Below every weight: an event that was taken back gets next to no attention."""
HOUR_S = 3600.0


class EventStates(nn.Module):  # type: ignore[misc]  # torch is not typed here (follow_imports = skip)
    """Events to states: a projection of the item's vector, the type, the signed weight and, with `timed`, log times.

    It is linear up to a layer norm: a sum over its states sees which items came when, but not which came together.
    """

    def __init__(self, dim: int, hidden: int, dropout: float, timed: bool) -> None:
        super().__init__()
        self.timed = timed
        self.project = nn.Linear(dim, hidden)
        self.types = nn.Embedding(len(TYPES) + 1, hidden)
        self.numbers = nn.Linear(4 if timed else 2, hidden, bias=False)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)
        self.masked = nn.Parameter(torch.zeros(hidden))

    def forward(
        self,
        vectors: torch.Tensor,
        types: torch.Tensor,
        weights: torch.Tensor,
        ages_s: torch.Tensor,
        hidden_items: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """States (n, length, hidden). `hidden_items` (n, length), 1 where the item is not to be seen."""
        projected = self.dropout(self.project(vectors))
        if hidden_items is not None:
            gone = hidden_items.unsqueeze(-1)
            projected = projected * (1 - gone) + self.masked * gone
        numbers = [weights, weights.abs()]
        if self.timed:
            older = torch.cat([ages_s[:, :1], ages_s[:, :-1]], 1)
            numbers += [log_hours(ages_s), log_hours((older - ages_s).clamp(min=0))]
        return self.norm(projected + self.types(types) + self.numbers(torch.stack(numbers, -1)))


def log_hours(seconds: torch.Tensor) -> torch.Tensor:
    """ln(1 + hours), scaled to about 1 for a year."""
    return torch.log1p(seconds / HOUR_S) / 9.0


class Recurrent(nn.Module):  # type: ignore[misc]  # as above
    """A bidirectional LSTM (Hochreiter and Schmidhuber 1997; Graves and Schmidhuber 2005) added to its input.

    The backward half reads each history reversed within its own length, so that padding comes last for it too.
    """

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.onward = nn.LSTM(hidden, hidden // 2, batch_first=True)
        self.backward_half = nn.LSTM(hidden, hidden - hidden // 2, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
        """States (n, length, hidden) that have seen what came before and after."""
        length = states.shape[1]
        last = used.sum(1, keepdim=True).to(torch.int64) - 1
        mirror = (last - torch.arange(length, device=states.device)).clamp(min=0)  # its own inverse within a length
        onward, _ = self.onward(states)
        back, _ = self.backward_half(_reordered(states, mirror))
        both = torch.cat([onward, _reordered(back, mirror)], -1)
        return self.norm(states + self.dropout(both))


def _reordered(states: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return torch.gather(states, 1, order.unsqueeze(-1).expand(-1, -1, states.shape[-1]))


class Convolutional(nn.Module):  # type: ignore[misc]  # as above
    """A temporal convolutional network, causal, dilated (Bai, Kolter and Koltun 2018), each block added to its input.

    With kernels of 3 and dilations 1, 2, 4 and 8 a state sees the 30 events before it.
    """

    def __init__(self, hidden: int, dropout: float, dilations: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.dilations = dilations
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in dilations)
        self.convolutions = nn.ModuleList(nn.Conv1d(hidden, hidden, 3, dilation=step) for step in dilations)
        self.mixing = nn.ModuleList(nn.Linear(hidden, hidden) for _ in dilations)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """States (n, length, hidden); each depends on itself and on what came before."""
        for step, norm, convolution, mix in zip(
            self.dilations, self.norms, self.convolutions, self.mixing, strict=True
        ):
            columns = nn.functional.pad(norm(states).transpose(1, 2), (2 * step, 0))
            seen = nn.functional.gelu(convolution(columns)).transpose(1, 2)
            states = states + self.dropout(mix(seen))
        return states


class CausalTransformer(nn.Module):  # type: ignore[misc]  # as above
    """Blocks of causal self-attention (Vaswani et al. 2017; Kang and McAuley 2018) with encodings of place and time.

    The time of an event is Fourier features of ln(1 + hours since it), as in Kazemi et al. 2019 (Time2Vec).
    """

    def __init__(self, hidden: int, history: int, dropout: float, blocks: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.width = heads, hidden // heads
        self.places = nn.Parameter(torch.randn(history, hidden) * 0.02)
        self.frequencies = nn.Parameter(torch.exp(torch.linspace(0.0, math.log(50.0), 8)))
        self.times = nn.Linear(16, hidden, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2 * blocks))
        self.queries = nn.ModuleList(nn.Linear(hidden, 3 * hidden) for _ in range(blocks))
        self.outs = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(blocks))
        self.wide = nn.ModuleList(nn.Linear(hidden, 2 * hidden) for _ in range(blocks))
        self.narrow = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(blocks))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: torch.Tensor, ages_s: torch.Tensor) -> torch.Tensor:
        """States (n, length, hidden); each depends on itself and on what came before."""
        n, length, hidden = states.shape
        angles = log_hours(ages_s).unsqueeze(-1) * self.frequencies
        states = states + self.places[:length] + self.times(torch.cat([angles.sin(), angles.cos()], -1))
        later = torch.full((length, length), -1e9, device=states.device).triu(1)
        for at, query in enumerate(self.queries):
            parts = query(self.norms[2 * at](states)).reshape(n, length, 3, self.heads, self.width)
            q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
            scores = q @ k.transpose(-1, -2) / math.sqrt(self.width) + later
            seen = (self.dropout(scores.softmax(-1)) @ v).transpose(1, 2).reshape(n, length, hidden)
            states = states + self.dropout(self.outs[at](seen))
            wide = nn.functional.gelu(self.wide[at](self.norms[2 * at + 1](states)))
            states = states + self.dropout(self.narrow[at](wide))
        return states


class AttentionPooling(nn.Module):  # type: ignore[misc]  # as above
    """One vector of a level's states, and each event's share in it.

    The logit is a · tanh(W h) + k ln|weight| − r ln(1 + hours): at first a and r are 0 and k is 1, so that shares are
    those of the weighted mean.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.keys = nn.Linear(hidden, hidden)
        self.query = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.query.weight)
        self.of_weight = nn.Parameter(torch.ones(()))
        self.of_age = nn.Parameter(torch.zeros(()))

    def forward(
        self, states: torch.Tensor, weights: torch.Tensor, ages_s: torch.Tensor, used: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The pooled state (n, hidden) and shares (n, length)."""
        logits = self.query(torch.tanh(self.keys(states))).squeeze(-1)
        logits = logits + self.of_weight * torch.log(weights.abs() + EPSILON) - self.of_age * 9.0 * log_hours(ages_s)
        share = shares(logits, used)
        return (share.unsqueeze(1) @ states).squeeze(1), share


def shares(logits: torch.Tensor, used: torch.Tensor) -> torch.Tensor:
    """A softmax over what is used, shape (n, length): it sums to 1, or to 0 where nothing is."""
    logits = logits * used - 1e9 * (1 - used)
    powers = torch.exp(logits - logits.amax(1, keepdim=True)) * used
    return powers / powers.sum(1, keepdim=True).clamp(min=1e-12)


class Bottleneck(nn.Module):  # type: ignore[misc]  # as above
    """A variational bottleneck (Kingma and Welling 2014; Alemi et al. 2017): a normal posterior. Served is its mean."""

    def __init__(self, hidden: int, size: int) -> None:
        super().__init__()
        self.mean = nn.Linear(hidden, size)
        self.log_variance = nn.Linear(hidden, size)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, -3.0)

    def forward(self, pooled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The posterior's mean and the logarithm of its variance, both (n, size)."""
        return self.mean(pooled), self.log_variance(pooled).clamp(-8.0, 4.0)

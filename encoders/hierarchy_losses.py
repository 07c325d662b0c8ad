"""What a model of the hierarchy is trained for, each loss a mean over what it is about, and how they are weighed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn


def contrast(
    directions: torch.Tensor,
    items: torch.Tensor,
    log_drawn: torch.Tensor,
    allowed: torch.Tensor,
    targets: torch.Tensor,
    log_sharpness: torch.Tensor,
) -> torch.Tensor:
    """The target against the other candidates, as a share of what chance would lose: shape () from (a, dim), (c, dim).

    A softmax over e^log_sharpness · cosine − ln(how often the candidate is drawn) (Yi et al. 2019). `allowed` (a, c)
    leaves out what is no negative.
    """
    logits = log_sharpness.clamp(0.0, 4.6).exp() * directions @ items.T - log_drawn
    logits = logits.masked_fill(~allowed, -1e9)
    chance = math.log(max(2.0, float(allowed.sum(1).to(torch.float32).mean())))
    return nn.functional.cross_entropy(logits, targets) / chance


def task_logits(
    direction: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, vectors: torch.Tensor
) -> torch.Tensor:
    """scale · ⟨direction, v⟩ + bias for each person's items: (n, c) from (n, dim), (n,), (n,), (n, c, dim)."""
    cosines = torch.bmm(vectors, direction.unsqueeze(-1)).squeeze(-1)
    return scale.unsqueeze(-1) * cosines + bias.unsqueeze(-1)


def yes_or_no(logits: torch.Tensor, labels: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy over what is there, as a share of ln 2; all three of shape (n, c)."""
    losses = nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")
    return (losses * there).sum() / there.sum().clamp(min=1) / math.log(2.0)


def listwise(logits: torch.Tensor, labels: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """A softmax over each list against its clicks (Cao et al. 2007), as a share of what chance would lose."""
    log_shares = logits.masked_fill(~there, -1e9).log_softmax(1)
    clicks = labels.to(logits.dtype)
    has = (labels.any(1) & (~labels & there).any(1)).to(logits.dtype)
    losses = -(log_shares * clicks).sum(1) / clicks.sum(1).clamp(min=1) / there.sum(1).clamp(min=2).log()
    return (losses * has).sum() / has.sum().clamp(min=1)


def beta_binomial(rates: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """−ln of the chance of k in n, n drawn with a rate from a Beta distribution, a mean over n's sum.

    `rates` (a, 2) are the distribution's mean m and concentration c: α = m c, β = (1 − m) c; `counts` (a, 2) are k
    and n. The binomial coefficient, which no parameter moves, is left out.
    """
    mean, concentration = rates[:, 0].clamp(1e-4, 1 - 1e-4), rates[:, 1]
    k, n = counts[:, 0], counts[:, 1]
    alpha, beta = mean * concentration, (1 - mean) * concentration
    log_chance = (
        torch.lgamma(k + alpha) + torch.lgamma(n - k + beta) - torch.lgamma(n + concentration)
        - torch.lgamma(alpha) - torch.lgamma(beta) + torch.lgamma(concentration)
    )  # fmt: skip
    return -log_chance.sum() / n.sum().clamp(min=1) / math.log(2.0)


def divergence(mean: torch.Tensor, log_variance: torch.Tensor, free_bits: float) -> torch.Tensor:
    """The KL divergence of the posteriors (n, size) from the standard normal, in nats a person.

    Each value's divergence counts from `free_bits` on only (Kingma et al. 2016).
    """
    each = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).mean(0)
    return each.clamp(min=free_bits).sum()


class UncertaintyWeights(nn.Module):  # type: ignore[misc]  # torch is not typed here (follow_imports = skip)
    """Losses in one sum, Σ e^(−s) L + s / 2, with a learned s = ln σ² each (Kendall, Gal and Cipolla 2018)."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.log_variances = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in names})

    def forward(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The weighted sum of losses, shape ()."""
        parts = []
        for name, loss in losses.items():
            s = self.log_variances[name].clamp(-3.0, 3.0)
            parts.append(torch.exp(-s) * loss + 0.5 * s)
        return torch.stack(parts).sum()

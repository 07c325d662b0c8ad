"""Trains the head that reads a comment's sign, and says how well it does.

    python -m encoders.train_sentiment --model multilingual-e5-small --data ../shared/data/sentiment

Logistic regression on the mean states of every block, each normalised, then standardised. English: SST-2's training
sentences, as they come and written as people type them; Chinese: four fifths of waimai, by a hash of the text. Besides
a changed copy of every English and every second Chinese one (`augmentation.py`): mistyped, cut, padded, stuffed. The
sentences of `weights/neutral.txt`, the questions of `weights/questions.txt` and the taxonomy's names and descriptions
count half as good and half as bad, so that plain text lies near 0: who asks why a thing fails does not dislike it.
What is drawn is drawn from fixed seeds. Result: the head's part of `weights/<model>.npz`; no text of the data goes
into it.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoders.align import neutral_texts, plain_questions, taxonomy_pairs
from encoders.augmentation import augmented
from encoders.encoder import LoadedEncoder, load_encoder
from encoders.errors import ending_on_model_error
from encoders.labelled import held_out, read_labelled
from encoders.layout import read_layout
from encoders.locate import DEFAULT_MODEL, locate, name_of
from encoders.sentiment import WEIGHTS, Head, features, load_head, sentiments, write_head

Floats = npt.NDArray[np.float32]

PENALTY_C = 0.001
"""Inverse strength of the L2 penalty, the best of 0.0005, 0.001, 0.003 in cross-validation on the training part."""
ROUNDS = 120
"""Of the solver at most; the loss moves in the fifth digit by then."""
NEUTRAL_SHARE = 0.3
"""The neutral texts' part of the whole weight."""
SENTENCE_WEIGHT = 4.0
"""What a neutral sentence or question weighs beside a name or description of the taxonomy: comments are sentences."""


def as_typed(text: str) -> str:
    """An SST-2 sentence, which comes in lower case and split into tokens, as a person would type it."""
    text = re.sub(r" (n't|'s|'re|'ve|'ll|'d|'m)\b", r"\1", text)
    text = re.sub(r" ([.,!?;:%)])", r"\1", text).replace("( ", "(").replace("`` ", '"').replace(" ''", '"')
    return text[:1].upper() + text[1:]


def plain_texts() -> list[str]:
    """Texts that judge nothing, all written for this project."""
    return [*neutral_texts(), *plain_questions(), *(text for texts in taxonomy_pairs() for text in texts)]


def fit(
    x: Floats,
    good: npt.NDArray[np.int64],
    plain: int,
    neutral: Floats,
    neutral_weights: Floats,
    layers: Sequence[int],
    penalty_c: float,
    step: float = 0.0,
) -> Head:
    """A head of one layer from features (n, width) with labels (n,), and neutral ones (m, width) with weights (m,).

    The first `plain` rows are unchanged texts: what standardises is theirs. `step` > 0 trains against the worst step of
    that length from each standardised row, which for a linear head is known: it takes `step` times the weights' length
    off every margin (the fast gradient method of Miyato, Dai and Goodfellow, 2017, in closed form).
    """
    import torch  # noqa: PLC0415  # takes seconds, and only fitting needs it
    from torch.nn.functional import softplus  # noqa: PLC0415  # as above

    offset, deviation = x[:plain].mean(0), x[:plain].std(0) + 1e-6
    half = neutral_weights * (NEUTRAL_SHARE / (1 - NEUTRAL_SHARE) * len(x) / (2 * neutral_weights.sum()))
    rows = torch.from_numpy(((np.concatenate([x, neutral]) - offset) / deviation).astype(np.float32))
    sign = torch.from_numpy((good * 2 - 1).astype(np.float32))
    shares = torch.from_numpy(half.astype(np.float32))
    weight, bias = torch.zeros(rows.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=ROUNDS, tolerance_grad=1e-3, tolerance_change=1e-9, history_size=10,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> torch.Tensor:
        solver.zero_grad()
        margins = rows @ weight + bias
        length = weight.square().sum()
        labelled = softplus(step * (length + 1e-12).sqrt() - sign * margins[: len(x)]).sum()
        undecided = (shares * (softplus(margins[len(x) :]) + softplus(-margins[len(x) :]))).sum()
        total = penalty_c * (labelled + undecided) + length / 2
        total.backward()
        return total

    solver.step(loss)
    # 2 p - 1 of a logistic is tanh of half its argument.
    weights, biases = weight.detach().numpy()[:, None] / 2, bias.detach().numpy() / 2
    return Head(None, None, tuple(layers), offset, (1 / deviation).astype(np.float32), (weights,), (biases,))


def accuracy(signs: Floats, good: npt.NDArray[np.int64]) -> float:
    """The share of texts whose sign is that of their label."""
    return float(np.mean((signs > 0) == (good == 1)))


def train(
    encoder: LoadedEncoder, data: Path, penalty_c: float = PENALTY_C, step: float = 0.0
) -> tuple[Head, dict[str, float]]:
    """A head for the encoder's model and its figures on what it was not trained on.

    The encoder must have been loaded with a head that asks for the layers to read.
    """
    english, english_good = read_labelled(data / "sst2-train.jsonl.gz")
    dev, dev_good = read_labelled(data / "sst2-dev.jsonl.gz")
    chinese, chinese_good = read_labelled(data / "waimai.jsonl.gz")
    plain = plain_texts()
    out = np.array([held_out(text) for text in chinese])
    plain_out = np.array([held_out(text) for text in plain])
    dim = encoder.layout.dim
    pooled_chinese, pooled_plain = encoder.pooled(chinese), encoder.pooled(plain)
    typed = [as_typed(text) for text in english]
    some = np.flatnonzero(~out)[::2]
    changed = [
        *augmented(
            [one if row % 2 else other for row, (one, other) in enumerate(zip(english, typed, strict=True))],
            english_good,
            seed=7,
        ),
        *augmented([chinese[row] for row in some], chinese_good[some], seed=8),
    ]
    x = np.concatenate(
        [
            features(encoder.pooled(english), dim),
            features(encoder.pooled(typed), dim),
            features(pooled_chinese[~out], dim),
            features(encoder.pooled(changed), dim),
        ]
    )
    good = np.concatenate([english_good, english_good, chinese_good[~out], english_good, chinese_good[some]])
    sentences = len(neutral_texts()) + len(plain_questions())
    weights = np.where(np.arange(len(plain)) < sentences, SENTENCE_WEIGHT, 1.0).astype(np.float32)
    head = fit(
        x, good, len(x) - len(changed), features(pooled_plain[~plain_out], dim), weights[~plain_out],
        encoder.head.layers, penalty_c, step,
    )  # fmt: skip

    def signs(pooled: Floats) -> Floats:
        return sentiments(pooled, head, dim)

    neutral = np.abs(signs(pooled_plain[:sentences][plain_out[:sentences]]))
    return head, {
        "sst2_dev": accuracy(signs(encoder.pooled(dev)), dev_good),
        "sst2_dev_as_typed": accuracy(signs(encoder.pooled([as_typed(text) for text in dev])), dev_good),
        "waimai_held_out": accuracy(signs(pooled_chinese[out]), chinese_good[out]),
        "neutral_held_out_mean_abs": float(neutral.mean()),
        "neutral_held_out_p90_abs": float(np.quantile(neutral, 0.9)),
    }


def main() -> None:
    """Train, print the figures, write the head."""
    parser = argparse.ArgumentParser(description="Train a model's sentiment head.")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--data", type=Path, required=True, help="folder with sst2-*.jsonl.gz and waimai.jsonl.gz")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="int8", help="as the model is served; float where it has no ranges")
    parser.add_argument("--step", type=float, default=0.0, help="how long the worst step is that it is trained against")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, help="the .npz to write; default: the packaged weights of the model")
    arguments = parser.parse_args()
    with ending_on_model_error(parser):
        folder = locate(arguments.model, arguments.cache)
        head = Head(layers=tuple(range(1, read_layout(folder).layers)))
        encoder = load_encoder(
            arguments.model, backend=arguments.backend, cache=arguments.cache, head=head, precision=arguments.precision
        )
    head, figures = train(encoder, arguments.data, step=arguments.step)
    for key, value in figures.items():
        print(f"{key} {value:.4f}")
    old = load_head(name_of(folder), folder)
    out = arguments.out or WEIGHTS / f"{name_of(folder)}.npz"
    write_head(dataclasses.replace(head, mean=old.mean, languages=old.languages), out)


if __name__ == "__main__":
    main()

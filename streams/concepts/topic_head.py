"""Topics by a learned head: a small linear classifier over frozen vectors, trained on a tree's own texts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.concepts.zeroshot import Doubles, Floats, Integers, Nearest, unit

ROUNDS: Final = 120
#: Chosen on the first half of two news sets (docs/decisions/concepts.md): ridge, and the shares of the texts.
RIDGE: Final = 0.0015
EXAMPLES_SHARE: Final = 0.75  # of a topic's weight; the rest is its names, descriptions and aliases
NOTHING_SHARE: Final = 2.0  # the weight of the texts that say nothing, in topics

#: How much sharper than the learned odds, which an even ridge holds back, the probabilities of topics are; and the
#: logistic curve of whether a text says anything, by how far its best topic is ahead of saying nothing. Fitted on the
#: first half of the news, and on captions.
SHARPNESS: Final = 4.3
SAYS: Final = (0.75, 5.4)

_BLOCK_ROWS: Final = 4096
_DECIMALS: Final = 6


class HeadTexts(NamedTuple):
    """What a head learns from: `vectors` float (n, dim), unit; `topics` int (n,), their number for saying nothing.

    `example` bool (n,) tells example sentences from names, descriptions and aliases.
    """

    vectors: Floats
    topics: Integers
    example: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TopicHead:
    """One row of weights a topic, in the order of the ids, and a last one for texts that say nothing.

    `mean` float32 (dim,) is taken off a vector, which is then made a unit vector; `weights` float32
    (topics + 1, dim) and `bias` float32 (topics + 1,) make its logits.
    """

    mean: Floats
    weights: Floats
    bias: Floats

    def logits(self, vectors: Floats) -> Doubles:
        """Logits of vectors (n, dim), shape (n, topics + 1), rounded: alike on every machine and in every batch."""
        blocks = (vectors[start : start + _BLOCK_ROWS] for start in range(0, len(vectors), _BLOCK_ROWS))
        across = self.weights.T.astype(np.float64)
        found = [unit(block.astype(np.float64) - self.mean) @ across for block in blocks]
        joined = np.concatenate(found) if found else np.zeros((0, len(self.weights)))
        rounded: Doubles = (joined + self.bias).round(_DECIMALS)
        return rounded

    def topics(self, logits: Doubles) -> tuple[Nearest, Doubles]:
        """The best topic of each row, its number and logit, and its probability, float (n,).

        A tie goes to the lowest number.
        """
        rows, best = np.arange(len(logits)), logits[:, :-1].argmax(axis=1)
        return Nearest(best, logits[rows, best]), self.probabilities(logits)[rows, best]

    def probabilities(self, logits: Doubles) -> Doubles:
        """The probability of each topic, (n, topics): that the text says anything, times that it is on this one."""
        named = logits[:, :-1]
        most = named.max(axis=1, keepdims=True)
        odds = np.exp(SHARPNESS * (named - most))
        at, slope = SAYS
        says = 1 / (1 + np.exp(-(at + slope * (most - logits[:, -1:]))))
        probabilities: Doubles = (says * odds / odds.sum(axis=1, keepdims=True)).round(4)
        return probabilities


def train_head(texts: HeadTexts, topics: int) -> TopicHead:
    """Softmax regression with a ridge on each topic's texts, all topics weighing the same.

    By Nesterov's accelerated gradient (1983) from zero, in double precision and a fixed number of rounds, so that the
    same vectors give the same head. Raises ValueError where a topic has no example.
    """
    if len(np.unique(texts.topics[texts.example])) < topics:
        raise ValueError("a topic without an example")
    vectors = texts.vectors.astype(np.float64)
    nothing = texts.topics == topics
    named, shown = ~texts.example & ~nothing, texts.example & ~nothing
    mean = (vectors[named].mean(axis=0) + vectors[shown].mean(axis=0)) / 2 if named.any() else vectors.mean(axis=0)
    inputs = np.concatenate([unit(vectors - mean), np.ones((len(vectors), 1))], axis=1)
    weight = np.zeros(len(vectors))
    for kind, share in ((named, 1 - EXAMPLES_SHARE), (shown, EXAMPLES_SHARE)):
        counts = np.bincount(texts.topics[kind], minlength=topics)
        weight[kind] = share / topics / counts[texts.topics[kind]]
    if nothing.any():
        weight[nothing] = NOTHING_SHARE / topics / nothing.sum()
    found = _descend(inputs, np.eye(topics + 1)[texts.topics], weight / weight.sum())
    as_single = found.astype(np.float32)
    return TopicHead(mean.astype(np.float32), np.ascontiguousarray(as_single[:-1].T), as_single[-1])


def _descend(inputs: Doubles, wanted: Doubles, weight: Doubles) -> Doubles:
    """Weights (dim + 1, classes), the last row the bias, which no ridge holds back."""
    steepest = np.linalg.eigvalsh((inputs * weight[:, None]).T @ inputs)[-1] / 2 + RIDGE
    root = np.sqrt(RIDGE / steepest)
    momentum = (1 - root) / (1 + root)
    ridge = np.full((inputs.shape[1], 1), RIDGE)
    ridge[-1] = 0
    now = np.zeros((inputs.shape[1], wanted.shape[1]))
    ahead = now.copy()
    for _ in range(ROUNDS):
        logits = inputs @ ahead
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        residual = (odds / odds.sum(axis=1, keepdims=True) - wanted) * weight[:, None]
        then = ahead - (inputs.T @ residual + ridge * ahead) / steepest
        ahead = then + momentum * (then - now)
        now = then
    return now

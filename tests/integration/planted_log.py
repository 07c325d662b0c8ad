"""A log whose next topic follows from the order of the last two, which no mean can see. Run as a program, it trains."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from encoders.hierarchy_model import LEVELS, HierarchyConfig
from encoders.hierarchy_settings import TrainingConfig
from encoders.hierarchy_training import Trained, train
from encoders.histories import PersonLog, Shown, TrainingSet

TOPICS, ITEMS_A_TOPIC, DIM = 5, 14, 16
STEPS = 6
"""Steps of a round of `shortly_trained`."""


def planted_log(people: int = 70, events: int = 26, lists: bool = False, seed: int = 0) -> TrainingSet:
    """Nine in ten next topics are told by the last two, as a Latin square has them: either alone tells nothing."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(DIM, TOPICS)))[0].T
    items = np.repeat(centres, ITEMS_A_TOPIC, 0) + 0.1 * rng.normal(size=(TOPICS * ITEMS_A_TOPIC, DIM))
    items /= np.linalg.norm(items, axis=1, keepdims=True)
    places = np.arange(TOPICS)
    square = rng.permutation(TOPICS)[(places[:, None] + places) % TOPICS][rng.permutation(TOPICS)]
    found = []
    for person in range(people):
        topics = rng.integers(TOPICS, size=2).tolist()
        while len(topics) < events:
            told = rng.random() < 0.9
            topics.append(int(square[topics[-2], topics[-1]]) if told else int(rng.integers(TOPICS)))
        rows: list[int] = []
        for topic in topics:
            own = [row for row in range(topic * ITEMS_A_TOPIC, (topic + 1) * ITEMS_A_TOPIC) if row not in rows]
            rows.append(int(rng.choice(own or range(len(items)))))
        times = 1_700_000_000_000 + np.cumsum(rng.integers(1, 200, events)) * 60_000 + person
        shown = []
        if lists:
            for place in range(2, events, 2):
                offered = np.array([rows[place], *rng.choice(len(items), 5, replace=False)], np.int32)
                clicked = np.zeros(6, bool)
                clicked[0] = True
                shown.append(Shown(int(times[place]), offered, clicked))
        found.append(
            PersonLog(
                f"u{person}", times.astype(np.int64), np.array(rows, np.int32), np.ones(events, np.int8),
                np.ones(events, np.float32), shown,
            )
        )  # fmt: skip
    return TrainingSet(
        items.astype(np.float32), [f"i{row}" for row in range(len(items))], found, np.full(len(items), np.nan)
    )


def trained(
    out: Path, kind: str = "hierarchy", levels: tuple[str, ...] = LEVELS, lists: bool = False, rounds: int = 14
) -> Trained:
    """A small model of the planted log, in seconds."""
    torch.set_num_threads(1)
    model = HierarchyConfig(dim=DIM, history=8, hidden=24, bottleneck=8, rank=8, dropout=0.0, kind=kind, levels=levels)
    settings = TrainingConfig(
        rounds=rounds, patience=rounds, batch=96, learning_rate=1e-2, average=0.8, checkpoint_steps=4, hidden_share=0.05
    )
    return train(planted_log(lists=lists), out, encoder_id="planted", model=model, training=settings)


def shortly_trained(out: Path) -> Trained:
    """A few steps, with dropout and a checkpoint after each: what a kill is tried on."""
    torch.set_num_threads(1)
    model = HierarchyConfig(dim=DIM, history=8, hidden=24, bottleneck=8, rank=8)
    settings = TrainingConfig(rounds=3, patience=3, batch=48, round_anchors=48 * STEPS, checkpoint_steps=1)
    return train(planted_log(20, lists=True), out, encoder_id="planted", model=model, training=settings)


if __name__ == "__main__":
    shortly_trained(Path(sys.argv[1]))

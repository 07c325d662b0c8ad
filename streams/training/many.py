"""Many models trained side by side, a process each: what a comparison of them needs."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import torch

from encoders.hierarchy_files import LearnedHierarchy, load_learned
from encoders.hierarchy_settings import TrainingConfig
from encoders.hierarchy_training import train
from encoders.histories import TrainingSet
from streams.encoder.base import model_errors
from streams.training.variants import config_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training: which data and variant, with which constants, into which folder."""

    data: TrainingSet
    variant: str
    training: TrainingConfig
    out: Path
    encoder_id: str


def train_all(jobs: Sequence[Job], processes: int, done: Callable[[], None]) -> list[LearnedHierarchy]:
    """The models of all jobs, in their order; `done` is called after each. What a folder has already is taken up.

    Raises ConfigurationError where a log is too small or a folder has another training's checkpoint.
    """
    with model_errors():
        if processes <= 1:
            for job in jobs:
                _train(job)
                done()
        else:
            others = set(multiprocessing.active_children())
            fresh = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
            with ProcessPoolExecutor(processes, mp_context=fresh, initializer=_begin) as pool:
                try:
                    for finished in as_completed([pool.submit(_train, job) for job in jobs]):
                        finished.result()
                        done()
                except BaseException:  # Ctrl-C too: what is not done is left; a training goes on from its checkpoint
                    for process in set(multiprocessing.active_children()) - others:
                        process.terminate()
                    raise
        return [load_learned(job.out) for job in jobs]


def _begin() -> None:
    """In a process of the pool: one thread, and Ctrl-C is for the process that waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _train(job: Job) -> None:
    config = config_of(job.variant, job.data.dim)
    train(job.data, job.out, encoder_id=job.encoder_id, model=config, training=job.training)

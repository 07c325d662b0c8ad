"""Puts a trained model of learned interests into a Triton model repository, and proves it by loading and answering."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from encoders import interest_contract as contract
from encoders.answers import Answers
from encoders.backends import resolved
from encoders.errors import ModelError
from encoders.hierarchy_files import LearnedHierarchy, load_learned
from encoders.histories import TYPES, Histories
from encoders.int8 import keep_weights_in_8_bits
from encoders.interest_backends import (
    PRECISIONS,
    computes_bf16,
    copy_graph,
    graph_digest,
    make_interest_backend,
    write_graph,
)
from encoders.model_repository import check_name, config_text, write_model

SHELL = '''"""The model of learned interests, as Triton's Python backend loads it. All of it lives in `encoders/`."""

from encoders.interest_shell import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''
WORTH = 1.2
"""How many times as fast as float32 another precision has to be."""
MOST_LOSS = 0.02
"""How far another precision may move a cosine or a probability at most."""
_COPIED = ("config.json", "model.safetensors", "card.md", "card.json")
_PROOF_TOLERANCE = 1e-3
_ROUNDS, _PEOPLE = 5, 64


@dataclass(frozen=True, slots=True)
class Measured:
    """A precision on this machine: people a second, and how far it moves a cosine and a probability at most."""

    people_per_s: int
    cosine_loss: float
    probability_loss: float


@dataclass(frozen=True, slots=True)
class ExportedInterests:
    """What was written: the model's folder, what its clients will see, and what was measured of each precision.

    `made_up`: the histories that it was measured on were.
    """

    folder: Path
    model_id: str
    encoder_id: str
    backend: str
    precision: str
    measured: dict[str, Measured]
    made_up: bool


def export_interests(
    trained: Path,
    repo: Path,
    *,
    name: str = contract.MODEL_NAME,
    backend: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    histories: Histories | None = None,
) -> ExportedInterests:
    """Write `repo`/`name` for a trained model's folder, after it has answered there as the trained model does.

    `precision` is one of `PRECISIONS`, or `auto`: the fastest that is `WORTH` times as fast as float32 here and loses
    no more than `MOST_LOSS` on `histories` (real ones; without, made-up ones). It and `threads` are OpenVINO's; torch,
    on a GPU, computes in float32. A folder of that name is replaced as a whole. Raises ModelError where the model
    cannot be loaded or converted, or answers otherwise than it was trained to.
    """
    check_name(name)
    if precision not in ("auto", *PRECISIONS):
        raise ModelError(f"precision {precision!r}: expected one of auto, {', '.join(PRECISIONS)}")
    learned = load_learned(trained)
    real = histories if histories is not None and len(histories) else None
    sample = real if real is not None else made_up(learned, _PEOPLE)
    require_directions(learned.model_id, "a newcomer", learned.answers(_newcomer(learned)))  # before it is converted
    with tempfile.TemporaryDirectory() as temporary:
        wanted = _candidates(backend) if precision == "auto" else [precision]
        graphs = _graphs(learned, trained, Path(temporary), {"f32", *wanted})
        measured = measure(learned, graphs, sample, threads) if resolved(backend) == "openvino" else {}
        chosen = fastest(measured) if precision == "auto" else precision
        parameters = {
            contract.MODEL_ID_PARAMETER: learned.model_id,
            contract.ENCODER_ID_PARAMETER: learned.encoder_id,
            contract.TASKS_PARAMETER: ",".join(learned.config.tasks),
            contract.HISTORY_PARAMETER: str(learned.config.history),
            contract.GRAPH_PARAMETER: graph_digest(graphs[chosen]),
            "backend": backend,
            "precision": chosen,
            "threads": str(threads),
        }

        runs_on = ""

        def put(version: Path) -> None:
            nonlocal runs_on
            shutil.copytree(graphs[chosen], version, dirs_exist_ok=True)
            said = {"made_up": real is None, "precisions": {key: asdict(value) for key, value in measured.items()}}
            (version / "served.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
            runs_on = prove(learned, version, backend, chosen, threads, sample)

        write_model(repo, name, interest_config(learned, parameters, name), SHELL, put)
    return ExportedInterests(repo / name, learned.model_id, learned.encoder_id, runs_on, chosen, measured, real is None)


def interest_config(learned: LearnedHierarchy, parameters: dict[str, str], name: str = contract.MODEL_NAME) -> str:
    """The config.pbtxt of a model, from the contract."""
    history, dim = learned.config.history, learned.config.dim
    outputs = contract.sized_outputs(history, dim, len(learned.config.tasks))
    return config_text(name, contract.sized_inputs(history, dim), outputs, contract.BATCHING, parameters)


def prove(
    learned: LearnedHierarchy, folder: Path, backend: str, precision: str, threads: int, sample: Histories
) -> str:
    """Load what lies in a folder, compare its answers with the trained model's, and name what computes them.

    Raises ModelError.
    """
    served = make_interest_backend(folder, backend=backend, precision=precision, threads=threads)
    answers = served.run(sample)
    require_directions(learned.model_id, "a newcomer", served.run(_newcomer(learned)))
    require_directions(learned.model_id, "people", answers)
    cosine, probability = loss(learned.answers(sample), answers, sample)
    most = _PROOF_TOLERANCE if precision == "f32" else MOST_LOSS
    if not max(cosine, probability) <= most:
        raise ModelError(
            f"{learned.model_id} in {precision} moves a cosine by {cosine:.4f} and a probability by {probability:.4f}, "
            f"at most {most} is allowed: name another precision"
        )
    return served.name


def require_directions(model_id: str, who: str, answers: Answers) -> None:
    """Raise ModelError where answers have interests that are not of length 1."""
    if not (np.abs(np.linalg.norm(answers.interests, axis=2) - 1) < contract.NORM_TOLERANCE).all():
        raise ModelError(f"{model_id} gives {who} interests without a direction: train it (interests train)")


def _newcomer(learned: LearnedHierarchy) -> Histories:
    return Histories.empty(1, learned.config.history, learned.config.dim)


def measure(learned: LearnedHierarchy, graphs: dict[str, Path], sample: Histories, threads: int) -> dict[str, Measured]:
    """Speed and loss of each precision's graph on these histories; the best of some rounds in which they take turns."""
    expected = learned.answers(sample)
    backends = {
        name: make_interest_backend(folder, backend="openvino", precision=name, threads=threads)
        for name, folder in graphs.items()
    }
    losses = {name: loss(expected, backend.run(sample), sample) for name, backend in backends.items()}
    best = dict.fromkeys(backends, float("inf"))
    for _ in range(_ROUNDS):
        for name, backend in backends.items():
            start = perf_counter()
            backend.run(sample)
            best[name] = min(best[name], perf_counter() - start)
    return {name: Measured(round(len(sample) / best[name]), *losses[name]) for name in backends}


def fastest(measured: dict[str, Measured]) -> str:
    """The precision that `auto` means: float32, unless another one is worth it."""
    if not measured:
        return "f32"
    plain = measured["f32"].people_per_s
    worth = {
        name: one.people_per_s
        for name, one in measured.items()
        if one.people_per_s >= WORTH * plain and max(one.cosine_loss, one.probability_loss) <= MOST_LOSS
    }
    return max(worth, key=worth.__getitem__, default="f32")


def loss(expected: Answers, got: Answers, sample: Histories) -> tuple[float, float]:
    """The largest difference of a cosine, and of a task's probability, over people and the items of the sample."""
    items = sample.vectors[sample.types > 0][:512]
    cosines = [answers.interests @ items.T for answers in (expected, got)]  # (n, 1 + T, items)
    probabilities = [
        _sigmoid(answers.scales[:, :, np.newaxis] * cosine[:, 1:] + answers.biases[:, :, np.newaxis])
        for answers, cosine in zip((expected, got), cosines, strict=True)
    ]
    return (
        float(np.abs(cosines[0] - cosines[1]).max(initial=0.0)),
        float(np.abs(probabilities[0] - probabilities[1]).max(initial=0.0)),
    )


def made_up(learned: LearnedHierarchy, people: int, seed: int = 0, *, least: int = 0) -> Histories:
    """Histories of random items, of every length from `least` to the model's in turn."""
    rng = np.random.default_rng(seed)
    made = Histories.empty(people, learned.config.history, learned.config.dim)
    lengths = least + np.arange(people) % (learned.config.history + 1 - least)
    used = np.arange(learned.config.history) < lengths[:, np.newaxis]
    vectors = rng.standard_normal(made.vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    made.vectors[used] = vectors[used]
    made.types[used] = rng.integers(1, len(TYPES) + 1, made.types.shape, np.int32)[used]
    made.weights[used] = rng.choice(np.array([1.0, 3.0, -1.0], np.float32), made.weights.shape)[used]
    ages = np.sort(rng.exponential(86_400.0, made.ages_s.shape).astype(np.float32), axis=1)[:, ::-1]
    made.ages_s[used] = ages[used]
    made.ages_s[:] -= np.where(used, made.ages_s, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    made.ages_s[~used] = 0.0
    return made


def _candidates(backend: str) -> list[str]:
    if resolved(backend) != "openvino":
        return ["f32"]
    return ["f32", *(["bf16"] if computes_bf16() else []), "int8"]


def _graphs(learned: LearnedHierarchy, trained: Path, under: Path, precisions: set[str]) -> dict[str, Path]:
    """A folder for each precision, as it would lie in the repository; they all come from one conversion."""
    folders = {name: under / name for name in PRECISIONS if name in precisions}
    for name, folder in folders.items():
        folder.mkdir()
        for file in _COPIED:
            if (trained / file).is_file():
                shutil.copyfile(trained / file, folder / file)
        if name == "f32":
            write_graph(learned, folder)
        else:
            copy_graph(folders["f32"], folder, keep_weights_in_8_bits if name == "int8" else None)
    return folders


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray(1.0 / (1.0 + np.exp(-logits.clip(-60, 60))), np.float32)

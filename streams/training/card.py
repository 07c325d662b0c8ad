"""A trained model's card: what it was trained on, how well it foretells, whether its probabilities hold, its limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from encoders.hierarchy_settings import TrainingConfig
from encoders.hierarchy_training import Trained
from streams.training.training_set import LogSet

Figures = Mapping[str, Any]
#: What validates, as far as a log has it.
SHOWN: Final = ("recall_10", "mrr", "click_auc", "interest_auc")

_LIMITS: Final = (
    "It knows one log: people, items and a time. Of another catalogue, language or kind of event nothing is promised.",
    "It reads vectors of the text encoder named above and no other: another one asks for another training.",
    "A probability is for lists like those it was calibrated on: what was shown, or one touched item among {sampled}.",
    "Validation decided when to stop, and calibrated: its figures are a little too good.",
    "It learns from what people did. What they were never shown they could not do.",
)


def card(
    log: LogSet, encoder_id: str, trained: Trained, training: TrainingConfig, ablation: Mapping[str, Figures],
    encoded: str = "",
) -> dict[str, Any]:  # fmt: skip
    """The card as plain values; it names no person, no item and no text of the log.

    `encoded` says how the text encoder was chosen.
    """
    counts = log.counts
    figures = trained.figures
    return {
        "model_id": trained.learned.model_id, "encoder_id": encoder_id, "encoded": encoded,
        "model": asdict(trained.learned.config), "parameters": figures["parameters"],
        "training": {name: value for name, value in asdict(training).items() if value != math.inf},
        "log": asdict(counts) | {"types": dict(counts.types)},
        "data": figures["data"],
        "validation": figures["validation"], "untrained": figures["untrained"], "baselines": figures["baselines"],
        "rounds": len(figures["rounds"]) - 1, "best_round": figures["best_round"],
        "calibration": figures["tasks"],
        "ablation": {name: {"validation": one["validation"], "parameters": one["parameters"]}
                     for name, one in ablation.items()},
        "limits": [one.format(sampled=training.sampled) for one in _LIMITS],
    }  # fmt: skip


def page(card: Figures) -> str:
    """The card as Markdown."""
    data, measured = card["data"], ranked(card)
    parts = [
        f"# {card['model_id']}", _about(card), "## Data", *_data(card), "## Tasks",
        _table(["task", "is foretold"], [
            ["click", data["click"]], ["exposure", "that an item is met at all"],
            ["purchase", _purchase(card)], ["click-through", data["click_through"]],
        ]),
        "## How well", _how(card), _ranked(measured),
    ]  # fmt: skip
    if card["ablation"]:
        others = {name: one["validation"] for name, one in card["ablation"].items()}
        parts += ["## Without its levels", _ranked({"whole": card["validation"], **others})]
    limits = "\n".join(f"- {one}" for one in card["limits"])
    return "\n\n".join([*parts, "## Probabilities", *_calibration(card["calibration"]), "## Limits", limits]) + "\n"


def _about(card: Figures) -> str:
    model = card["model"]
    levels = f" with the levels {', '.join(model['levels'])}" if model["kind"] == "hierarchy" else ""
    encoded = f" ({card['encoded']})" if card["encoded"] else ""
    return (
        f"A model of what people do next, kind `{model['kind']}`{levels}, with {card['parameters']:,} parameters. It "
        f"reads the vectors of `{card['encoder_id']}`{encoded} of a person's last {model['history']} items."
    )


def _data(card: Figures) -> list[str]:
    log, data = card["log"], card["data"]
    types = ", ".join(f"{count:,} {name}" for name, count in sorted(log["types"].items(), key=lambda one: -one[1]))
    held = (
        f"{data['people']:,} people, {data['items']:,} items and {data['events']:,} events with them, from "
        f"{_day(log['first_ms'])} to {_day(log['last_ms'])}; {data['lists']:,} lists that were shown. By type: {types}."
    )
    left_out = (
        f"Left out: {log['dead']:,} records that are no valid event, {log['repeated']:,} that came twice, "
        f"{log['erased']:,} that were erased, {log['without_item']:,} without an item, {log['unknown_items']:,} about "
        "items that nobody described."
    )
    split = (
        f"{data['taught_events']:,} events and {data['taught_lists']:,} lists taught. What happened from "
        f"{_day(data['validation_from_ms'])} on validates: {data['validated_events']:,} events and "
        f"{data['validated_lists']:,} lists, of which {data['validated_next']:,} events met a new item."
    )
    return [held, left_out, split]


def _how(card: Figures) -> str:
    rounds, best = card["rounds"], card["best_round"]
    trained = f"{rounds} {'round was' if rounds == 1 else 'rounds were'} trained"
    ended = "the last was the best, so more of them may do better" if best == rounds else f"the best was round {best}"
    return (
        f"On what validates: the new item of each event among 49 others, and the lists. {trained}; {ended}. "
        "`untrained` is this model before training, `mean` the weighted mean of a history's vectors, `average_30d` the "
        "same with a half-life of 30 days."
    )


def _purchase(card: Figures) -> str:
    """What the task `purchase` foretells; of many a log nothing that was bought."""
    bought = "" if card["log"]["types"].get("purchase") else "; the log has no purchases"
    return f"a positive event of the strongest type, `{card['data']['strongest_type']}`{bought}"


def ranked(card: Figures) -> dict[str, Figures]:
    """What validates, by what ranked it: the model, the same before training, and plain means."""
    return {"trained": card["validation"], "untrained": card["untrained"], **card["baselines"]}


def _ranked(by_name: Mapping[str, Figures]) -> str:
    measures = [
        name for name in ("recall_10", "mrr", "click_auc", "interest_auc") if any(name in v for v in by_name.values())
    ]
    rows = [[name, *(f"{one[m]:.3f}" if m in one else "" for m in measures)] for name, one in by_name.items()]
    return _table(["", *(name.replace("_10", "@10").replace("_", " ") for name in measures)], rows)


def _calibration(tasks: Mapping[str, Figures]) -> list[str]:
    """The calibration error of each task, and the reliability curve: what was foretold, and what came true."""
    rows = [
        [name, f"{one['examples']:,}", f"{one['positive']:,}", f"{one['ece_before']:.3f}", f"{one['ece_after']:.3f}",
         f"{one['auc']:.3f}"]
        for name, one in tasks.items()
    ]  # fmt: skip
    curves = [
        [name, *(f"{point['predicted']:.3f} → {point['observed']:.3f}" for point in one["reliability_after"])]
        for name, one in tasks.items()
    ]
    widest = max(map(len, curves))
    curves = [row + [""] * (widest - len(row)) for row in curves]
    return [
        "Expected calibration error in ten bins of equal counts, as trained and calibrated on other people:",
        _table(["task", "answers", "came true", "ECE as trained", "ECE calibrated", "AUC"], rows),
        "Reliability: in each tenth of the answers, lowest first, the mean probability and the share that came true.",
        _table(["task", *map(str, range(1, widest))], curves),
    ]  # fmt: skip


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *rows])


def _day(at_ms: float) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()

"""`interests eval --robustness`: how far changed texts move; the part of the command that reads the data and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

import msgspec
from rich.console import Console
from rich.table import Table

from encoders.encoder import load_encoder
from encoders.labelled import held_out
from encoders.perturbations import read_lexicon
from streams.base.errors import ConfigurationError
from streams.commands.json_lines import read_lines
from streams.commands.progress import meter
from streams.concepts.catalogue_tree import build_from_taxonomy, text_of
from streams.encoder.base import model_errors
from streams.evaluation.robustness import RobustnessPlan, Texts, robustness

FILE: Final = "robustness.json"
_TOPICS: Final = {"AG News": "topics/agnews.jsonl.gz", "THUCNews": "topics/thucnews-dev.jsonl.gz"}
_SIGNS: Final = {"SST-2": "sentiment/sst2-dev.jsonl.gz", "waimai": "sentiment/waimai.jsonl.gz"}
_FORUM: Final = "cardano/items.jsonl.gz"
_FORUM_CHARS: Final = 400  # of an item's text: its title and the first sentences
_COLUMNS: Final = {
    "topic": ("cosine", "neighbours_kept", "topic_changed", "interest_changed", "aimed_at"),
    "sign": ("cosine", "flipped", "moved", "right"),
}
_HEADS: Final = {
    "cosine": "cosine", "neighbours_kept": "neighbours kept", "topic_changed": "topic changed",
    "interest_changed": "path changed", "aimed_at": "aim reached", "flipped": "sign flipped", "moved": "mean move",
    "right": "sign right",
}  # fmt: skip


class _Text(TypedDict):
    text: str


class _Labelled(TypedDict):
    text: str
    label: Literal[0, 1]


def measure_robustness(data: Path, out: Path, model: str, cache: Path, seed: int, shown: Console) -> None:
    """Measure the sets of a data folder, show a table for each and write `robustness.json` into `out`.

    The model runs in this process, in int8 where it is a packaged one, as it is served. ConfigurationError where a set
    is missing or the model cannot be used.
    """
    sets = _sets(data)
    with model_errors():
        encoder = load_encoder(model, cache=cache / "models", precision="float" if Path(model).is_dir() else "int8")
    tree = build_from_taxonomy(lambda texts: encoder.encode(texts)[0], encoder.encoder_id)
    plan = RobustnessPlan(seed=seed)
    figures = robustness(sets, encoder.encode, tree, read_lexicon(), plan, lambda step, n: meter(shown, step, n))
    result = {"encoder": encoder.encoder_id, "tree": tree.version, "seed": seed, "half": plan.half, "sets": figures}
    out.mkdir(parents=True, exist_ok=True)
    file = out / FILE
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, of_set in figures.items():
        shown.print(table(name, of_set))
    shown.print(f"{encoder.encoder_id}, tree {tree.version}, half {plan.half} of each set; {file}", soft_wrap=True)


def table(name: str, of_set: dict[str, Any]) -> Table:
    """A set's figures: a line a perturbation, `before → after` where the service reads another text than is written."""
    columns = _COLUMNS[of_set["kind"]]
    drawn = Table(title=f"{name}: {of_set['texts']} texts", title_justify="left")
    drawn.add_column("what is done")
    for column in columns:
        drawn.add_column(_HEADS[column], justify="right")
    for perturbation, found in of_set["perturbations"].items():
        drawn.add_row(perturbation, *(_cell(found, column) for column in columns))
    return drawn


def _cell(found: dict[str, Any], column: str) -> str:
    sides = [f"{found[side][column]:.3f}" for side in ("written", "read") if side in found]
    return " → ".join(sides) or "–"


def _sets(data: Path) -> list[Texts]:
    files = [*_TOPICS.values(), _FORUM, *_SIGNS.values()]
    if missing := [file for file in files if not (data / file).is_file()]:
        raise ConfigurationError(f"{data} has no {', '.join(missing)}: name the folder of the sets with --data")
    sets = [Texts(name, "topic", [row["text"] for row in _rows(data / file, _Text)]) for name, file in _TOPICS.items()]
    forum = [text_of(item, _FORUM_CHARS) for item in _rows(data / _FORUM, dict[str, Any])]
    sets.append(Texts("Cardano forum", "topic", forum))
    for name, file in _SIGNS.items():
        mine = [row for row in _rows(data / file, _Labelled) if name != "waimai" or held_out(row["text"])]
        sets.append(Texts(name, "sign", [row["text"] for row in mine], [row["label"] for row in mine]))
    return sets


def _rows(file: Path, form: Any) -> list[Any]:
    """The lines of a file; ConfigurationError where it cannot be read, a line has another form, or there is none."""
    rows = []
    for line in read_lines(file):
        try:
            rows.append(msgspec.json.decode(line.body, type=form))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{file}, line {line.number}: {error}") from error
    if not rows:
        raise ConfigurationError(f"{file} has no lines: name the folder of the sets with --data")
    return rows

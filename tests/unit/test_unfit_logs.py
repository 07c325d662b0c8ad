"""Logs that hold nothing to learn from, and folders that cannot be written: refused before a model is loaded."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from encoders.checkpoints import CHECKPOINT_FILE, read_checkpoint
from encoders.errors import ModelError
from streams.commands import shell
from streams.commands.cli import app
from streams.commands.robustness import measure_robustness
from streams.training.many import Job, train_all
from tests.fixtures.trainings import DAY_MS, QUICK, T0, Words, log_set

ITEMS = [{"item_id": f"i{n}", "title": f"a story about thing {n}"} for n in range(12)]
EVENTS = [
    {"user_id": f"u{user}", "item_id": f"i{(user + at) % 12}", "type": "click", "ts": T0 + at * DAY_MS}
    for at in range(6) for user in range(12)
]  # fmt: skip
COMMANDS = {
    "train": ["train"], "eval": ["eval"], "eval-hierarchy": ["eval-hierarchy"],
    "tune": ["encoder", "tune", "multilingual-e5-small", "--out", "tuned"],
    "evaluate": ["encoder", "evaluate", "multilingual-e5-small"], "export": ["encoder", "export-interests", "."],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("an encoder was loaded")

    for module in ("streams.evaluation.ground", "encoders.encoder", "encoders.tuned_model"):
        monkeypatch.setattr(f"{module}.load_encoder", load)
    monkeypatch.chdir(tmp_path)


def call(command: str, items: list[dict[str, Any]] | bytes, events: list[dict[str, Any]] | bytes, *more: str) -> Result:
    for name, rows in (("items", items), ("events", events)):
        raw = rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode()
        Path(name).write_bytes(raw)
    arguments = [*COMMANDS[command], "--items", "items", "--events", "events", *more]
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("items", "events", "said"),
    [
        ([], EVENTS, "got 0 records of items, none of which has anything to read: expected lines of JSON"),
        (ITEMS, [], "got 0 records of events, none of which is about one of the 12 items"),
        ([{"item_id": "i1"}, {"item_id": "i2"}], EVENTS, "none of which has anything to read, the first because"),
        (ITEMS, [{**row, "item_id": "elsewhere"} for row in EVENTS], "72 name an item that nobody described"),
        (ITEMS, b"hello\n{no\n", "2 are no valid events, the first because"),
        (ITEMS, gzip.compress(b"{}\n" * 1000, mtime=0)[:30], "events: cannot be read"),
    ],
)
def test_a_log_with_nothing_to_learn_from_is_refused(
    command: str, items: list[dict[str, Any]], events: list[dict[str, Any]], said: str
) -> None:
    result = call(command, items, events)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("command", "events", "said"),
    [
        (
            "train",
            [{**row, "user_id": "one"} for row in EVENTS],
            "1 people did two things or more, expected at least 5",
        ),
        ("eval-hierarchy", [{**row, "user_id": "one"} for row in EVENTS], "1 people did two things or more"),
        ("eval-hierarchy", EVENTS[:24], "cases at most, expected at least 50: take a longer log"),
    ],
)
def test_a_log_that_is_too_small_is_refused(command: str, events: list[dict[str, Any]], said: str) -> None:
    result = call(command, ITEMS, events)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--out", "--cache"])
def test_a_folder_that_cannot_be_written_is_refused(command: str, option: str) -> None:
    if (command, option) == ("evaluate", "--out"):
        return  # it writes nothing
    Path("a-file").touch()
    result = call(command, ITEMS, EVENTS, option, "a-file/below")
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert "cannot be made: a-file is a file" in " ".join(result.stderr.replace("│", " ").split())


def test_logs_of_a_folder_are_read_before_anything_is_loaded(tmp_path: Path) -> None:
    log = tmp_path / "data" / "mine"
    log.mkdir(parents=True)
    arguments = ["eval-hierarchy", "--data", "data", "--log", "mine"]
    assert "items.jsonl.gz and" in CliRunner().invoke(app, arguments).stderr.replace("\n", "")
    for name in ("items", "events"):
        (log / f"{name}.jsonl.gz").write_bytes(gzip.compress(b""))
    assert "got 0 records of items" in CliRunner().invoke(app, arguments).stderr


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"", "has no lines"), (b'{"no": 1}\n', "line 1"), (gzip.compress(b"{}\n" * 999, mtime=0)[:20], "cannot be read")],
)
def test_sets_of_texts_that_cannot_be_read_are_named(tmp_path: Path, raw: bytes, said: str) -> None:
    for file in ("topics/agnews", "topics/thucnews-dev", "cardano/items", "sentiment/sst2-dev", "sentiment/waimai"):
        path = tmp_path / f"{file}.jsonl.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
    with pytest.raises(shell.ConfigurationError, match=rf"agnews\.jsonl\.gz.*{said}"):
        measure_robustness(tmp_path, tmp_path, "a model", tmp_path, 7, shell.console())


def test_ctrl_c_is_one_line_and_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> Callable[..., None]:
        raise KeyboardInterrupt

    monkeypatch.setattr("streams.commands.evaluate.read", interrupted)
    result = call("eval", ITEMS, EVENTS)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "error: stopped by Ctrl-C\n")


def test_ctrl_c_ends_a_training_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training inside a coroutine would go on: asyncio only notes a first Ctrl-C until something waits."""
    went_on: list[bool] = []

    def train(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        went_on.append(True)

    monkeypatch.setattr("streams.evaluation.hierarchy_logs.train_all", train)
    monkeypatch.setattr("streams.evaluation.ground.load_encoder", lambda *_, **__: Words())
    result = call("eval-hierarchy", ITEMS, EVENTS)
    assert (result.exit_code, went_on) == (130, []), result.output
    assert "the same command goes on with what is trained" in result.stderr


def test_ctrl_c_ends_a_pool_of_trainings(tmp_path: Path) -> None:
    forever = replace(QUICK, rounds=10_000, patience=10_000)
    data = log_set().data
    jobs = [
        Job(data=data, variant="mean", training=one, out=tmp_path / str(at), encoder_id="e")
        for at, one in enumerate((replace(QUICK, rounds=1), forever, forever))
    ]

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_all(jobs, 2, interrupted)
    assert (tmp_path / "0" / "model.safetensors").exists()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "--from-catalogue", "empty", "--out", "tree.json"], "empty: got no item with a title"),
        (["try", "a kettle", " "], "expected something to read in each"),
    ],
)
def test_concepts_of_nothing_are_refused_before_a_server_is_asked(arguments: list[str], said: str) -> None:
    Path("empty").write_text(json.dumps({"item_id": "i1"}))
    result = CliRunner().invoke(app, ["concepts", *arguments], env={"COLUMNS": "200"})
    assert (result.exit_code, said in result.stderr) == (2, True), result.output


def test_a_checkpoint_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"junk")
    with pytest.raises(ModelError, match=r"no checkpoint, or damaged .*: delete it to begin anew"):
        read_checkpoint(tmp_path, "f", "cpu")
    torch.save([1], tmp_path / CHECKPOINT_FILE)
    with pytest.raises(ModelError, match="of another training"):
        read_checkpoint(tmp_path, "f", "cpu")

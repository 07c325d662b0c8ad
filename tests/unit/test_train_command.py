"""`interests train`: what a run writes, what it says, and how it ends where a log or an option does not fit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from encoders.export import encoder_config, write_repository
from encoders.hierarchy_files import load_learned
from encoders.hierarchy_settings import Progress
from encoders.served import SHIPPED, precision_for, served_encoder
from streams.base.errors import ConfigurationError
from streams.commands import train as command
from streams.commands.cli import app
from streams.training.parsed_log import FEWEST_PEOPLE
from streams.training.parts import before, of_people
from streams.training.run import TrainingPlan, run
from tests.fixtures.trainings import DAY_MS, QUICK, T0, Words, log_set

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def test_a_run_writes_a_model_and_a_card_that_names_nobody(tmp_path: Path) -> None:
    told: list[tuple[str, Progress]] = []
    once = replace(QUICK, rounds=1)
    plan = TrainingPlan(out=tmp_path / "model", history=8, training=once, ablation=True)
    card = run(log_set(people=12, events=6), "an-encoder", plan, lambda name, one: told.append((name, one)))
    learned = load_learned(tmp_path / "model")
    assert card["model_id"] == learned.model_id
    assert (learned.encoder_id, learned.config.history) == ("an-encoder", 8)
    assert json.loads((tmp_path / "model" / "card.json").read_text()) == json.loads(json.dumps(card))
    page = (tmp_path / "model" / "card.md").read_text()
    for heading in ("Data", "Tasks", "How well", "Without its levels", "Probabilities", "Limits"):
        assert f"## {heading}\n" in page
    assert re.search(r"1 round was trained; the (last was the best, so|best was round 0)", page)
    assert "`click`; the log has no purchases |" in page
    assert not re.search(r"\b[ui]\d+\b", page + json.dumps(card)), "a person or an item is named"
    assert set(card["ablation"]) == {
        "without language", "without recurrent", "without convolutional", "transformer", "mean",
    }  # fmt: skip
    assert {name for name, _ in told} == {"hierarchy", *card["ablation"]}
    assert all(0 <= task["ece_after"] <= 1 for task in card["calibration"].values())


def test_a_run_goes_on_from_its_checkpoint_unless_it_is_to_begin_anew(tmp_path: Path) -> None:
    def stop(_: str, one: Progress) -> None:
        if one.round == 1:
            raise KeyboardInterrupt

    plan = TrainingPlan(out=tmp_path / "one", history=8, training=QUICK)
    with pytest.raises(KeyboardInterrupt):
        run(log_set(), "e", plan, stop)
    rounds: list[int] = []
    resumed = run(log_set(), "e", plan, lambda _, one: rounds.append(one.round))
    assert min(rounds) >= 1
    whole = run(log_set(), "e", TrainingPlan(out=tmp_path / "two", history=8, training=QUICK), lambda *_: None)
    assert resumed["model_id"] == whole["model_id"]
    rounds.clear()
    anew = TrainingPlan(out=tmp_path / "one", history=8, training=QUICK, resume=False)
    assert run(log_set(), "e", anew, lambda _, one: rounds.append(one.round))["model_id"] == whole["model_id"]
    assert min(rounds) == 0
    other = TrainingPlan(out=tmp_path / "one", history=4, training=QUICK)
    with pytest.raises(ConfigurationError, match="another training"):
        run(log_set(), "e", other, lambda *_: None)


def test_too_few_people_are_refused(tmp_path: Path) -> None:
    few = log_set(people=FEWEST_PEOPLE - 1)
    with pytest.raises(ConfigurationError, match=f"expected at least {FEWEST_PEOPLE}"):
        run(few, "e", TrainingPlan(out=tmp_path, training=QUICK), lambda *_: None)


def test_parts_of_a_log() -> None:
    data = log_set().data
    early = before(data, T0 + 2 * DAY_MS)
    assert {len(person.rows) for person in early.people} == {2}
    assert before(data, T0).people == []
    assert [one.user_id for one in of_people(data, lambda user_id: user_id == "u3").people] == ["u3"]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["train", *arguments], env={"COLUMNS": "120", "NO_COLOR": "1"})


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    items, events = tmp_path / "items.jsonl", tmp_path / "events.jsonl"
    items.write_text("".join(json.dumps({"item_id": f"i{n}", "title": f"word {n}"}) + "\n" for n in range(12)))
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{(user + at) % 12}", "type": "click", "ts": T0 + at * DAY_MS}
        for at in range(6)
        for user in range(12)
    ]
    events.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["--items", str(items), "--events", str(events), "--out", str(tmp_path / "out")]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--kind", "oracle"], "a model is one of hierarchy, transformer, mean"),
        (["--without-level", "moon"], "expected some of language, recurrent, convolutional"),
        (["--without-level", "language", "--kind", "mean"], "goes with --kind hierarchy"),
        (["--encoder", "no-such-model"], "no-such-model"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_encoded(files: list[str], more: list[str], said: str) -> None:
    result = call(*files, *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


@pytest.fixture
def _words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are encoded by words: a language model takes seconds to load."""
    monkeypatch.setattr("streams.evaluation.ground.load_encoder", lambda *_, **__: Words())


@pytest.mark.usefixtures("_words")
def test_the_command_trains_says_how_well_and_where_it_lies(files: list[str], tmp_path: Path) -> None:
    result = call(*files, "--rounds", "1", "--history", "6", "--cache", str(tmp_path / "cache"), "--threads", "1")
    assert result.exit_code == 0, result.output
    assert re.search(r"interest-hierarchy-[0-9a-f]{8} and its card lie in", result.stdout)
    assert f"interests up --interest-model {tmp_path / 'out'}, or" in result.stdout
    assert "round 1 of at most 1" in result.stdout
    card = (tmp_path / "out" / "card.md").read_text()
    assert "text encoder words: int8, as " in result.stdout  # this checkout serves its default model so
    assert "the vectors of `words` (int8, as " in card
    assert re.search(r"untrained.*\d\.\d{3}", result.stdout)
    assert (tmp_path / "out" / "card.md").exists()


def repository(folder: Path, model: str, precision: str) -> Path:
    parameters = {"model": model, "precision": precision, "encoder_id": "an-id"}
    write_repository(folder, encoder_config(8, parameters))
    return folder


def test_texts_are_encoded_as_the_repository_serves_them(tmp_path: Path) -> None:
    e5, other = "multilingual-e5-small", str(tmp_path / 'a "model" \\ of mine')
    int8 = served_encoder(tmp_path / "nowhere", repository(tmp_path / "int8", e5, "int8"))
    assert int8 is not None
    assert (int8.model, int8.precision, int8.encoder_id) == (e5, "int8", "an-id")
    assert precision_for(e5, int8) == ("int8", f"as {int8.config} says")
    assert precision_for("all-minilm-l6-v2", int8) == ("float", f"{int8.config} is about another model")
    bf16 = served_encoder(repository(tmp_path / "bf16", other, "bf16"))
    assert bf16 is not None
    assert precision_for(other, bf16)[0] == "float"  # floats of any type share an id
    assert served_encoder(tmp_path / "bf16", name="text_encoder_2") is None
    assert precision_for(e5, None) == ("float", "no model repository is here")


def test_the_shipped_repository_names_the_encoder_that_auto_makes() -> None:
    shipped = served_encoder(SHIPPED)
    assert shipped is not None
    assert ("-int8-" in shipped.encoder_id) == (precision_for(shipped.model, shipped)[0] == "int8")


@pytest.mark.usefixtures("_words")
def test_a_precision_that_is_named_is_taken(files: list[str], tmp_path: Path) -> None:
    more = ["--rounds", "1", "--history", "6", "--cache", str(tmp_path / "cache"), "--threads", "1"]
    assert "text encoder words: float, as was asked for" in call(*files, *more, "--encoder-precision", "float").stdout


@pytest.mark.usefixtures("_words")
def test_ctrl_c_says_how_to_go_on(files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def show(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command._Rounds, "show", show)
    result = call(*files, "--cache", str(tmp_path / "cache"))
    assert result.exit_code == 130
    assert "the same command goes on from the checkpoint" in result.stderr


@pytest.mark.usefixtures("_words")
def test_a_log_without_events_or_items_is_refused(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("")
    assert "none of which is about" in call(*files, "--cache", str(tmp_path / "cache")).stderr
    (tmp_path / "items.jsonl").write_text("")
    result = call(*files, "--cache", str(tmp_path / "cache"))
    assert result.exit_code == 2
    assert "anything to read" in result.stderr

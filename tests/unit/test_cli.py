"""The command line as a whole: help, exit codes, one line an error, and arguments that do not fit."""

from __future__ import annotations

import ast
import inspect
import json
import os
import socket
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from deploy.embedded import command
from streams.base.errors import BrokerUnavailable, ConfigurationError, Fenced, PoisonError
from streams.commands.cli import Commands, app
from streams.commands.lazy import ENTRY_POINTS, CommandRow, LazyCommand
from streams.commands.shell import extra, register

RUNNER = CliRunner()
ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return RUNNER.invoke(app, list(arguments), input=stdin, env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.fixture(autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """This package as pip installs it, whatever an editable installation was made from."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][ENTRY_POINTS]
    install(tmp_path_factory.mktemp("installed"), "interest-streams", points, monkeypatch)


def install(folder: Path, package: str, points: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder hold an installed package with these entry points, before all others of its name."""
    info = folder / f"{package.replace('-', '_')}-0.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.0\n")
    lines = [f"[{ENTRY_POINTS}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(folder))


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, stub in group.commands.items():
        own = stub.load() if isinstance(stub, LazyCommand) else stub
        if hasattr(own, "commands"):
            if own.invoke_without_command:
                yield (*path, name), own
            yield from commands(own, (*path, name))
        else:
            yield (*path, name), own


STACK = typer.Typer()
command.add(STACK)
COMMANDS = [
    *commands(typer.main.get_group(STACK)),
    *commands(typer.main.get_command(app)),
]  # of a group that has not looked for entry points yet


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_help_says_what_it_does_and_ends_with_an_example(path: tuple[str, ...], command: Any) -> None:
    result = call(*path, "--help")
    assert result.exit_code == 0
    assert command.help.splitlines()[0].split(".")[0][:40] in result.stdout
    assert (
        f"Example: {'INTERESTS_LOG__FORM=json ' if path == ('worker',) else ''}interests {' '.join(path)}"
        in result.stdout
    )
    assert "--debug" in result.stdout


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_help_breaks_its_lines_where_the_terminal_ends_and_nowhere_else(path: tuple[str, ...], command: Any) -> None:
    shown = [line.strip() for line in call(*path, "--help").stdout.splitlines()]
    for paragraph in command.help.split("\n\n"):
        words = " ".join(paragraph.split())
        assert set(textwrap.wrap(words, 98, break_on_hyphens=False)) <= set(shown)


def test_a_narrow_terminal_shows_the_whole_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERESTS_KAFKA__SESSION_TIMEOUT_S", "6")
    monkeypatch.setenv("INTERESTS_KAFKA__GROUP", "a-group-of-a-long-name-beside-it")  # as wide as the column gets
    shown = RUNNER.invoke(app, ["settings", "--changed"], env={"COLUMNS": "80", "NO_COLOR": "1"}).stdout
    assert "INTERESTS_KAFKA__SESSION_TIMEOUT_S" in "".join(shown.split())


def test_nothing_asked_is_help_and_version_is_one_line() -> None:
    assert "Commands" in call().stdout
    assert len(call("--version").stdout.splitlines()) == 1


def test_a_name_that_is_nearly_a_command_is_corrected() -> None:
    result = call("shwo")
    assert result.exit_code == 2
    assert "No such command 'shwo'. Did you mean 'show'?" in result.stderr


@pytest.mark.parametrize("row", Commands.rows, ids=[row.name for row in Commands.rows])
def test_the_help_page_says_of_a_command_what_the_command_says_first(row: CommandRow) -> None:
    own = app_commands()[row.name].load()
    assert row.line == inspect.cleandoc(own.help or "").split("\n\n")[0]
    assert row.line.replace(" ", "") in "".join(call("--help").stdout.split()).replace("│", "")


def app_commands() -> dict[str, LazyCommand]:
    return typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group


def imported(*arguments: str, **variables: str) -> tuple[str, set[str]]:
    """What a process of its own prints for a command line, and which modules it has imported at its end."""
    code = (
        "import atexit, json, sys\n"
        "atexit.register(lambda: print(json.dumps(list(sys.modules)), file=sys.stderr))\n"
        "from streams.commands.cli import app\n"
        "app(prog_name='interests')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": sys.path[0], **variables},  # with the package that `installed` put first
    )  # fmt: skip
    return done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


MODULES = {row.module for row in Commands.rows}
COMPLETION = {"_INTERESTS_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "interests "}


@pytest.mark.parametrize(
    ("arguments", "variables"), [(["--help"], {}), (["--version"], {}), ([], COMPLETION)],
    ids=["help", "version", "completion"],
)  # fmt: skip
def test_no_command_is_imported_to_be_listed(arguments: Sequence[str], variables: dict[str, str]) -> None:
    shown, modules = imported(*arguments, **variables)
    assert modules.isdisjoint(MODULES | {"numpy", "aiokafka", "fastapi", "qdrant_client", "streams.settings.service"})
    if "--version" not in arguments:
        assert all(name in shown for name in ("up", *(row.name for row in Commands.rows)))


def test_a_command_is_imported_when_it_is_asked_for_and_no_other_is() -> None:
    _, modules = imported("rank", "--help")
    assert modules & MODULES == {"streams.commands.rank"}


def test_completion_goes_into_a_command() -> None:
    shown, _ = imported(**{**COMPLETION, "_TYPER_COMPLETE_ARGS": "interests topics cr"})
    assert "create" in shown
    assert "list" not in shown


def test_the_commands_of_packages_stand_on_the_help_page_with_the_first_line_of_their_own_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "another", {"mine": "of_another:add", "show": "of_another:add"}, monkeypatch)
    (tmp_path / "of_another.py").write_text(
        "def add(app):\n"
        "    @app.command('mine')\n"
        "    def mine() -> None:\n"
        '        """Do what another package does."""\n'
        "        print('done')\n"
    )
    page = call("--help").stdout
    assert "Run everything on this machine" in page
    assert "Do what another package does." in page
    assert page.index(" up ") < page.index(" worker ") < page.index(" mine ") < page.index("Ask the API")
    assert call("mine").stdout == "done\n"
    assert "Draw a person's tree" in call("show", "--help").stdout  # nobody takes a command's place


@pytest.mark.parametrize("value", ["of_nobody:add", "streams.commands.show:nothing", "streams.commands.show:add"])
def test_a_package_that_is_broken_takes_no_other_command_away(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "another", {"mine": value}, monkeypatch)
    page = call("--help").stdout
    assert "mine" in page
    assert "Cannot be used: " in page
    assert "Draw a person's tree of interests." in page
    assert call("mine").exit_code == 1


def test_a_command_of_an_extra_that_is_not_installed_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "interest-streams", {}, monkeypatch)
    assert "Run everything on this machine" not in call("--help").stdout
    result = call("up", "--ports", "any")
    assert result.exit_code == 2
    assert "No such command 'up': pip install 'interest-streams[embedded]' adds it." in result.stderr


def test_a_port_choice_that_is_none_ends_with_2() -> None:
    result = call("up", "--ports", "some")
    assert result.exit_code == 2
    assert "expected default, any or free" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("set it"), 2),
        (BrokerUnavailable("away"), 1),
        (Fenced("owned elsewhere"), 1),
        (PoisonError("bad", reason="bad_json"), 1),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_our_errors_are_one_line_and_an_exit_code(error: Exception, code: int, debug: bool) -> None:
    mine = typer.Typer()

    def fails() -> None:
        """Fail."""
        raise error

    register(mine, "fails", example="interests fails")(fails)
    result = RUNNER.invoke(mine, ["--debug"] if debug else [])
    assert result.exit_code == code
    assert f"error: {error}" in result.stderr
    assert ("Traceback" in result.stderr) is debug
    if not debug:
        assert len(result.stderr.splitlines()) == 1
    assert ("interests doctor" in result.stderr) is isinstance(error, BrokerUnavailable)


def test_other_errors_are_not_hidden() -> None:
    mine = typer.Typer()

    def fails() -> None:
        """Fail."""
        raise ZeroDivisionError

    register(mine, "fails", example="interests fails")(fails)
    assert isinstance(RUNNER.invoke(mine, []).exception, ZeroDivisionError)


def test_a_missing_extra_says_what_to_install() -> None:
    with pytest.raises(ConfigurationError, match=r"interest-streams\[encoder\]"), extra("encoder"):
        raise ModuleNotFoundError("no", name="torch")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["produce"], "expected either a FILE"),
        (["produce", "-", "--user", "u1"], "expected either a FILE"),
        (["produce", "--user", "u1", "--items"], "--items takes lines"),
        (["produce", "--user", "u1", "--type", "click", "--item", "i", "--context", "place"], "expected name=value"),
        (["replay"], "expected --events FILE"),
        (["replay", "--events", "LOG", "--speed", "0"], "expected a number above 0, or max"),
        (["replay", "--events", "LOG", "--speed", "fast"], "expected a number above 0, or max"),
        (["replay", "--events", "LOG", "--shift-to", "yesterday"], "expected now, a time before it"),
        (["replay", "--events", "LOG", "--shift-to", "-3000w"], "outside 1971 to 2099"),
        (["show", "u1", "--at", "0001-01-01"], "outside 1971 to 2099"),
        (["produce", "--user", "u1", "--type", "search", "--text", "tea", "--ts", "1970-01-02"], "outside 1971"),
        (["show", "u1", "--at", "noon"], "expected now, a time before it"),
        (["show", "u1", "--level", "hobby"], "expected one of profile"),
        (["recommend", "u1", "--context", "evening"], "expected name=value"),
        (["recommend", "u1", "--context", "place=home"], "expected daypart or device"),
        (["recommend", "u1", "--key-file", "/nowhere"], "cannot read the key file"),
        (["recommend", "u1", "--key-file", "LOG"], "has 0 lines, expected the key alone"),
        (["recommend", "u1", "--api", "localhost:8080"], "expected one such as http://"),
        (["rank", "u1"], "expected something to put in order"),
        (["rank", "", "--item", "i1"], "an id is empty"),
        (["audience"], "expected one of --text TEXT and --item ID"),
        (["audience", "--text", "tea", "--item", "i1"], "expected one of --text TEXT and --item ID"),
        (["audience", "--text", "tea", "--level", "hobby"], "expected one of profile"),
        (["audience", "--text", "tea", "--path", "/x" * 200], "path: String should have at most 200"),
        (["erase", "u1"], "--yes goes ahead"),
        (["erase", "u1", "--yes", "--event-id", "e1"], "it goes with --verify"),
        (["concepts", "build", "--out", "x.npz"], "expected one of --from-taxonomy"),
        (["concepts", "build", "--out", "/nowhere/x.npz", "--from-taxonomy"], "there is no directory"),
        (["encoder", "export", "/nowhere"], "config.json"),
    ],
)
def test_arguments_that_do_not_fit_end_with_2_before_anything_connects(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text("")
    result = call(*[str(log) if one == "LOG" else one for one in arguments])
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_log_is_moved_to_a_time_before_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERESTS_KAFKA__BROKERS", "127.0.0.1:1")
    (tmp_path / "log.jsonl").write_text("")
    result = call("replay", "--events", str(tmp_path / "log.jsonl"), "--shift-to", "-2h")
    assert "Kafka at 127.0.0.1:1" in result.stderr  # so far, and no word about the time


@pytest.mark.parametrize("command", ["recommend", "rank", "explain", "audience", "watch", "erase"])
def test_an_api_that_is_away_is_one_line_that_says_what_to_start(command: str) -> None:
    arguments = {
        "rank": ["u1", "--item", "i1"], "explain": ["u1", "i1"], "audience": ["--text", "tea"],
        "erase": ["u1", "--yes"],
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    result = RUNNER.invoke(
        app, [command, *arguments.get(command, ["u1"]), "--api", url],
        env={"COLUMNS": "100", "NO_COLOR": "1", "INTERESTS_CLIENT__DEADLINE_S": "0.3"},
    )  # fmt: skip
    assert result.exit_code == 1
    error = result.stderr.splitlines()[-1]
    assert error.startswith(f"error: no API answers at {url} (connection refused): `interests up`")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--type", "klick", "--item", "i1"], "unknown_type"),
        (["--type", "click"], "missing_field: item_id: required for this type"),
        (["--type", "rating", "--item", "i1"], "missing_field: rating"),
        (["--type", "rating", "--item", "i1", "--rating", "7"], "out_of_range"),
        (["--type", "impression", "--shown", "a", "--clicked", "b"], "out_of_range: clicked"),
    ],
)
def test_an_event_that_would_be_a_dead_letter_is_refused_before_anything_connects(
    arguments: list[str], told: str
) -> None:
    result = call("produce", "--user", "u1", *arguments)
    assert result.exit_code == 1
    assert f"error: {told}" in result.stderr


@pytest.mark.parametrize(("ts", "told"), [("soon", "expected now"), ("1700000000", "seconds?")])
def test_a_time_is_read_as_everywhere_before_anything_connects(ts: str, told: str) -> None:
    result = call("produce", "--user", "u1", "--type", "click", "--item", "i1", "--ts", ts)
    assert result.exit_code == 2
    assert told in result.stderr


def test_settings_that_do_not_fit_end_with_2_and_name_the_setting_not_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INTERESTS_KAFKA__PARTITIONS", "sesame")
    result = call("topics", "list")
    assert result.exit_code == 2
    assert "kafka.partitions" in result.stderr
    assert "sesame" not in result.stderr


def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERESTS_QDRANT__API_KEY", "open-sesame")
    monkeypatch.setenv("INTERESTS_KAFKA__SASL_PASSWORD", "open-sesame")
    shown = call("settings", "--changed").stdout
    assert "sesame" not in shown
    assert "api_key" in shown
    assert "sasl_password" in shown
    assert "partitions" not in shown
    assert "partitions" in call("settings").stdout


def test_a_learner_without_a_topic_of_examples_ends_with_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERESTS_KAFKA__EXAMPLES_TOPIC", "")
    result = call("learner")
    assert result.exit_code == 2
    assert "kafka.examples_topic is empty" in result.stderr


def test_an_option_of_several_commands_is_declared_once() -> None:
    """What two modules declare word for word belongs into `streams/commands/options.py`."""
    declared: dict[str, list[str]] = {}
    for module in sorted((ROOT / "streams" / "commands").glob("*.py")):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"typer.Option", "typer.Argument"}:
                declared.setdefault(ast.unparse(node), []).append(module.name)
    assert len(declared) > 100
    assert {call: modules for call, modules in declared.items() if len(set(modules)) > 1} == {}

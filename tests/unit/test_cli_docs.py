"""docs/commands.md names every command and option, and docs/settings.md is what the code says."""

from __future__ import annotations

import html
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streams.commands.cli import app
from streams.settings.document import FILE, defaults, markdown, rows
from streams.settings.service import Settings
from tests.unit.test_cli import COMMANDS

ROOT = Path(__file__).parents[2]
INDEX = (ROOT / "streams" / "api" / "ui" / "index.html").read_text(encoding="utf-8")
PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `interests (.+?)`\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))


def test_every_command_has_its_section() -> None:
    without_arguments = {re.sub(r"( [A-Z_]+)+$", "", name) for name in SECTIONS}
    assert without_arguments == {" ".join(path) for path, _ in COMMANDS}


def section_of(path: tuple[str, ...]) -> str:
    """The part of the page about a command, with its heading."""
    mine = " ".join(path)
    named = {name: f"{name}\n{text}" for name, text in SECTIONS.items()}
    exact = [text for name, text in named.items() if name == mine]
    (section,) = exact or [text for name, text in named.items() if re.fullmatch(rf"{mine}( [A-Z_]+)+", name)]
    return section


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_option_is_in_its_table_and_no_other_is(path: tuple[str, ...], command: object) -> None:
    section = section_of(path)
    documented = set(re.findall(r"^\| `(--?[\w-]+)", section, re.MULTILINE))
    options = {
        param.opts[0]
        for param in command.params  # type: ignore[attr-defined]  # a click command
        if param.param_type_name == "option"
    }
    assert documented == options - {"--debug", "--help"}
    arguments = [p.name for p in command.params if p.param_type_name == "argument"]  # type: ignore[attr-defined]  # as above
    for name in arguments:
        assert re.search(rf"\b{name}\b|`[A-Z_]+`", section, re.IGNORECASE)


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_the_defaults_in_the_tables_are_those_of_the_options(path: tuple[str, ...], command: object) -> None:
    documented = dict(re.findall(r"^\| `(--?[\w-]+)[^|]*\|([^|]*)\|", section_of(path), re.MULTILINE))
    for param in command.params:  # type: ignore[attr-defined]  # a click command
        default = getattr(param.default, "value", param.default)
        if param.opts[0] not in documented or default in {None, False, "", ()}:
            continue
        told = documented[param.opts[0]].strip().strip("`")
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert float(told) == default, param.opts[0]
        else:
            assert told == ("on" if default is True else str(default)), param.opts[0]


PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [
    *(
        (page.name, line)
        for page in PAGES
        for line in re.findall(
            r"^ {4}(?:[A-Z_]+=\S+ )*interests (.+?)(?= #| [|<]| 2?>| \[|$)",
            page.read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    ),
    *(("index.html", html.unescape(line)) for line in re.findall(r"<code>interests (.+?)</code>", INDEX)),
]


@pytest.mark.parametrize(("page", "line"), EXAMPLES, ids=[f"{page}: {line}" for page, line in EXAMPLES])
def test_every_example_is_one_that_its_command_reads(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)
    for word in words:
        if re.search(r"\.(jsonl|gz|json|parquet)$", word):
            (tmp_path / word).touch()
        elif re.fullmatch(r"(?:\.?[\w-]+/)*[\w-]+", word) and not word.startswith("-"):
            (tmp_path / word).mkdir(parents=True, exist_ok=True)  # it may be a folder that has to be there
    paths = [path for path, _ in COMMANDS if tuple(words[: len(path)]) == path]
    assert paths, f"{page}: {line}"
    path = max(paths, key=len)
    dict(COMMANDS)[path].make_context(" ".join(path), words[len(path) :])


def test_settings_page_is_made_from_the_code() -> None:
    assert FILE.read_text(encoding="utf-8") == markdown(defaults()), "run python -m streams.settings.document"


def test_settings_page_ignores_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERESTS_KAFKA__GROUP", "of-this-machine")
    printed = CliRunner().invoke(app, ["settings", "--markdown"]).stdout
    assert "of-this-machine" not in printed
    assert printed.strip() == markdown(defaults()).strip()


def test_every_setting_is_described() -> None:
    mine = [row for _, about, section in rows(defaults()) for row in section if about]
    assert len(mine) == sum(len(section.annotation.model_fields) for section in Settings.model_fields.values())  # type: ignore[union-attr]  # sections are models
    assert [row.name for row in mine if not row.field.description] == []

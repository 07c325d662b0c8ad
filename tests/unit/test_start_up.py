"""How soon a command answers, by what it imports: a clock would tell of the machine, the modules tell of the code.

Seconds were measured when these bounds were set: half a second at most for any help page, on a quiet machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: Packages that take a tenth of a second or more, of which no help page needs one.
HEAVY: Final = {
    *("aiohttp", "aiokafka", "cryptography", "fastapi", "faust", "google", "grpc", "mode", "narwhals", "onnx"),
    *("onnxruntime", "opentelemetry", "openvino", "pandas", "plotly", "prometheus_client", "pytriton", "qdrant_client"),
    *("qdrant_edge", "scipy", "sklearn", "starlette", "tokenizers", "torch", "transformers", "tritonclient", "uvicorn"),
    *("urllib3", "yaml"),
}
#: Modules of any kind, about an eighth above what Python 3.11 and the locked packages need.
MOST_FOR_THE_LIST, MOST_FOR_A_HELP_PAGE = 520, 800

_EACH_HELP_PAGE: Final = """
import contextlib, io, json, sys
from typer.main import get_command
from streams.commands.cli import app
from streams.commands.lazy import LazyCommand

heavy, found = set(json.loads(sys.argv[1])), {}

def look(path):
    with contextlib.redirect_stdout(io.StringIO()) as page:
        get_command(app)([*path, "--help"], standalone_mode=False)
    assert " ".join(path) in page.getvalue()
    for name in sorted(heavy.intersection(sys.modules)):
        found.setdefault(name, " ".join(path))

def walk(command, path):
    own = command.load() if isinstance(command, LazyCommand) else command
    look(path)
    for name in getattr(own, "commands", ()):
        walk(own.commands[name], [*path, name])

top = get_command(app)
for name in top.list_commands(None):
    walk(top.commands[name], [name])
print(json.dumps([found, [module for module in sys.modules if module.startswith("streams.commands.")]]))
"""


def python(code: str, *arguments: str) -> str:
    """Standard output of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules(code: str) -> list[str]:
    """The modules of a process of its own once it has run `code`."""
    shown = python(f"import sys, json, io\nkept, sys.stdout = sys.stdout, io.StringIO()\n{code}\n"
                   "json.dump(list(sys.modules), kept)")  # fmt: skip
    return list(json.loads(shown))


def help_page(*path: str) -> list[str]:
    """The modules of a process that has shown the help page of a command."""
    return modules(
        f"from typer.main import get_command\nfrom streams.commands.cli import app\n"
        f"get_command(app)({[*path, '--help']!r}, standalone_mode=False)"
    )


def test_the_package_itself_imports_nothing() -> None:
    assert set(modules("import streams")) - set(modules("")) == {"streams"}


def test_the_list_of_commands_needs_few_modules_and_none_that_is_heavy() -> None:
    needed = help_page()
    assert HEAVY.isdisjoint(needed)
    assert len(needed) <= MOST_FOR_THE_LIST


def test_no_help_page_imports_what_its_command_works_with() -> None:
    found, imported = json.loads(python(_EACH_HELP_PAGE, json.dumps(sorted(HEAVY))))
    assert not found, f"imported for a help page, by the first command that did: {found}"
    assert {"streams.commands.show", "streams.commands.worker", "streams.commands.evaluate"} <= set(imported)


@pytest.mark.parametrize(
    "program", ["streams.worker.run", "streams.learner.run", "streams.api.app", "deploy.embedded.qdrant.__main__"]
)
def test_of_qdrants_client_no_program_imports_more_than_messages(program: str) -> None:
    theirs = [name for name in modules(f"import {program}") if name.startswith("qdrant_client.")]
    assert "qdrant_client.grpc" in theirs
    assert [name for name in theirs if not name.startswith("qdrant_client.grpc")] == []


@pytest.mark.parametrize("command", ["watch", "show", "concepts"])  # those with the most
def test_a_help_page_needs_few_modules(command: str) -> None:
    assert len(help_page(command)) <= MOST_FOR_A_HELP_PAGE

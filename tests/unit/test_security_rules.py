"""What the code never does: read pickles, listen to the world, or take a secret from the command line."""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from streams.settings.document import defaults, rows

ROOT = Path(__file__).resolve().parents[2]
CODE = [path for folder in ("streams", "encoders", "deploy", "model_repo") for path in (ROOT / folder).rglob("*.py")]
#: Modules that run what they read, or hand a command to a shell.
NEVER = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
EVERYWHERE = re.compile(r"0\.0\.0\.0|\[::\]|^::$|INADDR_ANY")


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield path, node


def test_nothing_reads_a_pickle() -> None:
    assert len(CODE) > 100
    found = []
    for path, node in nodes():
        if isinstance(node, ast.Import):
            found += [(path, alias.name) for alias in node.names if alias.name.split(".")[0] in NEVER]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in NEVER:
            found.append((path, node.module))
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg, value) in {("allow_pickle", True), ("weights_only", False), ("shell", True)}:
                    found.append((path, str(keyword.arg)))
    assert not found


def test_no_address_of_all_interfaces_is_written_anywhere() -> None:
    found = [
        (path, node.value)
        for path, node in nodes()
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and EVERYWHERE.search(node.value)
        and " " not in node.value
    ]  # fmt: skip
    assert not found


def test_what_listens_by_default_listens_on_loopback() -> None:
    hosts = {row.name: row.value for _, _, mine in rows(defaults()) for row in mine if row.name.endswith("host")}
    assert {"worker.metrics_host", "api.host"} <= hosts.keys()
    assert all(ipaddress.ip_address(host).is_loopback for host in hosts.values())


def test_every_secret_can_come_from_a_file() -> None:
    secrets = 0
    for section in type(defaults()).model_fields:
        model: BaseModel = getattr(defaults(), section)
        for name, field in type(model).model_fields.items():
            if SecretStr in getattr(field.annotation, "__args__", ()) or field.annotation is SecretStr:
                secrets += 1
                assert f"{name}_file" in type(model).model_fields, f"{section}.{name} has no {name}_file"
    assert secrets >= 2


@pytest.mark.parametrize("path", [path for path in CODE if path.parent.name == "commands"], ids=lambda path: path.stem)
def test_no_command_takes_a_secret_as_an_option(path: Path) -> None:
    assert not re.findall(r'"--(?:[\w-]*-)?(?:password|secret|token|api-key)"', path.read_text(encoding="utf-8"))

"""What is shown of an address holds no credentials, whichever setting names it and whichever command shows it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from streams.commands.cli import app
from streams.settings.service import Settings

PASSWORD = "hunter2"
FORMS = (
    f"http://u:{PASSWORD}@127.0.0.1:1/v1?key={PASSWORD}",
    f"http://u:a/{PASSWORD}@127.0.0.1:1",  # a slash that is not escaped: no URL at all
    f"u:{PASSWORD}@127.0.0.1:1",
)
#: Settings of addresses that take a URL; those of Kafka, Triton and Qdrant refuse one, without a word of it.
ADDRESSES = ("client.url", "api.host", "worker.metrics_host")


def taking_an_address(address: str) -> Iterator[tuple[str, Any]]:
    """Every setting that can hold it, by variable and value: new ones too."""
    for section, part in Settings.model_fields.items():
        for name in type(part.default).model_fields:
            for value in (address, (address,)):
                try:
                    taken = type(part.default)(**{name: value})
                except (ValidationError, ValueError):
                    continue
                if str(getattr(taken, name)) == str(value):
                    text = value if isinstance(value, str) else f'["{address}"]'
                    yield f"{section}.{name}", text
                break


def variable(name: str) -> str:
    return f"INTERESTS_{name.replace('.', '__').upper()}"


@pytest.mark.parametrize("address", FORMS)
def test_the_settings_are_shown_without_credentials(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict(taking_an_address(address))
    assert set(ADDRESSES) <= set(found)
    for name, value in found.items():
        monkeypatch.setenv(variable(name), value)
    for options in ([], ["--changed"]):
        shown = CliRunner().invoke(app, ["settings", *options], env={"COLUMNS": "400"})
        assert shown.exit_code == 0, shown.output
        assert PASSWORD not in shown.output
        assert shown.output.count("***@127.0.0.1:1") >= len(ADDRESSES)


@pytest.mark.parametrize("address", FORMS)
@pytest.mark.parametrize(
    ("setting", "command"),
    [
        ("kafka.brokers", "topics list"),
        ("kafka.brokers", "produce --user ana --type search --text tea"),
        ("triton.url", "encoder info"),
        ("qdrant.host", "show ana"),
        ("client.url", "recommend ana"),
        ("client.url", "recommend ana --debug"),
        ("client.url", "erase ana --yes"),
        ("api.host", "api"),
        ("worker.metrics_host", "worker"),
    ],
)
def test_a_command_that_fails_names_the_address_without_credentials(
    setting: str, command: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable(setting), address)
    monkeypatch.setenv("INTERESTS_QDRANT__GRPC_PORT", "1")
    failed = CliRunner().invoke(app, command.split())
    assert failed.exit_code in (1, 2), failed.output
    assert "error: " in failed.output
    assert PASSWORD not in failed.output


def test_an_option_s_address_is_shown_without_credentials() -> None:
    for address in FORMS:
        failed = CliRunner().invoke(app, ["recommend", "ana", "--api", address])
        assert failed.exit_code == 2
        assert PASSWORD not in failed.output


def test_the_doctor_names_addresses_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTERESTS_CLIENT__URL", FORMS[0])
    monkeypatch.setenv("INTERESTS_KAFKA__BROKERS", "127.0.0.1:1")  # a stack may run here
    found = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "400"})
    assert found.exit_code == 1
    assert PASSWORD not in found.output
    assert "API at http://***@127.0.0.1:1/v1?***" in found.output


def test_the_trace_of_a_defect_holds_no_credentials() -> None:
    code = (
        "import sys; from streams.commands.cli import app; import streams.commands.settings as command\n"
        f"def broken(): raise ValueError({FORMS[0]!r})\n"
        "command.load_settings = broken; app(['settings'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "ValueError: http://***@127.0.0.1:1/v1?***" in done.stderr
    assert PASSWORD not in done.stderr.replace(code, "")

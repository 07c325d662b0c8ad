"""`interests api` and `interests api key` where nothing needs to run: what cannot work, and keys."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import pytest

from streams.api.access import Access
from streams.api.keys import read_keys
from streams.settings.service import ApiSettings
from tests.unit.test_cli import call


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "no.such.host.invalid"])
def test_off_loopback_keys_are_asked_for(host: str) -> None:
    result = call("api", "--host", host)
    assert result.exit_code == 2
    assert "interests api key" in result.stderr


def test_a_taken_port_and_an_address_of_another_machine() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        result = call("api", "--port", str(taken.getsockname()[1]))
    assert (result.exit_code, "cannot listen" in result.stderr) == (2, True)
    assert call("api", "--port", "70000").exit_code == 2
    assert call("api", "--workers", "0").exit_code == 2


def test_a_key_goes_to_standard_output_and_its_line_to_standard_error(tmp_path: Path) -> None:
    made = call("api", "key", "gate", "--scope", "ingest", "--scope", "read")
    assert made.exit_code == 0
    key, line = made.stdout.strip(), made.stderr.strip()
    assert key not in line
    (kept,) = read_keys(line)
    assert (kept.name, kept.scopes) == ("gate", {"ingest", "read"})
    (tmp_path / "keys").write_text(line)
    assert Access(ApiSettings(host="0.0.0.0", keys_file=tmp_path / "keys")).principal(None, key).name == "gate"
    assert read_keys(call("api", "key", "board").stderr)[0].scopes == {"read"}


@pytest.mark.parametrize("arguments", [("a b",), ("a:b",), ("x", "--scope", "everything")])
def test_keys_that_cannot_be(arguments: tuple[str, ...]) -> None:
    result = call("api", "key", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""

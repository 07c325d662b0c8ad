"""What is no text and no settings: one line that says where, and 2; never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.base.errors import ConfigurationError
from streams.client import BadRequest, InterestClient
from streams.settings.service import load
from tests.fixtures.path import ROOT

HALF = "\ud800"
EMOJI_HALF = "a\udc9fb"


@pytest.mark.parametrize(
    "arguments",
    [
        [b"show", b"l\xff"],
        [b"\xff"],
        [b"rank", b"u", b"--text", b"\xc3"],
        [b"erase", b"--yes", b"\xf0\x9f"],
        [b"dead-letters", b"open", b"\xff.dead"],
        [b"up", b"--data\xff"],
    ],
)
def test_arguments_that_are_not_utf_8(arguments: list[bytes]) -> None:
    done = subprocess.run(
        [sys.executable.encode(), b"-m", b"streams.commands.cli", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PYTHONUTF8": "1"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: argument ")
    assert done.stderr.count("\n") == 1


def fails(monkeypatch: pytest.MonkeyPatch, *said: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load()
    text = str(raised.value)
    assert "\n" not in text
    assert "hush" not in text
    for one in said:
        assert one in text, text
    return text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[kafka]\nbrokers = \n", ("line 2", "column 11")),
        (b"[kafka\n", ("line 1", "column 7")),
        (b'[kafka]\nbrokers = "hush\n', ("line 2",)),
        (b'[kafka]\ngroup = "a"\ngroup = "b"\n', ("line 3",)),
        (b'[kafka]\nbrokers = "\xff"\n', ("not UTF-8",)),
        (b"\xef\xbb\xbf[kafka]\n", ("line 1", "column 1")),
        (b"a = " + b"[" * 5_000, ()),
    ],
)
def test_a_settings_file_that_is_no_toml(
    text: bytes, said: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(text)
    monkeypatch.setenv("INTERESTS_CONFIG", str(file))
    assert fails(monkeypatch, *said).startswith(str(file))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("INTERESTS_KAFKA__EVENT_TOPICS", '["hush"', ("line 1", "column 8")),
        ("INTERESTS_KAFKA__EVENT_TOPICS", '["hush",\n"b",]', ("line 2", "column 5")),
        ("INTERESTS_KAFKA", '{"brokers": }', ("line 1", "column 13")),
        ("INTERESTS_KAFKA__BROKERS", "hush\udcff:1", ("UTF-8",)),
    ],
)
def test_a_variable_that_is_no_json_or_no_text(
    name: str, value: str, said: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert fails(monkeypatch, *said).startswith(f"{name}: ")


CALLS: dict[str, Callable[[InterestClient, str], Any]] = {
    "a user's id": lambda client, text: client.interests(text),
    "an item's id": lambda client, text: client.explain("u1", text),
    "an erased user's id": lambda client, text: client.delete_user(text),
    "a level": lambda client, text: client.interests("u1", levels=[text]),  # type: ignore[list-item]  # what a caller may do
    "a part of the day": lambda client, text: client.recommendations("u1", daypart=text),
    "a cursor": lambda client, text: client.users(cursor=text),
    "a text": lambda client, text: client.rank("u1", texts=[text]),
    "an item": lambda client, text: client.rank("u1", items=[text]),
    "a situation": lambda client, text: client.rank("u1", items=["i1"], context={"device": text}),
    "a situation's name": lambda client, text: client.rank("u1", items=["i1"], context={text: "x"}),
    "an audience's text": lambda client, text: client.audience(text=text),
    "an audience's path": lambda client, text: client.audience(text="a", path=text),
    "an event": lambda client, text: client.send_event({"user_id": text, "type": "search", "text": "a"}),
    "an event's field": lambda client, text: client.send_event({"user_id": "u1", text: "a"}),
    "events": lambda client, text: client.send_events([{"user_id": "u1", "context": {"a": text}}]),
    "a title": lambda client, text: client.put_item("i1", {"title": text}),
}


@pytest.mark.parametrize("half", [HALF, EMOJI_HALF])
@pytest.mark.parametrize("what", CALLS)
def test_half_a_character_never_leaves_the_client(what: str, half: str) -> None:
    with InterestClient("http://127.0.0.1:1", deadline_s=1.0) as client, pytest.raises(BadRequest) as raised:
        CALLS[what](client, half)
    assert "\n" not in str(raised.value)
    str(raised.value).encode()

"""The commands that ask the API, against the real one."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner, Result

from streams.client import InterestClient, NotFound
from streams.commands.cli import app
from tests.fixtures.api import ApiServer
from tests.fixtures.path import ROOT, Rig

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("broker", ["tansu"], indirect=True)]
Call = Callable[..., Result]


@pytest.fixture
def call(api: ApiServer) -> Call:
    """Run a command with the key of a name."""

    def run(*arguments: str, key: str | None = "read", width: int = 80, **env: str) -> Result:
        told = {"COLUMNS": str(width), "NO_COLOR": "1", "INTERESTS_CLIENT__URL": api.url, **env}
        if key:
            told["INTERESTS_CLIENT__KEY_FILE"] = str(api.key_file(key))
        result = CliRunner().invoke(app, list(arguments), env=told)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if "--json" not in arguments and "--export" not in arguments:
            assert max((cell_len(line) for line in result.stdout.splitlines()), default=0) <= width
        return result

    return run


def fan(api: ApiServer, user: str, *item_ids: str) -> None:
    """A user who has liked items, folded."""
    with InterestClient(api.url, key=api.keys["all"]) as client:
        client.send_events([{"user_id": user, "type": "like", "item_id": item_id} for item_id in item_ids])
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                if client.interests(user, prior=False).events >= len(item_ids):
                    return
            except NotFound:
                pass
            time.sleep(0.1)
    raise AssertionError("not folded in time")


def fan_announced(api: ApiServer, user: str, item_id: str) -> None:
    """A user who has liked an item, folded and announced to all who watch: whoever begins now does not hear of it."""
    with InterestClient(api.url, key=api.keys["all"]) as client:
        updates = client.live(user)
        assert next(updates).whole  # subscribed
        fan(api, user, item_id)
        assert any(event.item_id == item_id for update in updates for event in update.events)


@pytest.fixture(scope="module")
def ana(api: ApiServer, running_path: Rig) -> str:
    """Somebody who likes football and tea."""
    user = f"{running_path.user()}/ana 😀"
    fan(api, user, "football", "茶")
    return user


@pytest.mark.parametrize("width", [40, 80, 120])
def test_recommendations_say_why(call: Call, ana: str, width: int) -> None:
    result = call("recommend", ana, "-k", "3", "--seen", width=width)
    assert result.exit_code == 0
    assert ana in result.stdout
    assert re.search(r"^  1 .+█.* \d\.\d{3}$", result.stdout, re.M)
    told = json.loads(call("recommend", ana, "-k", "3", "--seen", "--json").stdout)["items"]
    assert (told[0]["title"][:20] in result.stdout) is (width > 40)
    assert (re.search(r"(Football \(soc|Coffee & tea) *[+-]", result.stdout) is not None) is (width > 40)


def test_recommendations_without_reasons_and_as_json(call: Call, ana: str) -> None:
    assert "Football (soc" not in call("recommend", ana, "--seen", "--no-reasons").stdout
    told = json.loads(call("recommend", ana, "--json", "--seen", "-k", "2").stdout)
    assert told["user_id"] == ana
    assert len(told["items"]) == 2
    none = call("recommend", ana, "--category", "/nowhere")
    assert none.exit_code == 1
    assert "nothing to recommend" in none.stderr


def test_ranks_put_texts_beside_items_and_name_what_nobody_knows(call: Call, ana: str) -> None:
    result = call("rank", ana, "--item", "jazz", "--item", "nope", "--text", "The cup final was decided by a late goal")
    assert result.exit_code == 0
    assert re.findall(r"^ +([12]) (A quartet|“The cup)", result.stdout, re.M) in (
        [("1", "A quartet"), ("2", "“The cup")], [("1", "“The cup"), ("2", "A quartet")],
    )  # fmt: skip
    assert "nobody has described nope" in result.stderr
    assert call("rank", ana, "--item", "nope").exit_code == 1
    result = call("predict", ana, "--item", "jazz", "--item", "nope")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no model has said anything of them" in result.stderr
    assert json.loads(call("predict", ana, "--text", "a late goal", "--json").stdout)["model"] is None
    result = call("similar", "jazz", "--by", "content", "-k", "2")
    assert (result.exit_code, "content" in result.stdout) == (0, True)
    assert call("similar", "jazz", "--by", "together", "--category", "/nowhere").exit_code == 1
    assert call("similar", "nope").exit_code == 1


def test_explanations_add_up_as_shown(call: Call, ana: str) -> None:
    result = call("explain", ana, "football", "--all")
    assert result.exit_code == 0
    rows = re.findall(r" ([+−]\d\.\d{3}) +<?[\d.]+%$", result.stdout, re.M)
    score = re.search(r"^score +([+−]\d\.\d{3})$", result.stdout, re.M)
    assert score is not None
    added = sum(float(row.replace("−", "-")) for row in rows)
    assert added == pytest.approx(float(score[1].replace("−", "-")), abs=0.0006 * len(rows))
    assert "“The striker scored twice in the cup final”" in call("explain", ana, "football", width=120).stdout
    assert json.loads(call("explain", ana, "football", "--json").stdout)["item_id"] == "football"
    unknown = call("explain", ana, "nope")
    assert unknown.exit_code == 1
    assert "`interests produce --items FILE`" in unknown.stderr


def test_an_audience_is_shown_and_exported(call: Call, ana: str, tmp_path: Path) -> None:
    shown = call("audience", "--item", "football", "--min-similarity", "0.5", "--limit", "1000")
    assert shown.exit_code == 0
    assert ana in shown.stdout
    path = tmp_path / "people.jsonl"
    done = call("audience", "--item", "football", "--min-similarity", "0.5", "--limit", "1000", "--export", str(path))
    assert done.exit_code == 0
    people = [json.loads(line)["user_id"] for line in path.read_text().splitlines()]
    assert ana in people
    assert ("1 person" if len(people) == 1 else f"{len(people)} people") in done.stderr
    piped = call("audience", "--item", "football", "--limit", "1", "--export", "-")
    assert json.loads(piped.stdout)["nodes"]
    assert piped.stderr.strip() == "1 person"
    nobody = call("audience", "--text", "Tariffs on imported steel", "--min-similarity", "0.9999")
    assert nobody.exit_code == 1
    assert "nobody is" in nobody.stderr


async def test_a_tree_is_watched(call: Call, api: ApiServer, running_path: Rig) -> None:
    user = running_path.user()
    await asyncio.to_thread(fan_announced, api, user, "jazz")
    drawn = await asyncio.to_thread(call, "watch", user, "--updates", "1")
    assert drawn.exit_code == 0
    assert "Music" in drawn.stdout
    watching = asyncio.create_task(asyncio.to_thread(call, "watch", user, "--updates", "3", "--json"))
    async with asyncio.timeout(30):
        for item_id in cycle(("football", "茶")):  # until it watches, and has seen two of them
            await asyncio.to_thread(fan, api, user, item_id)
            await asyncio.sleep(0.5)
            if watching.done():
                break
    lines = [json.loads(line) for line in (await watching).stdout.splitlines()]
    assert lines[0]["whole"]
    assert {event["item_id"] for line in lines for event in line["events"]} <= {"football", "茶"}
    assert any(line["events"] for line in lines)


def test_an_erasure_prints_its_receipt_and_can_be_checked(call: Call, api: ApiServer, running_path: Rig) -> None:
    user = running_path.user()
    fan(api, user, "jazz")
    none = call("erase", user, "--verify", key="admin")
    assert none.exit_code == 1
    assert "`interests erase USER` asks for one" in none.stderr
    done = call("erase", user, "--yes", key="admin")
    assert done.exit_code == 0
    assert "holds     yes" in done.stdout
    receipt = re.search(r"receipt +(\S+)", done.stdout)
    assert receipt is not None
    checked = call("erase", user, "--verify", "--event-id", receipt[1], "--json", key="admin")
    assert checked.exit_code == 0
    assert json.loads(checked.stdout)["verified"]


def test_keys_that_are_missing_unknown_or_of_another_scope(call: Call, api: ApiServer, tmp_path: Path) -> None:
    missing = call("recommend", "u", key=None)
    assert missing.exit_code == 2
    assert "asks for a key: name a file that holds one with --key-file" in missing.stderr
    unknown = call("recommend", "u", key=None, INTERESTS_CLIENT__KEY="isk_unknown")
    assert unknown.exit_code == 2
    assert "does not take this key" in unknown.stderr
    assert "isk_unknown" not in unknown.stderr
    scope = call("erase", "u", "--yes")
    assert scope.exit_code == 2
    assert "the scope admin" in scope.stderr
    assert "`interests api key NAME --scope" in scope.stderr
    by_option = call("recommend", "u", "--key-file", str(api.key_file("read")), "--json", key=None)
    assert by_option.exit_code == 0
    for result in (missing, unknown, scope):
        assert len(result.stderr.splitlines()) == 1


def test_the_clients_page_runs(api: ApiServer, running_path: Rig, tmp_path: Path) -> None:
    """Every example of docs/client.md, as it stands but for the address."""
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    assert len(examples) == 3
    for example in examples:
        code = example.replace('"http://127.0.0.1:8080"', f"{api.url!r}, key={api.keys['all']!r}")
        exec(compile(code, "docs/client.md", "exec"), {"__name__": "example"})  # our own page

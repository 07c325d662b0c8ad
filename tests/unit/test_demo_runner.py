"""What the demo plays and what it says has changed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.demo.data import invented, real
from deploy.demo.readers import READERS
from deploy.demo.trees import changes, large, liked_shares
from streams.base.errors import ConfigurationError
from streams.commands.event_log import EventLog
from streams.commands.tree_view import Branch, TreeView
from streams.interests.nodes import Node, NodeKey
from streams.settings.service import Settings

NOW_MS = 1_760_000_000_000
POLICY = Settings().nodes.policy()


def test_the_invented_day_is_written_in_time_order(tmp_path: Path) -> None:
    data = invented(tmp_path)
    with EventLog([data.events]) as log:
        assert log.count == sum(1 for _ in log.lines()) > 1_000
        assert not log.sorted
        assert log.first_ms is not None
        assert log.last_ms is not None
        assert log.last_ms - log.first_ms < 86_400_000
    assert set(data.shown) < {reader.id for reader in READERS}
    assert len(data.shown) == 2
    assert all("invented" in user for user in data.shown)
    assert data.items.read_bytes().count(b"\n") > 200


def write(path: Path, rows: Iterable[Any]) -> None:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def clicks(users: str) -> list[dict[str, Any]]:
    """A click a second, one a letter: the letter's user."""
    return [{"user_id": user, "type": "click", "item_id": "a", "ts": NOW_MS + n * 1000} for n, user in enumerate(users)]


def test_a_real_log_shows_who_is_busy_in_both_halves_and_asks_for_what_most_is_about(tmp_path: Path) -> None:
    write(tmp_path / "items.jsonl", [{"item_id": "a", "title": "Apples"}, {"item_id": "b", "title": ""}])
    rows = clicks("xxxxyyzz" + "yyyzzzz")
    for row in rows[:9]:
        row["item_id"] = "b"  # the busier item, without a title
    write(tmp_path / "events.jsonl.gz", [*reversed(rows), "no json"])
    data = real(tmp_path, tmp_path)
    assert data.shown == {
        "y": "2 events in the first half, 3 in the second",
        "z": "1 events in the first half, 5 in the second",
    }
    assert data.sentence == "Apples"
    assert (data.items.name, data.events.name, data.of) == ("items.jsonl", "events.jsonl.gz", 0)


def test_of_a_long_log_the_last_events_are_played_with_their_items(tmp_path: Path) -> None:
    source, work = tmp_path / "log", tmp_path / "work"
    source.mkdir()
    work.mkdir()
    write(source / "items.jsonl", [{"item_id": name, "title": name} for name in "abcd"])
    rows = clicks("xxxxyy")
    rows[0]["item_id"] = "b"
    rows[5] |= {"type": "impression", "item_id": None, "items": ["c"], "clicked": []}
    write(source / "events.jsonl", reversed(rows))
    data = real(source, work, limit=4)
    played = [json.loads(line) for line in data.events.read_text().splitlines()]
    assert played == rows[2:]
    assert [json.loads(line)["item_id"] for line in data.items.read_text().splitlines()] == ["a", "c"]
    assert data.of == 6
    assert (source / "events.jsonl").read_text().count("\n") == 6


def test_a_folder_without_a_log_says_what_is_expected(tmp_path: Path) -> None:
    write(tmp_path / "items.jsonl", [])
    with pytest.raises(ConfigurationError, match=r"no events\.jsonl"):
        real(tmp_path, tmp_path)
    write(tmp_path / "events.jsonl", [])
    with pytest.raises(ConfigurationError, match="holds no events"):
        real(tmp_path, tmp_path)


def topic(path: str, net: float, t0_ms: int = NOW_MS) -> Node:
    key = NodeKey("u", "topic", path)
    return Node(key=key, direction=np.zeros(2, np.float32), mass=abs(net) + 1, net=net, t0_ms=t0_ms)


def test_shares_are_of_what_is_liked_and_still_weighs() -> None:
    half_life_ms = int(POLICY.half_life_ms("topic"))
    nodes = [topic("/new", 1.0), topic("/old", 6.0, NOW_MS - half_life_ms), topic("/pushed", -5.0)]
    assert liked_shares(nodes, NOW_MS, POLICY) == pytest.approx({"/new": 0.25, "/old": 0.75})
    assert liked_shares(nodes[2:], NOW_MS, POLICY) == {}


def test_changes_leave_out_what_has_hardly_moved() -> None:
    before = {"/a": 0.5, "/b": 0.3, "/c": 0.2}
    after = {"/a": 0.1, "/b": 0.31, "/d": 0.59}
    assert changes(before, after) == [("/d", 0.0, 0.59), ("/a", 0.5, 0.1), ("/c", 0.2, 0.0)]


def branch(path: str, mass: float, share: float, *children: Branch) -> Branch:
    return Branch(
        level="topic", path=path, name=path, mass=mass, share=share, net=1.0, first_ms=0, last_ms=0, count=1,
        expired=False, children=children,
    )  # fmt: skip


def test_only_large_branches_are_drawn() -> None:
    twigs = [branch(f"/a/{n}", 1, 0.5 if n == 0 else 0.01) for n in range(9)]
    tree = TreeView(
        user_id="u", at_ms=NOW_MS, first_ms=0, last_ms=0, count=9, erased_at_ms=0,
        topics=(branch("/a", 9, 0.9, *twigs), branch("/b", 0.1, 0.01)), session=None, contexts=(),
        aversions=(branch("/", 0.2, 1.0),), expired=3,
    )  # fmt: skip
    seen = large(tree)
    assert [one.path for one in seen.topics] == ["/a"]
    assert [one.path for one in seen.topics[0].children] == ["/a/0"]
    assert seen.aversions == ()  # a fiftieth of what is liked

"""Verification and export on the real path: what a worker folded is what the log says, now and at a past moment."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from deploy.embedded.ports import free_ports
from streams.broker.producer import Outgoing, Producer
from streams.commands.cli import app
from streams.commands.when import rfc3339
from streams.interests.contexts import situations
from streams.interests.nodes import Node, profile_key, recents_of
from streams.pipeline.ranking_view import RankingReader, interests_in
from streams.ranking.features import feature_rows
from streams.ranking.rows import NAMES as FEATURES
from streams.ranking.rows import PersonView
from streams.settings.wiring import qdrant_config
from streams.store.base import Fence
from streams.store.cards import Card
from streams.store.cohort_store import CohortStore
from streams.store.node_table import NodeTable
from streams.store.points import PointsClient
from streams.store.scan import Scan
from tests.fixtures.brokers import make_broker
from tests.fixtures.path import ROOT, Rig, environment
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.triton import TritonServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

DAY_MS = 86_400_000
NOW_MS = int(time.time() * 1000)
T0 = NOW_MS - 20 * DAY_MS
HALF = T0 + 8 * DAY_MS  # the past moment
USERS = [f"u{n}" for n in range(12)]
GONE, BACK = "u10", "u11"  # erased for good; erased, and there again
ITEMS = [
    {"item_id": "football", "title": "The striker scored twice in the final", "categories": ["Sports", "Football"]},
    {"item_id": "tennis", "title": "A long match on clay", "categories": ["Sports", "Tennis"]},
    {"item_id": "jazz", "title": "A quartet records an evening of slow jazz"},
    {"item_id": "tea", "title": "如何泡一杯好的乌龙茶", "description": "水温与时间", "ts": T0 + 12 * DAY_MS},
]
NAMES = [str(item["item_id"]) for item in ITEMS]


def events() -> list[dict[str, Any]]:
    """Sixteen days of clicks, comments, likes and what takes them back, duplicates, latecomers and two erasures."""
    made: list[dict[str, Any]] = []
    for n in range(240):
        ts, user, item = T0 + n * DAY_MS // 15, USERS[n % 12], NAMES[n * 7 % 4]
        one = {"event_id": f"e{n}", "user_id": user, "type": "click", "item_id": item, "ts": ts}
        if n % 5 == 1:
            one |= {"type": "comment", "text": ("I love this", "What a terrible waste of time")[n % 2]}
        elif n % 7 == 2:
            one |= {"type": ("like", "unlike")[n // 12 % 2], "item_id": NAMES[n % 2]}
        elif n % 11 == 3:
            one = {"event_id": f"e{n}", "user_id": user, "type": "search", "text": f"slow jazz {n % 3}", "ts": ts}
        elif n % 13 == 4:
            shown = {"items": NAMES, "clicked": [item]}
            one = {"event_id": f"e{n}", "user_id": user, "type": "impression", "ts": ts, **shown}
        elif n % 17 == 5:
            one |= {"item_id": f"own{n}", "item": {"title": f"A kettle of its own, number {n}"}, "type": "dislike"}
        made.append(one)
    made += [dict(one) for one in made[30:36]]  # twice
    made += [made.pop(5), made.pop(60)]  # late
    made += [{"event_id": f"x{user}", "user_id": user, "type": "erase", "ts": HALF + 30_000} for user in (GONE, BACK)]
    return [one for one in made if not (one["user_id"] == GONE and one["ts"] > HALF)] + [
        {"event_id": "gone", "user_id": GONE, "type": "erase", "ts": HALF + 30_000}
    ]


def call(rig: Rig, *arguments: str) -> Result:
    env = {"COLUMNS": "160", "NO_COLOR": "1", **environment(rig.settings)}
    result = CliRunner().invoke(app, list(arguments), env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def topic_of(rig: Rig, event: Mapping[str, Any]) -> str:
    return {"click": rig.clicks, "comment": rig.comments}.get(str(event["type"]), rig.events)


async def send(rig: Rig, made: list[dict[str, Any]]) -> None:
    async with Producer(rig.config) as producer:
        for topic in rig.settings.kafka.event_topics:
            mine = [
                Outgoing(one["user_id"].encode(), json.dumps(one).encode())
                for one in made
                if topic_of(rig, one) == topic
            ]
            await producer.send_packed(topic, mine)


async def live(rig: Rig, made: list[dict[str, Any]]) -> None:
    """Let a worker fold events, and end it."""
    await rig.prepare()
    worker = rig.worker()
    try:
        await rig.items(ITEMS)
        await rig.items_known(len(ITEMS))
        await send(rig, made)
        await rig.settled(120)
        await rig.until(lambda outcomes: not outcomes["behind"], 60)
        assert worker.stop() == 0, worker.log()
    finally:
        worker.kill()


@pytest.fixture(scope="module")
def rigs(
    triton: TritonServer, concept_file: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Rig]]:
    """Rigs on a broker and stores of this module's own: a whole store is exported."""
    work = tmp_path_factory.mktemp("history")
    broker = make_broker("tansu", work / "tansu")
    broker.start()
    stores: list[QdrantServer] = []

    def make(name: str) -> Rig:
        stores.append(QdrantServer(work / f"qdrant-{name}"))
        stores[-1].start()
        (work / name).mkdir()
        return Rig(broker, triton, stores[-1], work / name, concepts={"file": concept_file})

    yield make
    for store in stores:
        store.stop()
    broker.stop()


@pytest.fixture(scope="module")
def rig(rigs: Callable[[str], Rig]) -> Rig:
    """A log that a worker has folded."""
    made = rigs("whole")
    asyncio.run(live(made, events()))
    return made


def trees(folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(folder / "trees")
    return frame.sort_values(["user_id", "level", "path"]).reset_index(drop=True)


def assert_same_trees(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """The same nodes of the same weight and direction, as exactly as the encoder answers."""
    keys = ["user_id", "level", "path"]
    assert one[keys].values.tolist() == other[keys].values.tolist()
    assert one["count"].tolist() == other["count"].tolist()
    for name in ("mass", "net", "norm"):
        assert np.allclose(one[name], other[name], rtol=1e-4, atol=1e-7), name
    sums = [np.stack(frame["direction"].to_list()) * frame[["norm"]].to_numpy() for frame in (one, other)]
    assert np.abs(sums[0] - sums[1]).max() < 1e-3
    assert one["first"].tolist() == other["first"].tolist()


def test_what_a_worker_folded_is_what_the_log_says(rig: Rig) -> None:
    result = call(rig, "verify", "--all")
    assert result.exit_code == 0, result.output
    assert "is what the log says" in result.stdout
    found = json.loads(call(rig, "verify", "--all", "--json").stdout)
    assert (found["same"], found["trees"], found["not_compared"]) == (True, 12, {})
    assert found["nodes"] > 80
    one = json.loads(call(rig, "verify", "--user", "u3", "--json").stdout)
    assert (one["same"], one["trees"]) == (True, 1)


def test_a_log_of_files_says_the_same_as_the_topics(rig: Rig, tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text("".join(json.dumps(one) + "\n" for one in events()))
    found = json.loads(call(rig, "verify", "--all", "--json", "--events", str(log)).stdout)
    assert (found["same"], found["trees"], found["not_compared"]) == (True, 12, {})
    log.write_text("".join(json.dumps(one) + "\n" for one in events() if one["event_id"] != "e41"))
    found = json.loads(call(rig, "verify", "--all", "--json", "--events", str(log)).stdout)
    assert found["different"] == 1
    assert "count" in found["found"]
    both = [str(tmp_path / name) for name in ("files", "topics")]
    assert call(rig, "export", "--at", "-1m", "--out", both[0], "--from-events", str(log)).exit_code == 0
    assert json.loads((tmp_path / "files" / "export.json").read_text())["source"] == "files"


def test_every_way_a_tree_can_be_wrong_is_found(rig: Rig) -> None:
    table_points = PointsClient(qdrant_config(rig.settings))

    async def spoil() -> dict[str, Node]:
        store = rig.store()
        try:
            names = store._names
            before = {user: {n.key: n for n in await store.tree(user)} for user in USERS[:5]}
            table = NodeTable(table_points, names.interests, rig.settings.nodes.policy())
            root = {user: before[user][profile_key(user)] for user in USERS[:5]}
            session = next(n for n in before["u3"].values() if n.key.level == "topic")
            turned = replace(root["u1"], direction=-root["u1"].direction)
            applied = replace(root["u4"], applied=root["u4"].applied._replace(offsets={f"{rig.clicks}/3": 0}))
            wrong = [
                replace(root["u0"], mass=root["u0"].mass * 1.01), turned,
                replace(root["u2"], count=root["u2"].count - 1),
                replace(session, key=session.key._replace(path="/nowhere")), applied,
            ]  # fmt: skip
            await table.write(wrong, Fence(1000, 1))
            await table_points.delete_ids(names.interests, [session.id])
            return {**root, "session": session}
        finally:
            await store.close()

    async def mend(root: dict[str, Node]) -> None:
        names = rig.store()._names
        table = NodeTable(table_points, names.interests, rig.settings.nodes.policy())
        await table.write(list(root.values()), Fence(1000, 1))
        session = root["session"]
        await table_points.delete_ids(names.interests, [replace(session, key=session.key._replace(path="/nowhere")).id])
        await table_points.close()

    async def both() -> dict[str, Any]:
        root = await spoil()
        try:
            result = await asyncio.to_thread(call, rig, "verify", "--all", "--json")
            assert result.exit_code == 1
            shown = await asyncio.to_thread(call, rig, "verify", "--all")
            assert "trees differ" in shown.stdout
            assert "u0" in shown.stdout
        finally:
            await mend(root)
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    found = asyncio.run(both())
    said = {(one["user_id"], one["level"], one["what"]) for one in found["differences"]}
    assert {("u0", "profile", "mass"), ("u1", "profile", "direction"), ("u2", "profile", "count")} <= said
    assert {("u3", "topic", "missing"), ("u3", "topic", "unknown"), ("u4", "profile", "applied")} <= said
    assert {user for user, _, _ in said} == {"u0", "u1", "u2", "u3", "u4"}
    assert call(rig, "verify", "--all").exit_code == 0


def test_an_export_of_now_is_a_replay_of_everything(rig: Rig, tmp_path: Path) -> None:
    assert call(rig, "export", "--out", str(tmp_path / "now")).exit_code == 0
    at = json.loads((tmp_path / "now" / "export.json").read_text())["at"]
    result = call(rig, "export", "--at", at, "--out", str(tmp_path / "replayed"), "--events")
    assert result.exit_code == 0, result.output
    assert_same_trees(trees(tmp_path / "now"), trees(tmp_path / "replayed"))
    votes = [
        pd.read_parquet(tmp_path / name / "popularity").sort_values("item_id").reset_index(drop=True)
        for name in ("now", "replayed")
    ]
    assert len(votes[0]) >= 4
    pd.testing.assert_frame_equal(*votes, rtol=1e-4)
    sources = [json.loads((tmp_path / name / "export.json").read_text()) for name in ("now", "replayed")]
    assert [one.pop("source") for one in sources] == ["qdrant", "log"]
    assert sources[0]["settings"] == sources[1]["settings"]


def test_an_export_of_a_past_moment_is_a_replay_to_it(rig: Rig, rigs: Callable[[str], Rig], tmp_path: Path) -> None:
    at = rfc3339(HALF)
    result = call(rig, "export", "--at", at, "--out", str(tmp_path / "past"), "--events")
    assert result.exit_code == 0, result.output
    other = rigs("half")
    # A second installation that lived through the first half alone; who was erased later was never there.
    half = [one for one in events() if one["ts"] <= HALF and one["user_id"] not in {GONE, BACK}]
    asyncio.run(live(other, half))
    assert call(other, "export", "--at", at, "--out", str(tmp_path / "half")).exit_code == 0
    assert call(other, "verify", "--all").exit_code == 0
    assert_same_trees(trees(tmp_path / "past"), trees(tmp_path / "half"))
    lived = call(other, "export", "--out", str(tmp_path / "lived"))
    assert lived.exit_code == 0
    now, past = trees(tmp_path / "lived"), trees(tmp_path / "past")
    profiles = [frame[frame["level"] == "profile"].set_index("user_id") for frame in (past, now)]
    age_d = (json.loads((tmp_path / "lived" / "export.json").read_text())["at_ms"] - HALF) / DAY_MS
    kept = 0.5 ** (age_d * 86_400 / rig.settings.nodes.policy().half_life_s["profile"])
    assert np.allclose(profiles[0]["mass"] * kept, profiles[1]["mass"], rtol=1e-4)
    assert set(past["user_id"]) == {user for user in USERS if user not in {GONE, BACK}}
    ids = {one["event_id"] for one in half}
    exported = pd.read_parquet(tmp_path / "past" / "events")
    assert sorted(exported["event_id"]) == sorted(ids)
    assert exported["text"].isna().all()
    assert set(pd.read_parquet(tmp_path / "past" / "items")["item_id"]).isdisjoint({"tea"})


def test_files_are_read_by_duckdb_and_pandas(rig: Rig, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    result = call(rig, "export", "--out", str(out), "--events", "--with-text")
    assert result.exit_code == 0, result.output
    manifest = json.loads((out / "export.json").read_text())
    with duckdb.connect() as db:
        rows = dict(db.execute(f"SELECT level, count(*) FROM '{out}/trees/*.parquet' GROUP BY level").fetchall())
        assert rows["profile"] == 11  # all but who is gone
        assert sum(rows.values()) == manifest["tables"]["trees"]["rows"]
        near = db.execute(
            f"""SELECT t.user_id, list_cosine_similarity(t.direction::FLOAT[], i.vector::FLOAT[]) AS cosine
            FROM '{out}/trees/*.parquet' t, '{out}/items/*.parquet' i
            WHERE t.level = 'interest' AND t.path = '/sports/football' AND i.item_id = 'football'
            ORDER BY cosine DESC LIMIT 3"""
        ).fetchall()
        assert near[0][1] > 0.9
        share = db.execute(
            f"SELECT e.event_id, e.weight FROM '{out}/trees/*.parquet' t, UNNEST(t.evidence) AS u(e) "
            "WHERE t.user_id = 'u3' AND t.level = 'profile' ORDER BY abs(e.weight) DESC"
        ).fetchall()
        assert share
        assert all(name.startswith("e") for name, _ in share)
        typed = db.execute(f"SELECT type, count(*), max(ts) FROM '{out}/events/*.parquet' GROUP BY type").fetchall()
        assert {"click", "comment", "search", "impression"} <= {kind for kind, _, _ in typed}
        texts = db.execute(f"SELECT text FROM '{out}/events/*.parquet' WHERE type = 'comment'").fetchall()
        assert {text for (text,) in texts} == {"I love this", "What a terrible waste of time"}
    frame = pd.read_parquet(out / "trees")
    assert str(frame["last"].dtype).startswith("datetime64")
    assert np.stack(frame["direction"].to_list()).shape == (len(frame), manifest["dim"])
    assert (frame["mass"] > 0).all()
    assert GONE not in set(frame["user_id"])
    after = frame[frame["user_id"] == BACK]
    assert (after["first"].astype("int64") > 0).all()
    assert after["first"].min() > pd.Timestamp(HALF + 30_000, unit="ms", tz="UTC")
    kept = pd.read_parquet(out / "events")
    assert GONE not in set(kept["user_id"])
    assert not kept["event_id"].duplicated().any()
    assert "erase" not in set(kept["type"])
    words = pq.read_schema(next((out / "trees").glob("*.parquet"))).metadata
    assert words[b"interests.encoder"].decode() == manifest["encoder"]
    assert words[b"interests.at"].decode() == manifest["at"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*") if path.is_file()}
    assert (modes, stat.S_IMODE(out.stat().st_mode)) == ({0o600}, 0o700)
    again = call(rig, "export", "--out", str(out))
    assert (again.exit_code, "is there already" in again.stderr) == (2, True)


async def served(rig: Rig, user: str, items: list[str], at_ms: int) -> dict[str, np.ndarray[Any, Any]]:
    """The rows that the API would rank by, from what is stored now."""
    settings, policy = rig.settings, rig.settings.nodes.policy()
    store, scan = rig.store(), Scan(qdrant_config(settings))
    names, population = store._names, settings.population
    cohorts = CohortStore(
        qdrant_config(settings), population.policy(), names, group=settings.kafka.group,
        half_life_s=population.popularity_half_life_s, together_half_life_s=population.together_half_life_s,
    )  # fmt: skip

    async def cards(ids: Iterable[str]) -> dict[str, Card]:
        return {card.item_id: card for card in await scan.cards(names, list(ids))}

    reader = RankingReader(
        cards=cards, popularity=cohorts.popularity, partners=cohorts.partners,
        popularity_half_life_s=population.popularity_half_life_s, together_half_life_s=population.together_half_life_s,
    )  # fmt: skip
    try:
        tree = await store.tree(user)
        profile = next(node for node in tree if node.key.level == "profile")
        known = await cards(items)
        person = PersonView(
            interests=interests_in(tree, frozenset(situations(at_ms, {}, policy.contexts)), at_ms, policy),
            recents=await reader.recents(recents_of(profile), at_ms),
        )
        targets = await reader.targets([known[item] for item in items], at_ms)
        rows = feature_rows(person, targets, settings.ranking.policy(), at_ms=at_ms)
        return dict(zip(items, rows.values, strict=True))
    finally:
        for one in (store, scan, cohorts):
            await one.close()


def test_features_are_those_the_ranking_sees_and_nothing_of_the_moment_is_in_them(rig: Rig, tmp_path: Path) -> None:
    """Rows after the last event are those of serving; one at an event's own time does not know the event."""
    after, first = NOW_MS - DAY_MS, next(one for one in events() if one["event_id"] == "e0")
    rows = [("u4", item, after) for item in NAMES] + [("u7", "jazz", after), ("u7", "nobody-knows", after)]
    rows += [(first["user_id"], first["item_id"], first["ts"]), (first["user_id"], first["item_id"], first["ts"] + 1)]
    rows += [(GONE, "jazz", HALF - 1), (BACK, "jazz", HALF - 1), (BACK, "jazz", after)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "ts"])
    frame["ts"] = pd.to_datetime(frame["ts"], unit="ms", utc=True)
    frame.to_parquet(tmp_path / "rows.parquet")
    result = call(rig, "export", "--out", str(tmp_path / "x"), "--features-of", str(tmp_path / "rows.parquet"))
    assert result.exit_code == 0, result.output
    made = pd.read_parquet(tmp_path / "x" / "features").sort_values("row").set_index("row")
    assert made.index.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 11]  # nothing of before an erasure
    assert made["known"].tolist() == [True] * 5 + [False] + [True] * 3
    assert made.loc[6, list(FEATURES)].isna().all()
    assert made["events"][7] == 0
    assert made["events"][8] == 1
    assert (made.loc[7, [name for name in FEATURES if name.startswith("relevance")]] == 0).all()
    assert made.loc[8, "relevance_profile"] > 0
    assert made.loc[7, "popularity"] == 0 < made.loc[8, "popularity"]
    for user, places in (("u4", [1, 2, 3, 4]), ("u7", [5]), (BACK, [11])):
        wanted = asyncio.run(served(rig, user, [rows[place - 1][1] for place in places], after))
        for place in places:
            found, expected = made.loc[place, list(FEATURES)].to_numpy(float), wanted[rows[place - 1][1]]
            off = {name: (a, b) for name, a, b in zip(FEATURES, found, expected, strict=True) if abs(a - b) > 1e-3}
            assert not off, (user, rows[place - 1][1], off)


def test_a_dry_run_writes_nothing_and_an_export_that_fails_never_looks_whole(rig: Rig, tmp_path: Path) -> None:
    result = call(rig, "export", "--at", "-1h", "--out", str(tmp_path / "a" / "b"), "--dry-run")
    assert (result.exit_code, list(tmp_path.iterdir())) == (0, [])
    assert "records of the log to read" in result.stdout
    away = environment(rig.settings) | {"INTERESTS_TRITON__URL": f"127.0.0.1:{free_ports(1)[0]}",
                                        "INTERESTS_TRITON__DEADLINE_S": "1"}  # fmt: skip
    failed = CliRunner().invoke(app, ["export", "--at", "-1h", "--out", str(tmp_path / "c")], env=away)
    assert failed.exit_code == 1
    assert "Triton at" in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["c.partial"]
    assert not (tmp_path / "c.partial" / "export.json").exists()
    late = call(rig, "export", "--at", rfc3339(NOW_MS + DAY_MS), "--out", str(tmp_path / "d"))
    assert (late.exit_code, "has not come yet" in late.stderr) == (2, True)


def test_ctrl_c_leaves_a_partial_folder(rig: Rig, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        env = environment(rig.settings) | {"INTERESTS_TRITON__URL": f"127.0.0.1:{silent.getsockname()[1]}"}
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.commands.cli", "export", "--at", "-1h", "--out", str(tmp_path / "x")],
            env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        try:
            end = time.monotonic() + 60
            while not (tmp_path / "x.partial").exists():
                assert time.monotonic() < end
                assert process.poll() is None, process.communicate()
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130, error.decode()
    assert "stopped before the end" in error.decode()
    assert "Traceback" not in error.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["x.partial"]


def test_a_store_that_is_in_use_is_not_filled_as_a_fresh_one(rig: Rig, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"user_id":"u","type":"click","item_id":"jazz"}\n')
    result = call(rig, "replay", "--events", str(log), "--fresh")
    assert result.exit_code == 2
    assert "nodes already" in result.stderr

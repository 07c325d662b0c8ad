"""The parts of a history: what belongs to a moment, records on disk, comparisons, and a folder that is never half."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.base.errors import ConfigurationError
from streams.commands.verify import _judged
from streams.events.privacy import Pseudonyms, is_pseudonym
from streams.history.compare import SHOWN, Known, Verdict, compare
from streams.history.folder import MANIFEST, ExportFolder
from streams.history.sift import Cut, Reading, Sifted, sift
from streams.history.spool import MOST_PARTS, RECORDS_A_PART, Spool, part_of, parts_for, share_of
from streams.interests.applied import Applied
from streams.interests.evidence import Evidence, Mark
from streams.interests.nodes import Level, Node, NodeKey, NodePolicy
from streams.settings.policies import NodeSettings
from tests.fixtures.records import NOW_MS, click, record

POLICY: NodePolicy = NodeSettings().policy()
DAY_MS = 86_400_000
READING = Reading(now_ms=NOW_MS, unresolved_topic="events.unresolved")

# -- what belongs to a moment ------------------------------------------------------------------------------------------


def sifted(records: list[Any], cut: Cut, reading: Reading = READING) -> tuple[list[str], Sifted]:
    with Spool(1) as spool:
        found = Sifted()
        sift(records, reading, cut, spool, found)
        spool.flush()
        return [json.loads(one.value or b"")["event_id"] for one in spool.read(0)], found


def test_events_belong_by_their_own_time_or_by_their_records() -> None:
    late = [
        record(click(event_id=name, ts=NOW_MS - happened), offset=at, timestamp=NOW_MS - arrived)
        for at, (name, happened, arrived) in enumerate([("a", 50, 40), ("b", 90, 10), ("c", 10, 5)])
    ]
    assert sifted(late, Cut(at_ms=NOW_MS - 50))[0] == ["a", "b"]
    assert sifted(late, Cut(at_ms=NOW_MS - 40, by="arrived"))[0] == ["a"]
    ids, found = sifted(late, Cut())
    assert ids == ["a", "b", "c"]
    assert (found.read, found.kept, found.later, found.dead) == (3, 3, 0, 0)


def test_an_erasure_holds_for_the_past_too_and_poison_is_counted() -> None:
    rows = [
        record(click(event_id="a"), offset=1), record(value=b"{", key=b"u1", offset=2),
        record({"event_id": "x", "user_id": "u1", "type": "erase", "ts": NOW_MS - 1}, topic="events", offset=3),
    ]  # fmt: skip
    ids, found = sifted(rows, Cut(at_ms=NOW_MS - 5_000))
    assert (ids, found.dead, found.erased_at) == (["a"], 1, {"u1": NOW_MS - 1})
    assert found.erasures == {"u1": {("events", 3): 3}}
    (event, _), *_ = READING.events(rows[:1])
    assert not found.outlives(event)
    found.note_erasures({"u1": 5, "u2": 7})
    assert found.erased_at == {"u1": NOW_MS - 1, "u2": 7}
    assert (found.outlives_at("u2", 7), found.outlives_at("u2", 8)) == (False, True)


def test_people_are_chosen_and_erased_by_the_names_that_trees_have() -> None:
    pseudonyms = Pseudonyms(b"k" * 32)
    reading = Reading(now_ms=NOW_MS, unresolved_topic="x", pseudonyms=pseudonyms)
    seen: list[str] = []
    cut = Cut(chosen=lambda user_id: not seen.append(user_id))  # type: ignore[func-returns-value]  # notes and takes all
    erase = record({"user_id": "u1", "type": "erase", "ts": NOW_MS - 9}, topic="events", offset=2)
    ids, found = sifted([record(click()), erase], cut, reading)
    assert ids == ["e1"]
    assert all(map(is_pseudonym, [*seen, *found.erased_at]))
    assert list(found.erased_at) == [pseudonyms.of("u1")]


# -- records on disk ---------------------------------------------------------------------------------------------------


def test_a_spool_gives_back_what_it_was_given_by_user_in_the_order_of_arrival() -> None:
    rows = [
        record(click(user_id=f"u{n % 9}", event_id=f"e{n}", text="茶" * n), offset=n, partition=n % 3,
               timestamp=NOW_MS - n, headers=[("a", None), ("b", b"\xff")])
        for n in range(300)
    ]  # fmt: skip
    with Spool(4) as spool:
        for one in rows:
            spool.add(json.loads(one.value)["user_id"], one)
        spool.flush()
        folder = Path(spool._folder.name)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        parts = [spool.read(part) for part in range(4)]
    assert not folder.exists()
    assert spool.counts == [len(part) for part in parts]
    found = {(one.offset, one.partition, one.value, one.key, one.timestamp) for part in parts for one in part}
    assert found == {(one.offset, one.partition, one.value, one.key, one.timestamp) for one in rows}
    assert parts[0][0].headers == [("a", None), ("b", b"\xff")]
    for number, part in enumerate(parts):
        assert [one.timestamp or 0 for one in part] == sorted(one.timestamp or 0 for one in part)
        assert {part_of((one.key or b"").decode(), 4) for one in part} <= {number}


def test_what_a_killed_run_left_is_removed_and_what_is_at_work_is_not(tmp_path: Path) -> None:
    left = Spool(1, tmp_path)
    left.add("u1", record(click()))
    left.flush()
    with Spool(1, tmp_path):
        assert len(list(tmp_path.iterdir())) == 2
    left._lock.close()  # as its death would
    (tmp_path / "interests-history-not-begun").mkdir()
    with Spool(1, tmp_path) as spool:
        there = {path.name for path in tmp_path.iterdir()}
        assert there == {"interests-history-not-begun", Path(spool._folder.name).name}
    left._folder.cleanup()


def test_parts_are_bounded_and_samples_are_the_same_each_time() -> None:
    assert [parts_for(n) for n in (0, 1, RECORDS_A_PART, RECORDS_A_PART + 1)] == [1, 1, 1, 2]
    assert parts_for(10**12) == MOST_PARTS
    shares = [share_of(f"u{n}") for n in range(2_000)]
    assert shares == [share_of(f"u{n}") for n in range(2_000)]
    assert 0.18 < sum(share < 0.2 for share in shares) / 2_000 < 0.22


# -- comparison --------------------------------------------------------------------------------------------------------


def node(level: Level = "profile", path: str = "/", **fields: Any) -> Node:
    given = {
        "direction": np.array([0.6, 0.8], np.float32), "norm": 2.0, "mass": 3.0, "net": 1.0, "t0_ms": NOW_MS - DAY_MS,
        "first_ms": NOW_MS - 3 * DAY_MS, "last_ms": NOW_MS - DAY_MS, "count": 4,
        "applied": Applied(1, {"clicks/0": 7}), "evidence": (Evidence("e", "i", NOW_MS - DAY_MS, 1.0, "click"),),
    } | fields  # fmt: skip
    return Node(key=NodeKey("u", level, path), **given)


KNOWN = Known(
    log=1, begins={("clicks", 0): 0}, ends={("clicks", 0): 10}, committed={("clicks", 0): 10},
    unresolved_topic="events.unresolved",
)  # fmt: skip


def judged(stored: list[Node], folded: list[Node], known: Known = KNOWN) -> Verdict:
    verdict = Verdict()
    compare(stored, folded, POLICY, known, NOW_MS, verdict)
    return verdict


def test_the_same_tree_at_two_reference_times_is_the_same() -> None:
    kept = 0.5 ** (3_600_000 / POLICY.half_life_ms("profile"))
    later = node(t0_ms=NOW_MS - DAY_MS + 3_600_000, mass=3.0 * kept, net=kept, norm=2.0 * kept)
    verdict = judged([node()], [later])
    assert verdict.same
    assert (verdict.trees, verdict.nodes) == (1, 1)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"mass": 3.01}, "mass"), ({"net": 1.01}, "net"), ({"norm": 2.01}, "direction"),
        ({"direction": np.array([0.8, 0.6], np.float32)}, "direction"), ({"count": 5}, "count"),
        ({"evidence": (Evidence("e", "i", NOW_MS - DAY_MS, 2.0, "click"),)}, "evidence"),
        ({"evidence": ()}, "evidence"),
        ({"applied": Applied(1, {"clicks/0": 6})}, "applied"), ({"applied": Applied(1, {"clicks/0": 8})}, "applied"),
    ],
)  # fmt: skip
def test_each_field_is_compared(change: dict[str, Any], what: str) -> None:
    verdict = judged([node(**change)], [node()])
    assert verdict.found == Counter([what])
    assert (verdict.shown[0].key.user_id, verdict.shown[0].what, verdict.different) == ("u", what, {"u"})


def test_an_encoders_noise_is_no_difference() -> None:
    noisy = node(direction=np.array([0.6003, 0.7998], np.float32), mass=3.001, net=1.0005, norm=2.0005)
    assert judged([noisy], [node()]).same
    assert not judged([noisy], [node()], replace(KNOWN, tolerance=1e-5)).same


def test_nodes_on_one_side_alone_differ_unless_they_have_faded() -> None:
    faded = node("session", t0_ms=NOW_MS - 90 * DAY_MS)
    assert judged([node(), faded], [node()]).same
    assert judged([node()], [node(), faded]).same
    topic = node("topic", "/a")
    assert judged([node(), topic], [node()]).found == Counter(["unknown"])
    assert judged([node()], [node(), topic]).found == Counter(["missing"])


def test_a_node_that_faded_and_began_again_is_as_it_should_be() -> None:
    since = node(first_ms=NOW_MS - DAY_MS, count=2, mass=3.0)
    assert judged([node(), replace(since, key=NodeKey("u", "topic", "/a"))],
                  [node(), node("topic", "/a", mass=3.005)]).same  # fmt: skip
    assert not judged([node(), replace(since, key=NodeKey("u", "topic", "/a"))],
                      [node(), node("topic", "/a", mass=3.2)]).same  # fmt: skip


def test_a_tree_that_cannot_be_judged_is_passed_over_and_says_why() -> None:
    ahead = node(applied=Applied(1, {"clicks/0": 10}))
    assert judged([ahead], [node(count=9)]).passed_over == Counter(["changed meanwhile"])
    behind = replace(KNOWN, committed={("clicks", 0): 7})
    assert judged([node(count=3)], [node()], behind).passed_over == Counter(["not folded yet"])
    assert judged([], [node()], behind).passed_over == Counter(["not folded yet"])
    older = [node(first_ms=NOW_MS - 9 * DAY_MS, count=9)]
    assert judged(older, [node()], replace(KNOWN, begins={("clicks", 0): 3})).passed_over == Counter(
        ["older than the log"]
    )
    again = replace(KNOWN, log=2)
    assert judged(older, [node()], again).passed_over == Counter(["older than the log"])
    assert judged(older, [], again).passed_over == Counter(["older than the log"])
    assert judged(older, [node()]).found["count"] == 1  # a log that is whole knows better
    assert judged([], [node()]).found == Counter(["missing"])


def test_an_event_that_came_by_way_of_its_wait_has_its_offset_there() -> None:
    waited = node(applied=Applied(1, {"clicks/0": 3, "events.unresolved/0": 2}))
    assert judged([waited], [node()]).same


def test_erased_trees_count_by_what_came_after() -> None:
    tombstone = node(count=0, mass=0.0, norm=0.0, net=0.0, erased_at_ms=NOW_MS - 5 * DAY_MS, evidence=())
    back = node("topic", "/a", first_ms=NOW_MS - 6 * DAY_MS)  # put back by a worker that was cut off
    assert judged([tombstone, back], []).same
    assert judged([node(erased_at_ms=NOW_MS - 5 * DAY_MS, applied=Applied(1, {"clicks/0": 9}))], [node()]).same


def test_an_erasure_that_came_meanwhile_or_is_not_folded_yet_is_no_difference() -> None:
    tombstone = node(count=0, mass=0.0, norm=0.0, net=0.0, erased_at_ms=NOW_MS, evidence=())
    since = replace(tombstone, applied=Applied(1, {"clicks/0": 10}))  # the log was read up to 9
    assert judged([since], [node()]).passed_over == Counter(["changed meanwhile"])
    assert judged([tombstone], [node()]).found == Counter(["missing"])  # nothing that was read says so
    verdict = Verdict()
    compare([node()], [], POLICY, KNOWN, NOW_MS, verdict, {("clicks", 0): 10})
    assert verdict.passed_over == Counter(["not folded yet"])
    compare([node()], [], POLICY, KNOWN, NOW_MS, verdict, {("clicks", 0): 9})
    assert verdict.found == Counter(["unknown"])  # committed, and the tree is there all the same


def test_what_was_taken_back_may_leave_other_evidence() -> None:
    mark = Mark(item_id="i", kind="like", undo=True, ts_ms=1, weight=0.0, event_id="e", source="00")
    assert judged([node(evidence=())], [node(marks=(mark,))]).same


def test_a_log_from_files_says_nothing_of_offsets() -> None:
    verdict = judged([node(applied=Applied(1, {"clicks/0": 99}))], [node()], Known(has_offsets=False))
    assert verdict.same
    assert verdict.trees == 1


def test_only_so_many_differences_are_kept() -> None:
    verdict = Verdict()
    for n in range(SHOWN + 5):
        compare([node(), node("topic", f"/{n}")], [node()], POLICY, KNOWN, NOW_MS, verdict)
    assert (len(verdict.shown), verdict.found) == (SHOWN, Counter(unknown=SHOWN + 5))


async def test_a_tree_that_differs_counts_once_it_differs_each_time_it_is_read() -> None:
    """A worker wrote between two pages of the first reading: the profile is of before, the topic of after."""
    whole = [node(), node("topic", "/a")]
    torn, ahead = [node(), node("topic", "/a", count=9)], [node(applied=Applied(1, {"clicks/0": 10}))]
    readings = {"torn": [torn, whole], "goes on": [torn, ahead], "false": [torn, torn, torn], "fine": [whole]}
    asked: list[list[str]] = []

    async def read(users: Sequence[str]) -> dict[str, list[Node]]:
        asked.append(list(users))
        return {user: readings[user].pop(0) for user in users}

    verdict = Verdict()
    await _judged(sorted(readings), read, lambda _, tree: judged(list(tree), whole), verdict, between_s=0.0)
    assert asked == [["false", "fine", "goes on", "torn"], ["false", "goes on", "torn"], ["false"]]
    assert (verdict.trees, verdict.found, verdict.passed_over) == (
        3, Counter(count=1), Counter(["changed meanwhile"]),
    )  # fmt: skip
    assert [one.what for one in verdict.shown] == ["count"]


# -- the folder --------------------------------------------------------------------------------------------------------

SCHEMA = pa.schema([("n", pa.int64())])


def rows(*numbers: int) -> pa.Table:
    return pa.table({"n": list(numbers)}, schema=SCHEMA)


def test_a_folder_has_its_name_once_all_of_it_is_there(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with ExportFolder(out, {"a": SCHEMA, "b": SCHEMA}, {"at": "t", "dim": 3}, 2) as folder:
        for n in range(3):
            folder.add("a", n % 2, rows(n))
        assert not out.exists()
        assert folder.finish() == {"a": 3, "b": 0}
    assert sorted(pq.read_table(out / "a")["n"].to_pylist()) == [0, 1, 2]
    assert pq.read_table(out / "b").num_rows == 0
    metadata = pq.read_schema(out / "a" / "part-00001.parquet").metadata
    assert (metadata[b"interests.at"], metadata[b"interests.dim"], metadata[b"interests.table"]) == (b"t", b"3", b"a")
    told = json.loads((out / MANIFEST).read_text())
    assert told["tables"]["a"] == {"rows": 3, "files": 2, "columns": ["n"]}
    assert not folder.partial.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConfigurationError])
def test_what_ended_early_stays_partial_and_is_not_written_over(tmp_path: Path, error: type[BaseException]) -> None:
    def begin() -> None:
        with ExportFolder(tmp_path / "out", {"a": SCHEMA}, {}, 1) as folder:
            folder.add("a", 0, rows(*range(20_000)))
            raise error

    with pytest.raises(error):
        begin()
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
    assert not (tmp_path / "out.partial" / MANIFEST).exists()
    with pytest.raises(pa.ArrowInvalid):  # without a footer nobody reads it
        pq.read_table(tmp_path / "out.partial" / "a")
    with pytest.raises(ConfigurationError, match=r"out\.partial is there already: delete it"):
        begin()


def test_rows_are_written_group_by_group(tmp_path: Path) -> None:
    with ExportFolder(tmp_path / "out", {"a": SCHEMA}, {}, 64) as folder:
        for n in range(10):
            folder.add("a", 0, rows(*range(100 * n, 100 * n + 100)))
            held = sum(file.held for file in folder._files.values())
            assert held < 256 + 100
        folder.finish()
    assert pq.ParquetFile(tmp_path / "out" / "a" / "part-00000.parquet").metadata.num_row_groups == 4


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file"), ExportFolder(tmp_path / "file" / "out", {"a": SCHEMA}, {}, 1):
        pass


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/.."])
def test_a_folder_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="expected the name of a folder"):
        ExportFolder(Path(name), {"a": SCHEMA}, {}, 1)


def test_a_full_disk_is_named_though_closing_fails_as_well(tmp_path: Path) -> None:
    def write() -> None:
        with ExportFolder(tmp_path / "out", {"a": SCHEMA, "b": SCHEMA}, {}, 1) as folder:
            folder.add("a", 0, rows(1))
            folder.add("b", 0, rows(1))
            for one in folder._files.values():
                os.dup2(full.fileno(), one.file.fileno())
            folder.finish()

    with Path("/dev/full").open("wb") as full, pytest.raises(ConfigurationError, match=r"out\.partial.*No space left"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]

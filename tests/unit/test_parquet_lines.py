"""Parquet files as logs: what columns become, where an error lies, how much is in memory, and what a replay makes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.base.errors import ConfigurationError
from streams.commands import log_files
from streams.commands.event_log import EventLog
from streams.commands.parquet_lines import columns_of, count_rows, place, read_rows
from streams.commands.playback import Tally, Throttle
from streams.commands.topic_playback import check_sources, named
from streams.events.drafts import RefusedLine, draft_events, draft_items
from streams.settings.servers import KafkaSettings
from tests.fixtures.records import record

T0 = 1_700_000_000_000
AT = datetime.fromtimestamp(T0 / 1000, UTC)


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    pq.write_table(table, path, **options)
    return path


def bodies(path: Path) -> list[Any]:
    return [json.loads(line.body) for line in read_rows(path)]


def test_columns_are_fields_and_what_is_null_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a", {
        "event_id": ["a", None], "user_id": pa.array(["u", "v"]).dictionary_encode(), "type": ["rating", "search"],
        "ts": pa.array([T0, T0 + 1]), "item_id": ["i", None], "rating": [4.5, float("nan")],
        "dwell_ms": [1200.0, None], "text": [None, "红茶 tea"], "mood": ["x", "y"],
    })  # fmt: skip
    assert bodies(path) == [
        {
            "event_id": "a",
            "user_id": "u",
            "type": "rating",
            "ts": T0,
            "item_id": "i",
            "rating": 4.5,
            "dwell_ms": 1200.0,
        },
        {"user_id": "v", "type": "search", "ts": T0 + 1, "text": "红茶 tea"},
    ]
    assert columns_of(path)[1] == ["mood"]
    assert log_files.ignored_columns([path]) == {"a": ["mood"]}
    drafts = draft_events(list(read_rows(path)), lambda _: "t", T0 + 5, check=True)
    assert (len(drafts.ready), drafts.refused, drafts.unnamed) == (2, [], 1)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata"])
def test_timestamps_of_any_unit_and_zone_are_milliseconds(tmp_path: Path, unit: str, zone: str | None) -> None:
    column = pa.array([AT, None], pa.timestamp(unit, tz=zone))
    path = write(tmp_path / "a", {"user_id": ["u", "v"], "ts": column})
    assert bodies(path) == [{"user_id": "u", "ts": T0}, {"user_id": "v"}]


def test_nested_fields_are_structs_maps_or_strings_of_json(tmp_path: Path) -> None:
    item = {"title": "Tea", "categories": ["Food", "Tea"], "ts": AT, "brand": None}
    context = {"device": "mobile"}
    struct = pa.array([item], pa.struct({
        "title": pa.string(), "categories": pa.list_(pa.string()), "ts": pa.timestamp("ms", tz="UTC"),
        "brand": pa.string(),
    }))  # fmt: skip
    columns = {"user_id": ["u"], "type": ["click"], "item_id": ["i"], "ts": [T0], "items": [None], "clicked": [None]}
    wanted = {"title": "Tea", "categories": ["Food", "Tea"]}
    for name, of_item, of_context in (
        ("struct", struct, pa.array([context])),
        ("map", pa.array([json.dumps(wanted)]), pa.array([list(context.items())], pa.map_(pa.string(), pa.string()))),
        ("json", pa.array([json.dumps(wanted).encode()]), pa.array([json.dumps(context)])),
    ):
        path = write(tmp_path / name, {**columns, "item": of_item, "context": of_context})
        (body,) = bodies(path)
        assert body["context"] == context
        assert {key: body["item"][key] for key in wanted} == wanted, name
        (draft,) = draft_events(list(read_rows(path)), lambda _: "t", T0 + 9, check=True).ready
        assert draft.key == b"u"


def test_what_pandas_writes_is_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({
        "user_id": ["u", "u"], "type": ["impression", "click"], "ts": pd.to_datetime([T0, T0 + 5], unit="ms", utc=True),
        "item_id": [None, "b"], "items": [["a", "b"], None], "clicked": [["b"], None], "dwell_ms": [None, 7],
    })  # fmt: skip
    frame.to_parquet(tmp_path / "p")
    drafts = draft_events(list(read_rows(tmp_path / "p")), lambda _: "t", T0 + 9, check=True)
    assert drafts.refused == []
    assert list(drafts.types.values()) == ["impression", "click"]


def test_items_with_media_and_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "i", {
        "item_id": ["a", "b"], "title": ["Tea", "Cup"], "tags": [["x"], None], "categories": ['["Food"]', None],
        "media": [[{"kind": "image", "uri": "https://e/x.png"}], None],
    })  # fmt: skip
    drafts = draft_items(list(read_rows(path)), "items", T0, check=True)
    assert drafts.refused == []
    assert json.loads(drafts.ready[0].value or b"")["media"] == [{"kind": "image", "uri": "https://e/x.png"}]


def test_refused_rows_are_named_by_file_row_group_and_row(tmp_path: Path) -> None:
    path = write(tmp_path / "log.parquet", {"user_id": ["u"] * 7, "type": ["click"] * 7}, row_group_size=3)
    assert count_rows(path) == log_files.count([path]) == 7
    assert place(path, 3) == "log.parquet: row group 1, row 3"
    assert place(path, 7) == "log.parquet: row group 3, row 1"
    tally = Tally()
    tally.refuse(path, [RefusedLine(4, "missing_field", "")])
    assert tally.examples == {"missing_field": ["log.parquet: row group 2, row 1"]}


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"user": ["u"], "kind": ["click"]}, "expected columns named like fields .* got user, kind"),
        ({"user_id": ["u", "v"], "context": ["{}", "{"]}, "row group 2, row 1: "),
        ({"user_id": ["u", "v"], "item": [b"{}", b"\xff"]}, "row group 2, row 1: "),
        ({"user_id": ["u"], "ts": pa.array([1], pa.date32())}, "row group 1, row 1: a date says no moment"),
    ],
)
def test_what_fits_no_field_says_where_it_lies(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    path = write(tmp_path / "log.parquet", columns, row_group_size=1)
    with pytest.raises(ConfigurationError, match=says):
        list(read_rows(path))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2**31 - 1], pa.date32()),
        pa.array([{"ts": 1}, {"ts": 2}], pa.struct([("ts", pa.timestamp("ms", tz="No/Where"))])),
        pa.Array.from_buffers(
            pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
        ),
        pa.array(["[" * 100_000, "{}"]),
    ],
    ids=["year", "zone", "text", "depth"],
)  # fmt: skip
def test_values_that_python_has_no_room_for_say_where_they_lie(tmp_path: Path, column: pa.Array) -> None:
    path = write(tmp_path / "a", {"user_id": ["u", "v"], "item": column})
    with pytest.raises(ConfigurationError, match=r"a: row group 1, row"):
        list(read_rows(path))


def test_a_damaged_file_says_where(tmp_path: Path) -> None:
    path = write(tmp_path / "log.parquet", {"user_id": [f"u{n}" for n in range(4000)]}, compression="none",
                 use_dictionary=False, row_group_size=2000, write_page_checksum=True)  # fmt: skip
    whole = bytearray(path.read_bytes())
    whole[30_000:34_000] = b"\xff" * 4000
    path.write_bytes(whole)
    with pytest.raises(ConfigurationError, match=r"row group \d, row \d+: "):
        list(read_rows(path))
    path.write_bytes(whole[:5000])
    with pytest.raises(ConfigurationError, match="cannot be read as Parquet"):
        list(read_rows(path))


def test_a_large_row_group_is_read_some_rows_at_a_time(tmp_path: Path) -> None:
    rows = 60_000
    path = write(tmp_path / "a", {"user_id": ["u"] * rows, "text": [f"{n:0500d}" for n in range(rows)]},
                 compression="none", use_dictionary=False)  # fmt: skip
    before, most = pa.total_allocated_bytes(), 0
    for number, _ in enumerate(read_rows(path)):
        if number % 1000 == 0:
            most = max(most, pa.total_allocated_bytes() - before)
    assert path.stat().st_size > 30_000_000
    assert most < 10_000_000


def test_a_log_is_ordered_across_parquet_and_json_lines_and_cut_by_time(tmp_path: Path) -> None:
    one = write(tmp_path / "a", {"user_id": ["u"] * 3, "event_id": ["a", "c", "e"], "ts": [T0, T0 + 2, T0 + 4]})
    two = tmp_path / "b.jsonl"
    two.write_text("".join(json.dumps({"event_id": i, "ts": T0 + t}) + "\n" for i, t in (("d", 3), ("b", 1))))
    seen: list[int] = []
    with EventLog([one, two], since_ms=T0 + 1, until_ms=T0 + 4, on_read=seen.append) as log:
        assert [json.loads(entry.line.body)["event_id"] for entry in log.lines()] == ["b", "c", "d"]
        assert (log.count, log.first_ms, log.last_ms, sum(seen)) == (3, T0 + 1, T0 + 3, 3)
    with EventLog([one], since_ms=T0 + 1) as log:
        assert (log.count, log.sorted) == (2, False)


# -- pace, and topics as sources ---------------------------------------------------------------------------------------


async def test_a_rate_holds_over_a_second_and_a_pause_is_not_made_up_for() -> None:
    throttle, stop = Throttle(200.0), asyncio.Event()
    assert throttle.at_once == 50
    began = monotonic()
    for _ in range(4):
        await throttle.wait(50, stop)
    assert 0.7 < monotonic() - began < 1.5  # the first fifty at once, then a quarter of a second each
    stop.set()
    await asyncio.wait_for(throttle.wait(10_000, stop), 1)
    await asyncio.wait_for(Throttle(0.1).wait(1, stop), 1)
    assert Throttle(0.1).at_once == 1


def test_a_copied_event_is_named_by_its_record() -> None:
    one = record(value=b'{"user_id":"u"}', key=b"u", topic="old", partition=2, offset=7, timestamp=T0)
    assert json.loads(named(one)) == {"user_id": "u", "event_id": "old-2-7", "ts": T0}
    whole = b'{"user_id": "u", "event_id": "e", "ts": 5}'
    assert named(record(value=whole, key=b"u")) == whole
    assert json.loads(named(record(value=b'{"event_id":"e","ts":null}', key=b"u", timestamp=T0))) == {
        "event_id": "e",
        "ts": T0,
    }
    assert named(record(value=b"[1", key=b"u")) == b"[1"


def test_a_topic_that_is_folded_already_is_no_source() -> None:
    check_sources(["old-clicks"], KafkaSettings())
    with pytest.raises(ConfigurationError, match="clicks: the workers fold this topic already"):
        check_sources(["old-clicks", "clicks"], KafkaSettings())

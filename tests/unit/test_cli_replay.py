"""What `interests replay` and `produce` read, order, move in time, judge and pace."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.base.errors import ConfigurationError
from streams.commands.event_log import EventLog, moved, time_of
from streams.commands.json_lines import MAX_LINE_BYTES, read_lines
from streams.commands.lag_wait import Waited
from streams.commands.playback import BATCH, Pace, Tally, _chunks
from streams.commands.replay import ReplayPlan, parse_speed, shift_of, summary, unfolded
from streams.events.drafts import Line, RefusedLine, draft_events, draft_items, topic_of_type
from streams.events.wire import EventType
from streams.settings.service import Settings

T0 = 1_600_000_000_000
TOPICS = ("clicks", "comments", "events")


def event(n: int, ts: Any = ..., **more: Any) -> dict[str, Any]:
    made = {"event_id": f"e{n}", "user_id": f"u{n % 3}", "type": "click", "item_id": "i", "ts": T0 + n, **more}
    if ts is None:
        del made["ts"]
    elif ts is not ...:
        made["ts"] = ts
    return made


def write(path: Path, rows: Sequence[Any]) -> Path:
    data = b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def ids(log: EventLog) -> list[str]:
    return [json.loads(entry.line.body)["event_id"] for entry in log.lines()]


# -- reading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_have_their_numbers_and_blank_ones_are_passed_over(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [b'{"a": 1}\r', b"", b"   ", b"{}"])
    assert list(read_lines(path)) == [Line(1, b'{"a": 1}'), Line(4, b"{}")]


def test_gzip_is_known_by_its_bytes_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "plain.jsonl"
    path.write_bytes(gzip.compress(b"{}\n[]"))
    assert [line.body for line in read_lines(path)] == [b"{}", b"[]"]


def test_an_empty_file_has_no_lines(tmp_path: Path) -> None:
    assert list(read_lines(write(tmp_path / "a", []))) == []


def test_a_line_too_long_for_memory_is_cut_and_the_next_one_read(tmp_path: Path) -> None:
    long = b'"' + b"x" * (3 * MAX_LINE_BYTES) + b'"'
    lines = list(read_lines(write(tmp_path / "a", [long, b"{}"])))
    assert [line.number for line in lines] == [1, 2]
    assert len(lines[0].body) == MAX_LINE_BYTES + 1
    assert lines[1].body == b"{}"


@pytest.mark.parametrize("damage", ["cut", "bits"])
def test_a_damaged_gzip_says_after_which_line(tmp_path: Path, damage: str) -> None:
    whole = bytearray(gzip.compress(b"".join(b'{"n": %d}\n' % (n * 7919 % 1000) for n in range(20_000))))
    if damage == "bits":
        whole[len(whole) // 2 : len(whole) // 2 + 64] = b"\xff" * 64
    path = tmp_path / "a.gz"
    path.write_bytes(whole if damage == "bits" else whole[: len(whole) // 2])
    with pytest.raises(ConfigurationError, match=r"a\.gz: cannot be read after line \d+: "):
        list(read_lines(path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none: cannot be read: No such file"):
        list(read_lines(tmp_path / "none"))


# -- the log in time order ---------------------------------------------------------------------------------------------


def test_a_log_in_order_is_streamed_as_it_is(tmp_path: Path) -> None:
    with EventLog([write(tmp_path / "a.gz", [event(n) for n in range(9)])]) as log:
        assert (log.count, log.first_ms, log.last_ms, log.sorted) == (9, T0, T0 + 8, False)
        assert ids(log) == [f"e{n}" for n in range(9)] == ids(log)


@pytest.mark.parametrize("run_bytes", [1, 900, 1 << 20])
@given(order=st.permutations(range(12)), cut=st.integers(0, 12), limit=st.none() | st.integers(1, 14))
def test_any_order_over_any_files_comes_out_in_time_order(
    tmp_path_factory: pytest.TempPathFactory, run_bytes: int, order: list[int], cut: int, limit: int | None
) -> None:
    folder = tmp_path_factory.mktemp("log")
    paths = [write(folder / str(k), [event(n) for n in part]) for k, part in enumerate((order[:cut], order[cut:]))]
    with EventLog(paths, limit, run_bytes) as log:
        assert ids(log) == [f"e{n}" for n in range(12)][:limit]
        assert (log.first_ms, log.last_ms, log.count) == (T0, T0 + min(12, limit or 12) - 1, min(12, limit or 12))
        assert [json.loads(e.line.body)["ts"] for e in log.lines()] == [e.ts_ms for e in log.lines()]
        spilled = Path(log._folder.name) if log._folder else None
    assert spilled is None or not spilled.exists()


def test_events_of_one_time_keep_their_order_and_those_without_stay_where_they_are(tmp_path: Path) -> None:
    rows = [event(5), event(1, T0), event(2, T0), event(3, None), event(4, "soon"), event(0, T0 + 4)]
    with EventLog([write(tmp_path / "a", rows)]) as log:
        assert log.sorted
        assert ids(log) == ["e1", "e2", "e3", "e4", "e0", "e5"]
        assert [entry.line.number for entry in log.lines()] == [2, 3, 4, 5, 6, 1]


def test_a_log_of_other_things_has_no_times(tmp_path: Path) -> None:
    with EventLog([write(tmp_path / "a", [b"no json", b"[]", {"ts": None}])]) as log:
        assert (log.count, log.first_ms, log.last_ms) == (3, None, None)


@pytest.mark.parametrize(
    ("told", "ts_ms"),
    [(T0, T0), (float(T0), T0), ("2020-09-13T12:26:40Z", T0), ("2020-09-13T14:26:40.5+02:00", T0 + 500)],
)
def test_a_time_is_read_in_every_form_the_parser_takes(told: Any, ts_ms: int) -> None:
    assert time_of(json.dumps({"ts": told}).encode()) == ts_ms


@pytest.mark.parametrize("body", [b"{}", b'{"ts":null}', b'{"ts":1600000000}', b'{"ts":"2020-09-13"}', b'{"ts":[1]}'])
def test_a_time_the_parser_refuses_is_none(body: bytes) -> None:
    assert time_of(body) is None


def test_limit_bounds_what_the_shift_is_measured_by(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [event(n) for n in (0, 10, 20)])
    plan = ReplayPlan(
        events=(path,), items=(), speed=None, shift_to="now", limit=2, topic=None, wait=False, deadline_s=1
    )
    with EventLog([path], 2) as log:
        assert shift_of(plan, log.last_ms, T0 + 1_000) == 990


# -- moving in time ----------------------------------------------------------------------------------------------------


def test_only_times_move_and_the_rest_stays_byte_for_byte() -> None:
    inline = b'"item":{"item_id":"i","ts":1500000000000}'
    body = b'{"user_id":"\\u00e9","new":{"b":[1.50,1e3],"ts":5},"ts":1600000000000,' + inline + b"}"
    assert moved(body, 1_000) == body.replace(b"1600000000000", b"1600000001000").replace(
        b"1500000000000", b"1500000001000"
    )


@pytest.mark.parametrize(
    "body", [b"no json", b"[1]", b'{"ts":"soon"}', b'{"ts":{}}', b'{"ts":17,"item":{}}', b'{"item":{"ts":[]}}']
)
def test_what_cannot_be_moved_is_left_for_the_parser_to_refuse(body: bytes) -> None:
    assert moved(body, 1_000) == body


@given(shift=st.integers(-(10**11), 10**12), ts=st.integers(T0, T0 + 10**11))
def test_moving_there_and_back_is_nothing(shift: int, ts: int) -> None:
    body = json.dumps({"ts": ts, "text": "茶"}, separators=(",", ":")).encode()
    assert time_of(moved(body, shift)) == ts + shift
    assert moved(moved(body, shift), -shift) == body


def test_shift_keeps_or_brings_the_last_event_to_a_time() -> None:
    def plan(shift_to: str) -> ReplayPlan:
        return ReplayPlan(
            events=(), items=(), speed=None, shift_to=shift_to, limit=None, topic=None, wait=False, deadline_s=1
        )

    assert shift_of(plan("keep"), T0, T0 + 5) == 0
    assert shift_of(plan("now"), T0, T0 + 5) == 5
    assert shift_of(plan("now"), None, T0 + 5) == 0
    assert shift_of(plan("2020-09-13T12:26:41Z"), T0, 0) == 1_000


# -- routing and judging -----------------------------------------------------------------------------------------------


def test_every_type_has_its_topic() -> None:
    by_topic = Counter(topic_of_type(name, TOPICS) for name in EventType.__args__)  # type: ignore[attr-defined]
    assert by_topic == {"clicks": 2, "comments": 2, "events": len(EventType.__args__) - 4}  # type: ignore[attr-defined]
    assert topic_of_type("comment", TOPICS) == "comments"
    assert topic_of_type("click", ("events",)) == topic_of_type(None, ("a", "events")) == "events"
    assert topic_of_type("like", ("actions", "views")) == "actions"
    assert topic_of_type("click", ("x.events", "not_clicks", "noclicks")) == "not_clicks"
    assert topic_of_type("like", ("prod-clicks", "prod-events")) == "prod-events"


def test_good_lines_are_keyed_by_user_and_bad_ones_named() -> None:
    bodies = [event(1), event(2, type="comment", user_id="é"), {"type": "click"}, event(4, type="tap"), b"{", b"null"]
    lines = [Line(n, b if isinstance(b, bytes) else json.dumps(b).encode()) for n, b in enumerate(bodies, 1)]
    drafts = draft_events(lines, lambda name: topic_of_type(name, TOPICS), T0 + 10, check=True)
    assert [(d.topic, d.key, d.value) for d in drafts.ready] == [
        ("clicks", b"u1", lines[0].body),
        ("comments", "é".encode(), lines[1].body),
    ]
    assert [(bad.number, bad.reason) for bad in drafts.refused] == [
        (3, "missing_field"), (4, "unknown_type"), (5, "bad_json"), (6, "wrong_type"),
    ]  # fmt: skip
    unchecked = draft_events(lines, lambda _: "t", T0, check=False)
    assert [d.key for d in unchecked.ready] == [b"u1", "é".encode(), None, b"u1", None, None]


def test_items_are_keyed_by_item() -> None:
    lines = [Line(1, b'{"item_id":"i1","title":"Tea"}'), Line(2, b'{"item_id":"i2"}'), Line(3, b'{"title":"x"}')]
    drafts = draft_items(lines, "items", T0, check=True)
    assert [(d.topic, d.key) for d in drafts.ready] == [("items", b"i1")]
    assert [(bad.number, bad.reason) for bad in drafts.refused] == [(2, "no_content"), (3, "missing_field")]


# -- pace --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "speed"), [("max", None), ("1", 1.0), ("0.5", 0.5), ("1e3", 1000.0)])
def test_speeds(text: str, speed: float | None) -> None:
    assert parse_speed(text) == speed


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "", "fast"])
def test_speeds_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="above 0, or max"):
        parse_speed(text)


def test_at_full_speed_chunks_are_full_and_paced_ones_are_due_in_their_time(tmp_path: Path) -> None:
    rows = [event(n, T0 + 1_000 * (n // 10)) for n in range(BATCH + 30)]
    with EventLog([write(tmp_path / "a", rows)]) as log:
        assert [(len(chunk), due) for chunk, due in _chunks(log.lines(), Pace(T0, None), BATCH)] == [
            (BATCH, 0.0),
            (30, 0.0),
        ]
        paced = list(_chunks(log.lines(), Pace(T0, 4.0), BATCH))
    assert [(len(chunk), due) for chunk, due in paced[:3]] == [(10, 0.0), (10, 0.25), (10, 0.5)]
    assert sum(len(chunk) for chunk, _ in paced) == BATCH + 30


def test_the_summary_names_the_first_refused_lines_of_each_reason() -> None:
    from rich.console import Console

    tally = Tally(sent=Counter(clicks=1_234), sending_s=2.0)
    tally.refuse(Path("x/log.jsonl"), [RefusedLine(n, "bad_json", "m") for n in range(1, 6)])
    console = Console(width=80, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(summary(tally))
    text = capture.get()
    assert "1,234  sent to clicks" in text
    assert "refused: bad_json (log.jsonl:1, log.jsonl:2, log.jsonl:3, …)" in text
    assert "617/s" in text


def test_a_wait_that_ended_too_early_says_what_is_left_and_what_to_do() -> None:
    said = unfolded(Waited({"clicks": 1200}, 0, stopped=False), Settings())
    assert said == "1,200 in clicks; no worker runs: start one (interests worker)"
    said = unfolded(Waited({"events.unresolved": 8}, 1, stopped=False), Settings())
    assert said.startswith("8 in events.unresolved; workers at it: 1; those in events.unresolved wait for items")
    assert "after 600 s (unresolved.deadline_s)" in said

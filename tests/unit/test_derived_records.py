"""What records of the derived topics may say: whoever writes one, nothing of it is believed beyond what can be."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from streams.base.errors import PoisonError
from streams.events.times import FUTURE_MS
from streams.interests.ballot import by_erasure
from streams.interests.pair_records import ItemPairs, Pair, Pairs
from streams.interests.popularity import VOTES_A_RECORD, Vote, Votes
from streams.interests.priors import Beginnings, First
from streams.interests.signed_weight import WeightTable
from streams.pipeline.derived_records import AHEAD_MS, DerivedLimits, believed, check_within, reached
from tests.fixtures.records import NOW_MS, record

LOG = 3
SENT_MS = NOW_MS - 60_000
LIMITS = DerivedLimits(
    partitions={"clicks": 4, "events.unresolved": 4},
    home=lambda _, key, partition: partition == 3 and key != "elsewhere",
    most_weight=WeightTable().most(),
)  # fmt: skip
VOTE = Vote("clicks", 0, 17, SENT_MS, 1.5)
PAIR = Pair("clicks", 0, 17, SENT_MS, 1.0, "b")
FIRST = First("clicks", 0, 17, SENT_MS, 1.5, "a", "/sports/football")


def settled(said: Any, key: bytes | None = None, sent_ms: int | None = SENT_MS, **at: Any) -> Any:
    """What is believed of a record."""
    made = record(value=b"", key=said.abouts[0].encode() if key is None else key, timestamp=sent_ms, **at)
    return believed(made, said, LIMITS, LOG, NOW_MS)


def votes(*entries: Vote, item: str = "a", log: int = LOG) -> Votes:
    return Votes(item, "g", log, list(entries))


def pairs(*entries: Pair, item: str = "a", log: int = LOG) -> Pairs:
    return Pairs("g", log, [ItemPairs(item, list(entries))])


def two_items(second: str) -> Pairs:
    """A record of two items; `b` cannot be its own partner."""
    return Pairs("g", LOG, [ItemPairs("a", [PAIR]), ItemPairs(second, [PAIR])])


def firsts(*entries: First, cohort: str = "*", log: int = LOG) -> Beginnings:
    return Beginnings(cohort, "g", log, list(entries))


def test_what_workers_send_is_believed_as_it_is() -> None:
    erased = Vote(*by_erasure(VOTE.source), SENT_MS, -1.5)
    ahead = VOTE._replace(ts_ms=SENT_MS + AHEAD_MS)
    waited = VOTE._replace(topic="events.unresolved", partition=3)
    for said in (
        votes(VOTE, erased, ahead, waited), votes(VOTE, log=1), votes(VOTE, item="茶" * 256), votes(),
        pairs(PAIR, replace(PAIR, weight=-1.0), replace(PAIR, other="茶" * 256)),
        firsts(FIRST, FIRST._replace(path=""), FIRST._replace(path="/sports")), firsts(FIRST, cohort="first=/sports"),
    ):  # fmt: skip
        assert settled(said) is said


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"topic": "elsewhere"}, "bad_source"),
        ({"topic": "clicks/0=9;clicks"}, "bad_source"),
        ({"topic": "#erase"}, "bad_source"),
        ({"topic": "clicks#erase#erase"}, "bad_source"),
        ({"partition": -1}, "bad_source"),
        ({"partition": 4}, "bad_source"),
        ({"offset": -1}, "bad_source"),
        ({"ts_ms": 0}, "bad_timestamp"),
        ({"ts_ms": SENT_MS // 1000}, "bad_timestamp"),
        ({"ts_ms": -(2**62)}, "bad_timestamp"),
        ({"ts_ms": 9_200_000_000_000_000_000}, "bad_timestamp"),
        ({"weight": 1e300}, "out_of_range"),
        ({"weight": -1e300}, "out_of_range"),
        ({"weight": 0.0}, "out_of_range"),
        ({"weight": float("nan")}, "out_of_range"),
    ],
)
def test_an_entry_that_no_event_can_have_caused_is_refused(fields: dict[str, Any], reason: str) -> None:
    for said in (
        votes(VOTE, VOTE._replace(**fields)), pairs(PAIR, replace(PAIR, **fields)),
        firsts(FIRST, FIRST._replace(**fields)),
    ):  # fmt: skip
        with pytest.raises(PoisonError) as refused:
            settled(said)
        assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("said", "at", "reason"),
    [
        (votes(VOTE, log=0), {}, "bad_source"),
        (votes(VOTE, log=LOG + 1), {}, "bad_source"),
        (votes(VOTE, log=2**63), {}, "bad_source"),
        (firsts(FIRST, log=LOG + 1), {}, "bad_source"),
        (pairs(PAIR, log=LOG + 1), {}, "bad_source"),
        (pairs(PAIR), {"partition": 2}, "key_mismatch"),
        (Pairs("g", LOG, []), {"key": b"a"}, "key_mismatch"),
        (two_items("elsewhere"), {}, "key_mismatch"),
        (two_items("b\x1fc"), {}, "bad_id"),
        (two_items("b"), {}, "bad_id"),
        (pairs(replace(PAIR, other="")), {}, "bad_id"),
        (pairs(replace(PAIR, other="a")), {}, "bad_id"),
        (pairs(replace(PAIR, other="b\x1fc")), {}, "bad_id"),
        (pairs(replace(PAIR, other="b" * 10_000)), {}, "bad_id"),
        (votes(VOTE), {"partition": 2}, "key_mismatch"),
        (votes(VOTE), {"key": b"b"}, "key_mismatch"),
        (votes(VOTE), {"key": b""}, "empty_key"),
        (votes(VOTE, item=""), {}, "bad_id"),
        (votes(VOTE, item="a\x1fb"), {}, "bad_id"),
        (votes(VOTE, item="a" * 10_000), {}, "bad_id"),
        (firsts(FIRST, cohort="first=/a\x1fb"), {}, "bad_id"),
        (votes(*[VOTE] * (2 * VOTES_A_RECORD + 1)), {}, "out_of_range"),
        (firsts(FIRST._replace(path="sports")), {}, "out_of_range"),
        (firsts(FIRST._replace(path="/a/b/c")), {}, "out_of_range"),
        (firsts(FIRST._replace(path="/a\x1fb")), {}, "out_of_range"),
        (firsts(FIRST._replace(path="/" + "a" * 10_000)), {}, "out_of_range"),
    ],
)
def test_a_record_that_no_worker_of_the_group_can_have_sent_is_refused(said: Any, at: Any, reason: str) -> None:
    with pytest.raises(PoisonError) as refused:
        settled(said, **at)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("sent_ms", "latest_ms"),
    [
        (SENT_MS, SENT_MS + AHEAD_MS),
        (NOW_MS + FUTURE_MS, NOW_MS + FUTURE_MS + AHEAD_MS),
        (NOW_MS + FUTURE_MS + 1, NOW_MS + AHEAD_MS),
        (9_200_000_000_000_000_000, NOW_MS + AHEAD_MS),
        (-1, NOW_MS + AHEAD_MS),
    ],
)
def test_no_time_is_later_than_the_record_s_own_by_more_than_clocks_may_differ(sent_ms: int, latest_ms: int) -> None:
    """The bound of events: by the record's timestamp where that is sane, by now where it is not."""
    year_2099 = 4_102_000_000_000
    for said in (
        votes(VOTE, VOTE._replace(ts_ms=year_2099)),
        firsts(FIRST, FIRST._replace(ts_ms=year_2099)),
        pairs(PAIR, replace(PAIR, ts_ms=year_2099)),
    ):
        assert [one.ts_ms for one in settled(said, sent_ms=sent_ms).entries] == [SENT_MS, latest_ms]


def test_an_offset_past_the_end_of_its_log_is_refused() -> None:
    said = votes(VOTE, VOTE._replace(offset=20), Vote(*by_erasure(VOTE.source)._replace(offset=25), SENT_MS, -1.5))
    assert reached(said) == {("clicks", 0): 25}
    check_within(said, {("clicks", 0): 26})
    with pytest.raises(PoisonError, match="past the end") as refused:
        check_within(said, {("clicks", 0): 25})
    assert refused.value.reason == "bad_source"

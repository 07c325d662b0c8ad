"""The client's pure parts: addresses, problem documents, waits, pages, streams; and what importing it costs."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
from httpx_sse import ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st

from streams.api.models import LiveUpdate, UserCard, Users
from streams.base.errors import RetryableError
from streams.client import (
    ApiError,
    AsyncInterestClient,
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    InterestClient,
    NotFound,
    RateLimited,
    Retries,
    ServerError,
    TryLater,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    calls,
)
from streams.client.core import Body, Core, Lines, core_of, may_repeat
from streams.client.errors import error_of, retry_after_s
from streams.client.paging import iter_users
from streams.client.reconnection import SILENT_S, Reconnection, stream_ended

NOW_S = 1_790_000_000.0
IDS = st.text(min_size=1, max_size=256).filter(lambda text: not any(0xD800 <= ord(char) < 0xE000 for char in text))


def core(url: str = "http://127.0.0.1:8080", key: str | None = None, **more: Any) -> Core:
    return core_of(url, key, more.pop("token", None), more.pop("deadline_s", 10.0), Retries(), lambda: 1.0)


# -- requests ----------------------------------------------------------------------------------------------------------


@given(IDS)
def test_any_id_is_one_segment_that_reads_back(user_id: str) -> None:
    call = calls.interests(user_id)
    raw = core("http://127.0.0.1:8080/prefix/").request(call, 1.0).url.raw_path.decode("ascii")
    assert raw.startswith("/prefix/v1/users/")
    assert raw.count("/") == 5
    assert unquote(raw.split("/")[4]) == user_id
    assert not {"?", "#", " "} & set(raw)


@pytest.mark.parametrize(("user_id", "segment"), [
    (".", "%2E"), ("..", "%2E%2E"), ("a/b", "a%2Fb"), ("a%2Fb", "a%252Fb"), ("😀 茶", "%F0%9F%98%80%20%E8%8C%B6"),
    ("...", "..."), ("?#;", "%3F%23%3B"),
])  # fmt: skip
def test_ids_that_mean_something_to_urls(user_id: str, segment: str) -> None:
    assert core().request(calls.explain(user_id, user_id), 1).url.raw_path.decode() == (
        f"/v1/users/{segment}/explain/{segment}"
    )


@pytest.mark.parametrize("user_id", ["", "\ud800"])
def test_what_is_no_id_is_refused_before_it_is_sent(user_id: str) -> None:
    with pytest.raises(BadRequest, match="an id is"):
        calls.interests(user_id)


def test_parameters_left_out_are_the_servers_and_lists_repeat() -> None:
    assert calls.recommendations("u").params == ()
    call = calls.recommendations("u", k=5, diversity=0.0, exclude_seen=False, category="/a b", daypart=None)
    url = core().request(call, 1).url
    assert dict(url.params) == {"k": "5", "diversity": "0.0", "exclude_seen": "false", "category": "/a b"}
    tree = core().request(calls.interests("u", levels=("topic", "interest"), vectors=True), 1).url
    assert tree.params.get_list("level") == ["topic", "interest"]
    assert tree.params["vectors"] == "true"


def test_bodies_hold_what_was_asked_and_nothing_else() -> None:
    assert json.loads(calls.rank("u", texts=["茶"]).body or b"") == {"texts": ["茶"]}
    assert json.loads(calls.predict("u", items=["i"]).body or b"") == {"items": ["i"]}
    asked = json.loads(calls.audience(item_id="i", levels=["topic"], limit=3).body or b"")
    assert asked == {"item_id": "i", "levels": ["topic"], "limit": 3}


@pytest.mark.parametrize(("build", "field"), [
    (lambda: calls.rank("u", items=["i"] * 501), "items"),
    (lambda: calls.rank("u", texts=[""]), "texts.0"),
    (lambda: calls.predict("u", items=["i"] * 501), "items"),
    (lambda: calls.audience(text="x", limit=0), "limit"),
    (lambda: calls.audience(text="x", levels=["hobby"]), "levels.0"),  # type: ignore[list-item]  # what is refused
])  # fmt: skip
def test_arguments_that_do_not_fit_name_the_field_and_not_the_value(build: Any, field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        build()
    assert [one.field for one in caught.value.errors] == [field]
    assert caught.value.status is None
    assert "hobby" not in str(caught.value)


@pytest.mark.parametrize("both", [{}, {"text": "x", "item_id": "i"}])
def test_an_audience_is_of_a_text_or_of_an_item(both: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match="neither or both"):
        calls.audience(**both)  # type: ignore[arg-type]  # two names


def test_an_event_without_an_id_gets_one_so_that_it_may_be_sent_again() -> None:
    event = {"user_id": "u", "type": "search", "text": "tea"}
    one, other = (json.loads(calls.send_event(event).body or b"") for _ in range(2))
    assert one["event_id"] != other["event_id"]
    assert "event_id" not in event
    assert [row["event_id"] for row in json.loads(calls.send_events([{**event, "event_id": "e1"}]).body or b"")] == [
        "e1"
    ]


@pytest.mark.parametrize("value", [{"x": object()}, {"x": b"\xff"}])
def test_what_is_no_json_is_refused(value: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="written as JSON"):
        calls.put_item("i", value)


def test_the_key_is_in_the_header_and_nowhere_else() -> None:
    mine = core(key="open-sesame")
    request = mine.request(calls.users(), 1)
    assert request.headers["Authorization"] == "Bearer open-sesame"
    assert "sesame" not in repr(mine) + repr(request) + repr(InterestClient(key="open-sesame"))
    tokens = iter(["one", "two"])
    fresh = core(token=lambda: next(tokens))
    assert [fresh.request(calls.users(), 1).headers["Authorization"] for _ in "ab"] == ["Bearer one", "Bearer two"]
    assert "Authorization" not in core().request(calls.users(), 1).headers


@pytest.mark.parametrize(("arguments", "message"), [
    ({"url": "localhost:8080"}, "expected one such as http"),
    ({"url": "ftp://h"}, "expected one such as http"),
    ({"url": "http://h:port"}, "no URL"),
    ({"url": "http://me:sesame@h"}, "give the key as a key"),
    ({"url": "http://h/?key=sesame"}, "give the key as a key"),
    ({"key": "a", "token": "b"}, "both key and token"),
    ({"key": "sesame\n"}, "does not fit into a header"),
    ({"key": ""}, "does not fit into a header"),
    ({"key": "schlüssel"}, "does not fit into a header"),
    ({"deadline_s": 0}, "more than 0"),
    ({"deadline_s": float("nan")}, "more than 0"),
])  # fmt: skip
@pytest.mark.parametrize("kind", [InterestClient, AsyncInterestClient])
def test_what_a_client_cannot_be_made_of(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        kind(**arguments)
    assert "sesame" not in str(caught.value)


def test_proxies_of_the_environment_are_not_for_this_machine() -> None:
    urls = ("http://127.0.0.1:1", "http://[::1]:1", "http://localhost", "http://10.0.0.1", "https://api.example")
    assert [core(url).trust_env for url in urls] == [False, False, False, True, True]


# -- both clients are alike --------------------------------------------------------------------------------------------


def test_both_clients_have_the_same_methods_with_the_same_arguments_and_docs() -> None:
    public = {name for name in vars(InterestClient) if not name.startswith("_")}
    assert public == {name for name in vars(AsyncInterestClient) if not name.startswith("_")}
    for name in public:
        one, other = getattr(InterestClient, name), getattr(AsyncInterestClient, name)
        assert list(inspect.signature(one).parameters) == list(inspect.signature(other).parameters), name
        assert one.__doc__, name
    shown = inspect.signature(InterestClient.users)
    assert str(shown) == "(self, *, limit: int | None = None, cursor: str | None = None) -> streams.api.models.Users"


def test_importing_the_client_loads_no_server_and_no_arrays() -> None:
    heavy = [
        "fastapi",
        "starlette",
        "uvicorn",
        "faust",
        "aiokafka",
        "qdrant_client",
        "grpc",
        "tritonclient",
        "torch",
        "numpy",
    ]
    code = f"import sys, streams.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# -- errors ------------------------------------------------------------------------------------------------------------


def problem(status: int, headers: dict[str, str] | None = None, **more: Any) -> ApiError:
    body = {"title": "T", "status": status, "detail": "D.", "request_id": "r1", **more}
    sent = {"content-type": "application/problem+json; charset=utf-8", **(headers or {})}
    return error_of(status, sent, json.dumps(body).encode(), NOW_S)


@pytest.mark.parametrize(("status", "kind"), [
    (400, BadRequest), (401, Unauthorized), (403, Forbidden), (404, NotFound), (409, BadRequest), (413, BadRequest),
    (422, BadRequest), (429, RateLimited), (500, ServerError), (502, Unavailable), (503, Unavailable),
    (504, Unavailable), (302, UnexpectedAnswer), (599, ServerError),
])  # fmt: skip
def test_every_status_has_its_error(status: int, kind: type[ApiError]) -> None:
    error = problem(status, type="urn:interest-streams:problem:unknown-user")
    assert type(error) is kind
    assert (error.status, error.title, error.detail, error.request_id) == (status, "T", "D.", "r1")
    assert error.kind == "unknown-user"
    assert str(error) == f"T: D ({status}, request r1)"
    assert isinstance(error, RetryableError) is (status in {429, 502, 503, 504})


def test_fields_and_rows_that_do_not_fit_are_named_up_to_five() -> None:
    error = problem(422, errors=[{"field": "query.k", "message": "too large"}],
                    rejected=[{"index": n, "reason": "bad", "message": "no"} for n in range(6)])  # fmt: skip
    assert error.errors[0].field == "query.k"
    assert [row.index for row in error.rejected] == list(range(6))
    assert "query.k: too large; row 0: no; row 1: no; row 2: no; row 3: no; and 2 more" in str(error)


@pytest.mark.parametrize(("kind", "body"), [
    ("text/html", b"<h1>nginx</h1>"), ("application/problem+json", b"{"), ("application/problem+json", b'{"a": 1}'),
    ("", b""),
])  # fmt: skip
def test_an_answer_without_a_problem_document_is_named_by_its_status(kind: str, body: bytes) -> None:
    error = error_of(503, {"content-type": kind, "x-request-id": "r2"}, body, NOW_S)
    assert isinstance(error, Unavailable)
    assert str(error).startswith("Service Unavailable: the answer is no problem document")
    assert (error.request_id, error.retry_after_s) == ("r2", 1.0)


@pytest.mark.parametrize(("header", "seconds"), [
    ("3", 3.0), ("0", 0.0), ("-4", 0.0), ("1e99", 86_400.0), ("nan", None), ("inf", None), ("soon", None), (None, None),
    (format_datetime(datetime.fromtimestamp(NOW_S, UTC) + timedelta(seconds=90), usegmt=True), 90.0),
    (format_datetime(datetime.fromtimestamp(NOW_S, UTC) - timedelta(seconds=90), usegmt=True), 0.0),
])  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW_S) == seconds


def test_what_the_header_asks_for_goes_over_the_body() -> None:
    both = problem(503, {"retry-after": "7"}, retry_after_s=2.5)
    body = problem(429, retry_after_s=2.5)
    assert isinstance(both, TryLater)
    assert isinstance(body, TryLater)
    assert (both.retry_after_s, body.retry_after_s) == (7.0, 2.5)


@pytest.mark.parametrize(("error", "kind"), [
    (httpx.ConnectError("refused"), Unreachable), (httpx.ReadError(""), Unreachable),
    (httpx.RemoteProtocolError("gone"), Unreachable), (httpx.ReadTimeout("slow"), DeadlineExceeded),
    (httpx.ConnectTimeout("slow"), DeadlineExceeded), (httpx.PoolTimeout("slow"), DeadlineExceeded),
    (httpx.DecodingError("bad gzip"), UnexpectedAnswer),
])  # fmt: skip
def test_what_the_connection_may_do(error: httpx.HTTPError, kind: type[ApiError]) -> None:
    assert type(core().failed(error, 2.0)) is kind


def test_an_answer_of_another_shape_names_fields_and_no_values() -> None:
    with pytest.raises(UnexpectedAnswer) as caught:
        core().parse(calls.users(), b'{"users": [{"user_id": "secret", "events": "many"}]}', 200, {})
    error = caught.value
    assert "users.0.events" in str(error)
    assert "secret" not in str(error)
    assert "same version" in str(error)


# -- retries -----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 1000), st.floats(0, 1), st.floats(0, 86_400))
def test_a_wait_is_what_was_asked_for_and_a_bounded_backoff_on_top(attempt: int, spread: float, asked: float) -> None:
    retries = Retries(base_s=0.2, cap_s=5)
    plain = retries.wait_s(attempt, Unreachable("away"), spread)
    assert 0 <= plain <= 5
    wait_s = retries.wait_s(attempt, RateLimited("slow down", retry_after_s=asked), spread)
    assert asked <= wait_s <= asked + 5


def test_backoff_doubles() -> None:
    assert [Retries().wait_s(n, None, 1.0) for n in range(1, 7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0]


@pytest.mark.parametrize(("error", "repeats"), [
    (problem(503), True), (problem(429), True), (Unreachable("away"), True), (problem(502), False),
    (problem(504), False), (problem(500), False), (problem(404), False), (DeadlineExceeded("late"), False),
])  # fmt: skip
def test_only_busy_and_broken_connections_are_tried_again(error: ApiError, repeats: bool) -> None:
    assert may_repeat(error) is repeats


# -- pages, lines, streams ---------------------------------------------------------------------------------------------


def test_pages_end_and_never_go_round_in_circles() -> None:
    pages = iter_users(page=2)
    assert pages.ask(None).params == (("limit", "2"),)
    page = Users(users=[UserCard(user_id="u", events=1, last_ms=1)], next_cursor="c1")
    second = pages.after(page)
    assert second is not None
    assert ("cursor", "c1") in second.params
    assert pages.after(Users()) is None
    with pytest.raises(UnexpectedAnswer, match="circles"):
        pages.after(page)


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda line: b"\n" not in line and line.strip())), st.data())
def test_lines_are_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    body = b"\n".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=5)))
    reader = Lines()
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert [line for piece in pieces for line in reader.feed(piece)] + reader.end() == lines


def test_answers_are_bounded() -> None:
    reader = Lines()
    with pytest.raises(UnexpectedAnswer, match="too large"):
        reader.feed(b"x" * ((1 << 20) + 1))
    body = Body()
    for _ in range(64):
        body.add(bytes(1 << 20))
    with pytest.raises(UnexpectedAnswer, match="too large"):
        body.add(b"x")


def reconnection(patience_s: float | None = 60.0) -> Reconnection:
    return Reconnection(core=core(), deadline_s=10.0, patience_s=patience_s, away_since_s=0.0)


UPDATE = ServerSentEvent(event="update", data=LiveUpdate(user_id="u", at_ms=1, whole=True).model_dump_json())


def test_a_stream_is_read_and_what_is_newer_than_this_client_is_passed_over() -> None:
    stream = reconnection()
    update = stream.read(UPDATE, 1.0)
    assert update is not None
    assert update.whole
    assert stream.read(ServerSentEvent(event="", data="", id="7"), 1.0) is None
    assert stream.read(ServerSentEvent(event="weather", data="rain"), 1.0) is None
    with pytest.raises(UnexpectedAnswer):
        stream.read(ServerSentEvent(event="update", data='{"user_id": 3}'), 1.0)


def test_the_first_connection_has_the_calls_deadline_and_later_ones_have_patience() -> None:
    stream = reconnection()
    assert stream.wait_s(Unreachable("away"), 1.0) == 0.2
    with pytest.raises(Unreachable):
        stream.wait_s(Unreachable("away"), 10.0)
    stream.read(UPDATE, 100.0)
    assert stream.wait_s(stream_ended(), 110.0) == 0.2
    assert stream.wait_s(Unreachable("away"), 130.0) == 0.4
    with pytest.raises(Unreachable):
        stream.wait_s(Unreachable("away"), 160.0)
    patient = reconnection(None)
    patient.read(UPDATE, 0.0)
    assert patient.wait_s(Unreachable("away"), 1e6) == 0.2


def test_a_silent_stream_is_connected_again_and_a_refusal_ends_it() -> None:
    stream = reconnection()
    with pytest.raises(DeadlineExceeded):  # before anything came the deadline is the call's
        stream.wait_s(DeadlineExceeded("silent"), 1.0)
    stream.read(UPDATE, 100.0)
    assert stream.wait_s(DeadlineExceeded("silent"), 100.0 + SILENT_S) > 0
    for error in (NotFound("gone"), Forbidden("no"), ServerError("oops")):
        with pytest.raises(type(error)):
            stream.wait_s(error, 100.0)


def test_the_server_may_say_how_long_to_wait() -> None:
    stream = reconnection()
    stream.read(ServerSentEvent(event="", data="", retry=3000), 0.0)
    assert stream.wait_s(stream_ended(), 1.0) == 3.0
    stream.read(ServerSentEvent(event="", data="", retry=3_000_000), 0.0)
    assert stream.wait_s(stream_ended(), 1.0) == 30.0

"""Which requests a service without credentials refuses: foreign hosts, origins and pages, bodies that are no JSON."""

from __future__ import annotations

import pytest

from streams.base.addresses import is_loopback
from streams.base.local_callers import CallerRules, host_name, no_json

RULES = CallerRules(
    hosts=frozenset({"api.example"}), origins=frozenset({"https://app.example"}), pages=("/", "/ui"), setting="api."
)
LOCAL = [(b"host", b"localhost:8080")]


def kind(*headers: tuple[bytes, bytes], method: str = "GET", path: str = "/v1/users", version: str = "1.1") -> str:
    refused = RULES.foreign(method, path, headers, version)
    return refused.kind if refused else ""


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8080", "LOCALHOST", "localhost.", "app.localhost:3000", "127.0.0.1", "127.0.0.1:8080",
        "127.8.9.1:1", "[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]:8080", "api.example", "API.example.:443",
    ],
)  # fmt: skip
def test_hosts_that_mean_this_service_are_taken(host: str) -> None:
    assert kind((b"host", host.encode())) == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("evil.example", "foreign-host"), ("evil.example:8080", "foreign-host"), ("10.0.0.5", "foreign-host"),
        ("localhost.evil.example", "foreign-host"), ("evil-localhost", "foreign-host"), ("0.0.0.0", "foreign-host"),
        ("127.0.0.1.evil.example", "foreign-host"), ("[::2]:80", "foreign-host"), ("api.example.evil", "foreign-host"),
        ("2130706433", "foreign-host"), ("[::ffff:10.0.0.1]", "foreign-host"), ("lоcalhost", "foreign-host"),
        ("", "bad-host"), ("localhost:port", "bad-host"), ("localhost/evil", "bad-host"), ("[::1", "bad-host"),
        ("evil.example@localhost", "bad-host"), ("localhost#.evil", "bad-host"), ("local host", "bad-host"),
        ("localhost:99999", "bad-host"), (":8080", "bad-host"),
    ],
)  # fmt: skip
def test_other_hosts_are_refused(host: str, expected: str) -> None:
    assert kind((b"host", host.encode())) == expected


def test_one_host_and_no_more() -> None:
    assert kind(*LOCAL, *LOCAL) == "bad-host"
    assert kind() == "bad-host"
    assert kind(version="1.0") == ""  # a probe of old; a browser always says it


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:8080", ""), ("https://app.example", ""), ("HTTPS://APP.example", ""),
        ("http://localhost:3000", "foreign-origin"), ("http://127.0.0.1:8080", "foreign-origin"),
        ("http://app.example", "foreign-origin"), ("https://app.example:444", "foreign-origin"),
        ("null", "foreign-origin"), ("", "foreign-origin"), ("https://app.example.evil", "foreign-origin"),
        ("ftp://localhost:8080", "foreign-origin"), ("chrome-extension://x", "foreign-origin"),
        ("http://localhost:8080@evil.example", "foreign-origin"), ("http://[", "foreign-origin"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
def test_pages_of_other_origins_are_refused_whatever_they_do(origin: str, expected: str, method: str) -> None:
    assert kind(*LOCAL, (b"origin", origin.encode()), method=method) == expected


def test_two_origins_are_none() -> None:
    own = (b"origin", b"http://localhost:8080")
    assert kind(*LOCAL, own, own) == "foreign-origin"


@pytest.mark.parametrize(
    ("site", "expected"),
    [("cross-site", "foreign-page"), ("same-site", "foreign-page"), ("same-origin", ""), ("none", "")],
)
def test_requests_that_a_browser_sends_without_an_origin_say_whose_page_it_was(site: str, expected: str) -> None:
    assert kind(*LOCAL, (b"sec-fetch-site", site.encode())) == expected
    own = (b"origin", b"https://app.example")
    assert kind(*LOCAL, (b"sec-fetch-site", site.encode()), own) == ""


def test_a_link_may_lead_to_a_page_and_to_nothing_else() -> None:
    followed = [*LOCAL, (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-dest", b"document")]
    assert [kind(*followed, path=path) for path in ("/", "/ui", "/ui/")] == ["", "", ""]
    assert [kind(*followed, path=path) for path in ("/v1/users", "/uix", "/metrics")] == ["foreign-page"] * 3
    assert kind(*followed, path="/ui", method="POST") == "foreign-page"
    framed = [*LOCAL, (b"sec-fetch-site", b"cross-site"), (b"sec-fetch-dest", b"iframe")]
    assert kind(*framed, path="/ui") == "foreign-page"


def test_a_refusal_says_what_to_set_and_nothing_of_the_request() -> None:
    refused = RULES.foreign("GET", "/", [(b"host", b"evil.example")], "1.1")
    assert refused is not None
    assert refused.status == 421
    assert "api.hosts" in refused.detail
    assert "evil" not in refused.detail
    elsewhere = CallerRules().foreign("GET", "/", [(b"host", b"evil.example")], "1.1")
    assert elsewhere is not None
    assert "may name" not in elsewhere.detail


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [
        ([b"application/json"], True), ([b"application/json; charset=utf-8"], True), ([b"Application/JSON"], True),
        ([b"text/plain"], False), ([b"application/x-www-form-urlencoded"], False), ([], False), ([b""], False),
        ([b"multipart/form-data; boundary=application/json"], False), ([b"text/plain; application/json"], False),
        ([b"application/json", b"text/plain"], False), ([b"application/jsonp"], False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("length", [(b"content-length", b"2"), (b"transfer-encoding", b"chunked")])
def test_a_body_says_that_it_is_json(kinds: list[bytes], taken: bool, length: tuple[bytes, bytes]) -> None:
    headers = [*((b"content-type", value) for value in kinds), length]
    for method in ("POST", "PUT", "PATCH"):
        assert (no_json(method, headers) is None) == taken
    assert no_json("GET", headers) is None


def test_without_a_body_nothing_need_be_said() -> None:
    assert no_json("POST", []) is None
    assert no_json("POST", [(b"content-length", b"0")]) is None
    assert no_json("POST", [(b"content-length", b"0"), (b"content-type", b"text/plain")]) is not None


def test_names_and_addresses() -> None:
    assert host_name("[::1]:80") == "::1"
    assert not is_loopback("localhost.com")
    assert is_loopback("127.255.255.254")

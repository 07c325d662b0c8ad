"""The worker's status port against callers who hold on to it, and against web pages; on real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from prometheus_client import CollectorRegistry

from streams.broker.liveness import LivenessJudge
from streams.worker import status

pytestmark = pytest.mark.integration


@pytest.fixture
def port() -> Iterator[int]:
    with status.serving(status.WorkerStatus(LivenessJudge()), CollectorRegistry(), "127.0.0.1", 0, 60.0) as port:
        yield port


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/nothing"])
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, 421), ({"Host": "10.0.0.5:9108"}, 421), ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403), ({"Host": ""}, 400),
    ],
)  # fmt: skip
def test_a_foreign_page_reads_nothing(port: int, path: str, headers: dict[str, str], code: int) -> None:
    answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, trust_env=False)
    assert answer.status_code == code
    assert "interests" not in answer.text
    assert httpx.get(f"http://localhost:{port}/healthz", trust_env=False).status_code == 200


def test_half_open_connections_shut_nobody_out(port: int) -> None:
    half = []
    try:
        for number in range(200):
            one = socket.create_connection(("127.0.0.1", port), timeout=10)
            one.sendall(b"GET / HT")
            half.append(one)
            if number % 20 == 0:
                started = time.monotonic()
                assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
                assert time.monotonic() - started < 2
        half[0].settimeout(10)
        assert half[0].recv(100) == b""  # the oldest is gone
    finally:
        for one in half:
            one.close()


def test_a_head_that_trickles_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        started = time.monotonic()
        one.sendall(b"GET /metrics HTTP/1.1\r\n")
        with suppress(OSError):
            while time.monotonic() - started < 30:
                one.sendall(b"X: y\r\n")
                time.sleep(0.5)
        assert time.monotonic() - started < 20

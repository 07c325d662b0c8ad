"""Addresses: what is this machine's own, how IPv6 is written, and what cannot be listened on."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from grpc import RpcError, StatusCode, aio
from prometheus_client import CollectorRegistry

from deploy.embedded.ports import free_ports
from streams.base.addresses import bare, host_of, is_loopback, joined, stays_here
from streams.base.errors import ConfigurationError
from streams.broker.liveness import LivenessJudge
from streams.commands.installation_checks import in_the_clear
from streams.settings.service import Settings, load
from streams.store.connection import QdrantConfig
from streams.store.points import PointsClient
from streams.worker.status import WorkerStatus, serving
from tests.fixtures.path import ROOT, environment

OURS = [
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1",
    "[::ffff:127.0.0.1]", "localhost", "LOCALHOST", "localhost.", "api.localhost",
]  # fmt: skip
OTHERS = [
    "0.0.0.0", "::", "[::]", "", "192.168.0.1", "::2", "fe80::1", "::ffff:10.0.0.1", "localhost.example.org",
    "127.0.0.1.example", "notlocalhost", "[::1", "1",
]  # fmt: skip


@pytest.mark.parametrize("host", OURS)
def test_what_means_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", OTHERS)
def test_what_may_be_reached_from_elsewhere(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("host", "found", "stays"),
    [
        ("localhost", ["127.0.0.1"], True), ("localhost", ["::1", "127.0.0.1"], True), ("x.localhost", ["::1"], True),
        ("localhost", ["10.0.0.7"], False), ("x.localhost", ["93.184.215.14"], False),
        ("x.localhost", ["127.0.0.1", "10.0.0.7"], False), ("X.LOCALHOST.", ["fe80::1%2"], False),
        ("localhost", [], False), ("x.localhost", OSError(-2, "unknown"), False),
        ("a.example", ["127.0.0.1"], False),  # it may lead elsewhere the next time
        ("[::1]", AssertionError, True), ("127.0.0.2", AssertionError, True), ("10.0.0.7", AssertionError, False),
    ],
)  # fmt: skip
def test_a_name_of_this_machine_must_lead_nowhere_else(
    host: str, found: list[str] | BaseException | type[BaseException], stays: bool
) -> None:
    def lookup(*_: object, **__: object) -> list[tuple[object, ...]]:
        if not isinstance(found, list):
            raise found
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in found]

    assert stays_here(host, lookup) == stays


def test_an_ipv6_address_is_written_in_brackets_and_listened_on_without() -> None:
    assert [joined(host, 80) for host in ("::1", "[::1]", "127.0.0.1", "localhost")] == [
        "[::1]:80", "[::1]:80", "127.0.0.1:80", "localhost:80",
    ]  # fmt: skip
    assert [bare(host) for host in ("[::1]", "::1", "a.example")] == ["::1", "::1", "a.example"]
    assert [host_of(one) for one in ("[::1]:9092", "::1", "a.example:1", " a ", "127.0.0.1:2")] == [
        "::1", "::1", "a.example", "a", "127.0.0.1",
    ]  # fmt: skip


def test_servers_on_ipv6_are_spoken_to_on_this_machine_without_tls() -> None:
    local = Settings(
        kafka={"brokers": "[::1]:9092"}, triton={"url": "[::1]:8001"}, qdrant={"host": "::1"}
    )  # type: ignore[arg-type]  # sections as dictionaries  # fmt: skip
    assert list(in_the_clear(local)) == []


async def test_qdrant_on_ipv6() -> None:
    server = aio.server()  # of no service: it answers that it knows none
    points = PointsClient(QdrantConfig(host="::1", grpc_port=server.add_insecure_port("[::1]:0")))
    await server.start()
    try:
        with pytest.raises(RpcError) as refused:
            await points.collections.version()
        assert refused.value.code() is StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]  # an AioRpcError
    finally:
        await points.close()
        await server.stop(0)
    assert QdrantConfig(host="::1").address == "[::1]:6334"


NO_ADDRESSES = [
    "", "a.example:99999", "a.example:0", "a.example:b", "::1", "::1:9092", "[::1:9092", "[::1]9092", "[a.example]:1:2",
    "http://a.example:1", "a b:1", "a.example:9092,", "a.example:\u0663",
]  # fmt: skip
SECTIONS = {"brokers": "kafka", "url": "triton", "host": "qdrant"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, wrong)
            for name in ("brokers", "url")
            for wrong in NO_ADDRESSES
        ),
        *(("host", wrong) for wrong in ("", "[::1", "::1]", "a.example:6334", "http://a.example", "a b", "[[::1]]")),
    ],
)  # fmt: skip
def test_what_is_no_address_is_a_wrong_setting(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = f"INTERESTS_{SECTIONS[name]}__{name}".upper()
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        load()
    assert f"{SECTIONS[name]}.{name}: Value error, expected " in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, right)
            for name in ("brokers", "url")
            for right in ("a.example:9092", "[::1]:9092", "[::1]", "a.example", "127.0.0.1:1", "[fe80::1%eth0]:1")
        ),
        ("brokers", "a.example:1, [::1]:2,10.0.0.1:65535"), ("url", "dns:///triton:8001"), ("url", "unix:/run/triton"),
        ("host", "::1"), ("host", "[::1]"), ("host", "a.example"), ("host", "LOCALHOST."),
    ],
)  # fmt: skip
def test_what_is_an_address_is_taken_as_it_is(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"INTERESTS_{SECTIONS[name]}__{name}".upper(), value)
    assert getattr(getattr(load(), SECTIONS[name]), name) == value


@contextmanager
def status_at(host: str, port: int = 0) -> Iterator[int]:
    status = WorkerStatus(LivenessJudge())
    with serving(status, CollectorRegistry(), host, port, 60.0) as taken:
        yield taken


@pytest.mark.parametrize("host", ["::1", "[::1]", "127.0.0.1", "localhost"])
def test_a_worker_s_metrics_are_served_there(host: str) -> None:
    with status_at(host) as port, urllib.request.urlopen(f"http://{joined(host, port)}/healthz", timeout=5) as answer:
        assert "live" in json.load(answer)


@pytest.mark.parametrize(
    ("host", "what"),
    [
        ("nosuch.invalid", "metrics_host nosuch.invalid"),
        ("a" * 70, "metrics_host"),
        ("192.0.2.1", "metrics_port to what is free"),
        ("[::1", "metrics_host"),
    ],
)
def test_a_host_that_is_not_ours_is_a_wrong_setting(host: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=r"worker\.metrics_host") as raised, status_at(host):
        pass
    assert what in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_a_wrong_setting(host: str) -> None:
    with status_at(host) as port, pytest.raises(ConfigurationError) as raised, status_at(host, port):
        pass
    assert str(raised.value).startswith(f"cannot listen on {joined(host, port)} (Address already in use): ")


@pytest.mark.parametrize("command", ["worker", "api"])
@pytest.mark.parametrize("host", ["nosuch.invalid", "192.0.2.1"])
def test_a_command_ends_with_2_and_a_sentence(command: str, host: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("")
    keys.chmod(0o600)
    settings = Settings(worker={"metrics_host": host}, api={"host": host, "keys_file": keys})  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-m", "streams.commands.cli", command],
        env=environment(settings), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert host in done.stderr


@pytest.mark.parametrize("taken", ["grpc", "http"])
def test_the_embedded_qdrant_ends_with_2_and_a_sentence_where_a_port_is_taken(taken: str, tmp_path: Path) -> None:
    with status_at("127.0.0.1") as port:
        ports = {name: str(port if name == taken else free_ports(1)[0]) for name in ("grpc", "http")}
        arguments = ["--data", str(tmp_path / "data"), "--grpc-port", ports["grpc"], "--http-port", ports["http"]]
        done = subprocess.run(
            [sys.executable, "-m", "deploy.embedded.qdrant", *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use): set --{taken}-port to" in done.stderr


def test_up_ends_with_2_where_a_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taking:
        with suppress(OSError):
            taking.bind(("127.0.0.1", 6333))  # where another has it, all the better
            taking.listen()
        done = subprocess.run(
            [sys.executable, "-m", "streams.commands.cli", "up", "--data-dir", str(tmp_path / "data")],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "port 6333 (qdrant http) is held by " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("encoder", "info"), ("show", "u1"), ("topics", "list"), ("worker",), ("api",)])
def test_every_command_ends_with_2_where_an_address_is_none(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "streams.commands.cli", *command],
        env={**os.environ, "INTERESTS_TRITON__URL": "http://127.0.0.1:8001", "INTERESTS_KAFKA__BROKERS": "::1:9092"},
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "triton.url: " in done.stderr
    assert "kafka.brokers: " in done.stderr
    assert "Traceback" not in done.stderr

"""Marked names and texts go through a real worker, with failures, and come out nowhere they do not belong.

The worker runs as it should in production: on Apache Kafka, where there is one, under the access lists of SECURITY.md,
with SCRAM over TLS; Qdrant asks for a key; users are pseudonyms, dead letters sealed, logs JSON, traces on.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from streams.broker import KafkaConfig
from streams.broker.producer import Outgoing, Producer
from streams.broker.read_all import read_topic
from streams.commands.dead_letters import original
from streams.events.privacy import SEALED, Pseudonyms, is_pseudonym
from streams.interests.nodes import NodeKey
from tests.fixtures.brokers import Broker
from tests.fixtures.path import ITEMS, Rig
from tests.fixtures.qdrant import QdrantServer
from tests.fixtures.secure_kafka import PASSWORDS, SecureKafka

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NAME, OTHER, GONE = "wilhelmina.quux@example.org", "ottokar-zebu", "ladislaus-gnu"
TEXT = "zwiebelfisch"  # in everything that anybody writes below
KEY = "hush-0123456789abcdef0123456789abcdef"
QDRANT_KEY = "sesame-8c1f"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRETS = (KEY, QDRANT_KEY, *PASSWORDS.values())
MARKS = (NAME, OTHER, GONE, TEXT)


class Collector:
    """Takes spans over OTLP/HTTP on a loopback port."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.raw = b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the base class's name
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.raw += body
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        outer.spans += scope.spans
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def strict(request: pytest.FixtureRequest) -> Broker:
    """The secured Apache Kafka; the embedded broker where there is none."""
    try:
        found: Broker = request.getfixturevalue("secure_kafka")
    except pytest.skip.Exception:
        found = request.getfixturevalue("tansu")
    return found


def access_of(broker: Broker, folder: Path) -> dict[str, str]:
    """The environment under which a worker proves to a broker who it is."""
    if not isinstance(broker, SecureKafka):
        return {}
    (folder / "password").write_text(PASSWORDS["interests-worker"])
    return {
        "INTERESTS_KAFKA__BROKERS": f"localhost:{broker.sasl_port}",
        "INTERESTS_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "INTERESTS_KAFKA__SASL_USERNAME": "interests-worker",
        "INTERESTS_KAFKA__SASL_PASSWORD_FILE": str(folder / "password"),
        "INTERESTS_KAFKA__CA_FILE": str(broker.certificates.authority),
    }


def event(number: int, user: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"event_id": f"h{number}", "user_id": user, "type": kind, "ts": int(time.time() * 1000) + number} | more


def poison() -> list[tuple[bytes, bytes]]:
    """Records that are wrong, each in its own way, and all say who wrote what."""
    good = event(50, NAME, "comment", item_id="football", text=f"{TEXT} {NAME}")
    bodies = [
        {**good, "type": TEXT}, {**good, "rating": TEXT}, {**good, "ts": TEXT}, {**good, "text": TEXT * 1000},
        {**good, "context": {TEXT: [TEXT]}}, {**good, "event_id": f"{TEXT}\u202e"}, {**good, "item": {"title": 7}},
    ]  # fmt: skip
    records = [(NAME.encode(), json.dumps(body).encode()) for body in bodies]
    records += [(NAME.encode(), json.dumps(good).encode()[:-1]), (NAME.encode(), b"\xff" + TEXT.encode())]
    return [*records, (OTHER.encode(), json.dumps(good).encode()), (b"\xfe" + NAME.encode(), json.dumps(good).encode())]


async def everything(config: KafkaConfig, topics: list[str]) -> list[Any]:
    """Every record of some topics."""
    return [record for topic in topics async for records in read_topic(config, topic) for record in records]


async def payloads(server: QdrantServer) -> str:
    """Every payload of every collection, as JSON."""
    found = []
    async with httpx.AsyncClient(base_url=server.url, headers={"api-key": QDRANT_KEY}, trust_env=False) as client:
        for collection in (await client.get("/collections")).json()["result"]["collections"]:
            body = {"limit": 10_000, "with_payload": True, "with_vector": False}
            answer = await client.post(f"/collections/{collection['name']}/points/scroll", json=body)
            found.append(answer.text)
    return "".join(found)


async def test_names_texts_and_secrets_stay_where_they_belong(
    strict: Broker, own_qdrant: Callable[..., QdrantServer], make_rig: Callable[..., Rig], collector: Collector,
    tmp_path: Path,
) -> None:  # fmt: skip
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, content in (("names", KEY), ("seal.pem", public.decode()), ("qdrant", QDRANT_KEY)):
        (tmp_path / name).write_text(content + "\n")
    qdrant = own_qdrant(api_key_file=tmp_path / "qdrant")
    path = make_rig(
        strict, qdrant,
        kafka={
            "group": "interests", "event_topics": ("clicks", "comments", "events"), "items_topic": "items",
            "unresolved_topic": "events.unresolved", "updated_topic": "interests.updated",
            "popularity_topic": "items.popularity", "together_topic": "items.together",
            "population_topic": "population",
            "examples_topic": "ranking.examples", "ranking_weights_topic": "ranking.weights",
        },
        privacy={
            "user_id_key_file": str(tmp_path / "names"), "dead_letter_bodies": "seal",
            "dead_letter_key_file": str(tmp_path / "seal.pem"),
        },
        log={"form": "json", "level": "debug"}, tracing={"endpoint": collector.endpoint},
        unresolved={"base_s": 0.3, "cap_s": 1.0, "deadline_s": 2.0},
    )  # fmt: skip
    with_key = path.settings.qdrant.model_copy(update={"api_key_file": tmp_path / "qdrant"})
    path.settings = path.settings.model_copy(update={"qdrant": with_key})
    names = Pseudonyms(KEY.encode())
    await path.prepare()
    worker = path.worker(**access_of(strict, tmp_path))
    await path.items(ITEMS)
    await path.items_known(len(ITEMS))

    told = event(1, NAME, "comment", item_id="football", text=f"{TEXT}, what a lovely game of football")
    headers = (("traceparent", f"00-{TRACE}-{PARENT}-01".encode()), ("who", NAME.encode()))
    async with Producer(path.config) as producer:
        await producer.send_many("comments", [Outgoing(NAME.encode(), json.dumps(told).encode(), headers=headers)])
    await path.produce("events", [event(2, OTHER, "search", text=f"{TEXT} slow jazz in the evening")])
    await path.produce(
        "clicks", [event(3, GONE, "click", item_id="jazz"), event(4, NAME, "click", item_id="nowhere", text=TEXT)]
    )
    bad = poison()
    await path.produce_raw("comments", bad)
    await path.until(lambda o: o.get("applied", 0) >= 3 and o.get("dead", 0) >= len(bad) + 1)
    qdrant.kill()
    await path.produce("comments", [event(5, NAME, "comment", item_id="jazz", text=f"{TEXT}? I hate this jazz")])
    await asyncio.sleep(1.0)
    qdrant.start()
    await path.produce("events", [event(6, GONE, "erase")])
    await path.until(lambda o: o.get("applied", 0) >= 5)
    command_line = Path(f"/proc/{worker.pid}/cmdline").read_bytes().decode()
    metrics = httpx.get(worker.metrics_url, trust_env=False).text
    assert worker.stop() == 0, worker.log()

    log = (tmp_path / "rig-0" / "worker-0.log").read_text()
    letters = await everything(
        path.config, [f"{topic}.dead" for topic in ("clicks", "comments", "events", "events.unresolved")]
    )
    sent_on = await everything(path.config, ["interests.updated", "items.popularity", "population"])
    stored = await payloads(qdrant)
    of_letters = b"".join([r.key or b"" for r in letters] + [value for r in letters for _, value in r.headers])
    of_letters += b"".join(r.value or b"" for r in letters)
    of_sent_on = b"".join([(r.key or b"") + (r.value or b"") for r in sent_on])
    places = {
        "log": log, "metrics": metrics, "Qdrant": stored, "dead letters": of_letters.decode("latin-1"),
        "what is sent on": of_sent_on.decode("latin-1"), "traces": collector.raw.decode("latin-1"),
    }  # fmt: skip
    assert all(len(content) > 100 for content in places.values()), {name: len(text) for name, text in places.items()}
    found = [(name, mark) for name, content in places.items() for mark in (*MARKS, *SECRETS) if mark in content]
    assert not found
    assert not [secret for secret in SECRETS if secret in command_line]

    check_letters(letters, private, bad)
    check_log(log)
    async with asyncio.timeout(5):
        tree = await path.tree(names.of(NAME))
    assert tree[NodeKey(names.of(NAME), "profile", "/")].count == 2
    assert not await path.tree(NAME)
    check_traces(collector.spans, {node.id for node in tree.values()})


def check_letters(letters: list[Any], private: X25519PrivateKey, bad: list[tuple[bytes, bytes]]) -> None:
    """Every letter's key is a pseudonym, and its seal opens to the record as it came."""
    assert all(is_pseudonym((letter.key or b"").decode()) for letter in letters)
    assert all(dict(letter.headers)["dead-letter-body"] == SEALED for letter in letters)
    opened = [one for letter in letters if (one := original(letter, private))]
    assert sorted((one.key, one.value) for one in opened if (one.key, one.value) in bad) == sorted(bad)


def check_log(log: str) -> None:
    """Every line is one JSON object, and what a batch says carries its name."""
    lines = [json.loads(line) for line in log.splitlines()]
    letters = [line for line in lines if line["event"] == "dead_letter"]
    assert letters
    assert all({"batch", "topic", "partition", "offset", "stage", "reason"} <= line.keys() for line in letters)
    waits = [line for line in lines if line["event"] == "waiting"]
    assert [line for line in waits if line["server"] == "qdrant" and "batch" in line]


def check_traces(spans: list[Any], points: set[str]) -> None:
    """The producer's trace goes on in a span that names the points; the batch's has its stages and links to both."""
    [followed] = [span for span in spans if span.name == "event" and span.trace_id.hex() == TRACE]
    assert followed.parent_span_id.hex() == PARENT
    told = {one.key: one.value for one in followed.attributes}
    assert told["interests.outcome"].string_value == "applied"
    assert {value.string_value for value in told["interests.points"].array_value.values} <= points
    assert len(told["interests.points"].array_value.values) >= 2
    [batch] = [span for span in spans if span.name == "batch" and span.span_id == followed.links[0].span_id]
    assert TRACE in [link.trace_id.hex() for link in batch.links]
    stages = {span.name for span in spans if span.parent_span_id == batch.span_id}
    assert stages == {
        "parse", "resolve", "encode", "plan", "fold", "turn", "send", "write", "verify", "announce", "ack"
    }  # fmt: skip

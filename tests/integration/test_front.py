"""The front before the embedded broker, with librdkafka's own client and with ours."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded.broker import broker_process
from deploy.embedded.front import Front
from deploy.embedded.ports import free_ports, is_free
from streams.broker import KafkaConfig
from streams.broker.admin import Admin, TopicSpec
from streams.broker.producer import Outgoing, Producer

pytestmark = pytest.mark.integration


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """A Tansu behind a port on which a front may stand: (the front's, its own)."""
    front, own = free_ports(2)
    argv, _ = broker_process(own, advertised=front)
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield front, own
    finally:
        process.kill()
        process.wait()


async def up(port: int) -> None:
    for _ in range(100):
        if not is_free(port):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the broker did not listen")


async def test_our_client_works_through_the_front_and_a_close_cuts_it(ports: tuple[int, int]) -> None:
    await up(ports[1])
    front = Front(*ports)
    await front.start()
    config = KafkaConfig(brokers=(f"127.0.0.1:{ports[0]}",), implementation="tansu")
    async with Admin(config) as admin:
        await admin.create_topics([TopicSpec("clicks", 4)])
    async with Producer(config) as producer:
        await producer.send_many("clicks", [Outgoing(b"ana", b"x" * 100_000) for _ in range(50)])
    await front.close()
    assert is_free(ports[0])


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed (apt-get install kcat)")
async def test_kcat_produces_and_reads_through_the_front(ports: tuple[int, int], tmp_path: Path) -> None:
    await up(ports[1])
    front = Front(*ports)
    await front.start()

    async def kcat(*arguments: str, given: bytes = b"") -> bytes:
        process = await asyncio.create_subprocess_exec(
            "kcat", "-b", f"127.0.0.1:{ports[0]}", *arguments, stdin=-1, stdout=-1, stderr=-1
        )
        out, err = await asyncio.wait_for(process.communicate(given), 30)
        assert process.returncode == 0, err.decode()
        return out

    await kcat("-P", "-t", "clicks", "-K", "|", given=b'ana|{"user_id": "ana"}\n')
    assert await kcat("-C", "-t", "clicks", "-o", "beginning", "-e", "-q", "-f", "%k %s") == b'ana {"user_id": "ana"}'
    await front.close()

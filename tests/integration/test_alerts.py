"""The rules in a real Prometheus over a running stack, and a real Alertmanager that tells of faults that come and go.

Time in the rules is a sixtieth of what it is (`tests/fixtures/alerting.py`); all else is as it is delivered.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.embedded.stack import Stack
from streams.base.errors import EncoderUnavailable
from streams.commands.prometheus_check import check_prometheus
from streams.encoder.breaker import Breaker
from streams.encoder.client import TritonEncoder
from tests.fixtures.alerting import Receiver, installed, receiving, watching
from tests.fixtures.triton import crash_model
from tests.oracle.generate import Made
from tests.oracle.ledger import Ledger
from tests.unit.test_alerts import ALERTS, RECORDED, RUNBOOK

pytestmark = [
    pytest.mark.integration, pytest.mark.slow,
    pytest.mark.skipif(not installed(), reason="no prometheus and prometheus-alertmanager on PATH (make tools)"),
]  # fmt: skip

TOPICS = {"clicks": "clicks"}


async def until(condition: Callable[[], Awaitable[Any] | Any], what: str, within_s: float = 60.0) -> None:
    """Wait for a condition; says what did not come about."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                done = condition()
                if await done if isinstance(done, Awaitable) else done:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what}") from None


def text(number: int) -> Made:
    """A search for words that nobody has searched for before, so that Triton is asked."""
    event = {"event_id": f"s{number}", "user_id": "ada", "type": "search", "text": f"the cup final of {number}"}
    return Made("clicks", b"ada", json.dumps(event).encode())


@asynccontextmanager
async def encoding(url: str) -> AsyncIterator[None]:
    """Somebody else who asks Triton to encode, again and again, whatever it answers."""
    encoder = TritonEncoder(url, deadline_s=2.0, breaker=Breaker(failures=1 << 30))

    async def ask() -> None:
        for number in count():
            with suppress(EncoderUnavailable):
                await encoder.encode([f"a walk of {number} miles"])
            await asyncio.sleep(0.2)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await encoder.close()


def told(receiver: Receiver, name: str, status: str, **labels: str) -> Callable[[], bool]:
    return lambda: bool(receiver.alerts(name, status, **labels))


@pytest.mark.timeout(300)  # a start of the stack, and three faults that come and go
async def test_faults_are_told_of_when_they_come_and_when_they_are_over(tmp_path: Path) -> None:
    (folder := tmp_path / "watch").mkdir()
    with receiving() as receiver:
        async with Stack(tmp_path / "data", ports="free") as stack, httpx.AsyncClient(timeout=10) as client:
            ledger = Ledger(tmp_path / "ledger", TOPICS, stack.addresses()["Kafka"])
            with watching(folder, stack.ports, receiver) as (prometheus, alertmanager):

                async def ask(path: str, url: str = prometheus) -> Any:
                    return (await client.get(f"{url}/api/{path}")).raise_for_status().json()

                await check_rules(ask)
                await check_rules(lambda path: ask(path, stack.addresses()["Prometheus"]))  # the stack's own has them

                async def calm() -> bool:
                    return not await firing(ask)

                await until(calm, "nothing is wrong")
                await ledger.produce([text(0)])

                # Poison, and beside it a model whose process dies.
                await ledger.produce([Made("clicks", b"ada", b"{ no JSON")])
                async with encoding(stack.settings.triton.url):
                    await until(told(receiver, "InterestsDeadLetters", "firing"), "dead letters are told of")
                    assert await doctor_says(stack, prometheus) == [("WARN", "firing: InterestsDeadLetters")]
                    triton = stack.pids()["triton"]
                    assert crash_model(triton) == 1
                    await ledger.produce([text(number) for number in range(1, 40)])
                    await until(told(receiver, "InterestsTritonModelDead", "firing"), "the dead model is told of")
                    await until(lambda: breaker(ask, alertmanager), "the breaker's alert fires and is held back")
                    await until(told(receiver, "InterestsTritonModelDead", "resolved"), "the model is back")
                    assert stack.pids()["triton"] != triton  # the stack has started it again
                await until(told(receiver, "InterestsDeadLetters", "resolved"), "no dead letter for a while")
                [letter] = {one["summary"] for one in summaries(receiver, "InterestsDeadLetters")}
                assert letter == "clicks: records set aside at stage parse, bad_json"

                # A worker that is frozen, and an erasure that waits for it.
                async def pending_s() -> float:
                    page = (await client.get(f"{stack.api_url}/metrics")).raise_for_status().text
                    return float(page.split("\ninterests_api_erasure_pending_seconds ")[1].split("\n")[0])

                async def carried_out() -> bool:
                    return await pending_s() == 0

                # The first receipt asks Kafka what its topics keep, over a connection that is made for it.
                (await client.delete(f"{stack.api_url}/v1/users/ben")).raise_for_status()
                await until(carried_out, "an erasure has taken effect")
                worker = stack.pids()["worker"]
                os.kill(worker, signal.SIGSTOP)
                try:
                    accepted = await client.delete(f"{stack.api_url}/v1/users/ada")
                    assert (accepted.status_code, accepted.json().get("verified")) == (202, False), accepted.text
                    assert await pending_s() > 0
                    await until(told(receiver, "InterestsNoWorker", "firing"), "no worker answers")
                finally:
                    os.kill(worker, signal.SIGCONT)
                await until(told(receiver, "InterestsNoWorker", "resolved"), "it answers again")
                await until(carried_out, "the erasure has taken effect")
                check_told(receiver)


async def doctor_says(stack: Stack, prometheus: str) -> list[tuple[str, str]]:
    api = stack.settings.api.model_copy(update={"prometheus_url": prometheus})
    findings = await check_prometheus(stack.settings.model_copy(update={"api": api}))
    assert findings is not None
    return [(one.status, one.seen) for one in findings.entries]


async def check_rules(ask: Callable[..., Awaitable[Any]]) -> None:
    """Every part is scraped, and every rule is worked out without an error on what is there."""

    async def scraped() -> bool:
        targets = (await ask("v1/targets"))["data"]["activeTargets"]
        health = {one["labels"]["job"]: one["health"] for one in targets}
        return health == dict.fromkeys(("worker", "learner", "api", "triton", "qdrant", "prometheus"), "up")

    async def worked_out() -> bool:
        groups = (await ask("v1/rules"))["data"]["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] == "err"] == []
        assert len(rules) == len(ALERTS) + len(RECORDED)
        return all(rule["health"] == "ok" for rule in rules)

    await until(scraped, "every part is scraped")
    await until(worked_out, "every rule is worked out")


async def firing(ask: Callable[..., Awaitable[Any]]) -> set[str]:
    alerts = (await ask("v1/alerts"))["data"]["alerts"]
    return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}


async def breaker(ask: Callable[..., Awaitable[Any]], alertmanager: str) -> bool:
    """Whether the alert of the encoder's breaker fires, and Alertmanager holds it back for the dead model's sake."""
    alerts = await ask("v2/alerts", alertmanager)
    mine = [one for one in alerts if one["labels"]["alertname"] == "InterestsEncoderBreakerOpen"]
    return any(one["status"]["inhibitedBy"] for one in mine)


def summaries(receiver: Receiver, name: str) -> list[dict[str, str]]:
    return [one["annotations"] for status in ("firing", "resolved") for one in receiver.alerts(name, status)]


def check_told(receiver: Receiver) -> None:
    """Whoever was told, was told what it is and where to read on; critical ones went to whoever is on call."""
    for one in receiver.told:
        name = one["labels"]["alertname"]
        assert f"\n### {name}\n" in RUNBOOK
        assert one["annotations"]["runbook_url"].endswith(f"#{name.lower()}")
        assert "{{" not in str(one["annotations"])
        assert (one["receiver"] == "on-call") == (one["labels"]["severity"] == "critical")

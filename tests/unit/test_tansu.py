"""What is done for the embedded broker alone, and that nothing of it is done for another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aiokafka.errors import NoError, RebalanceInProgressError

from streams.broker.config import KafkaConfig
from streams.broker.consumer_thread import JoinWatch
from streams.broker.tansu import LostLeader, leave_at_generation_0

REBALANCING, WELL = RebalanceInProgressError.errno, NoError.errno


class Coordinator:
    """As much of aiokafka's coordinator as is used: it answers what the test says."""

    group_id = "group"

    def __init__(self, generation: int = 0) -> None:
        self.generation, self.member_id = generation, "mine"
        self.requests: list[Any] = []
        self.answer: Any = None

    async def _send_req(self, request: Any) -> Any:
        self.requests.append(request)
        return self.answer


def test_a_leader_that_stays_away_in_one_generation_is_replaced() -> None:
    coordinator, now_s = Coordinator(), [0.0]
    lost = LostLeader(coordinator, patience_s=10, clock=lambda: now_s[0])
    for now_s[0] in (0, 5, 10):
        lost.synced("theirs", REBALANCING)
    assert coordinator.member_id == "mine"
    now_s[0] = 10.1
    lost.synced("theirs", REBALANCING)
    assert coordinator.member_id == "theirs"


def test_a_leader_that_answers_or_changes_is_waited_for_anew() -> None:
    coordinator, now_s = Coordinator(), [0.0]
    lost = LostLeader(coordinator, patience_s=10, clock=lambda: now_s[0])
    lost.synced("theirs", REBALANCING)
    now_s[0] = 9
    lost.synced("theirs", WELL)
    now_s[0] = 11
    lost.synced("theirs", REBALANCING)
    coordinator.generation = 1
    now_s[0] = 22
    lost.synced("theirs", REBALANCING)
    now_s[0] = 31
    lost.synced("another", REBALANCING)
    now_s[0] = 40
    lost.synced("another", REBALANCING)
    assert coordinator.member_id == "mine"


async def test_the_leaders_id_is_seen_with_every_broker() -> None:
    coordinator = Coordinator()
    watch = JoinWatch(coordinator)
    coordinator.answer = SimpleNamespace(leader_id="theirs")
    await coordinator._send_req("join")
    assert watch.leader_id == "theirs"
    coordinator.answer = SimpleNamespace(member_assignment=b"", error_code=WELL)
    assert await coordinator._send_req("sync") is coordinator.answer
    synced: list[tuple[str, int]] = []
    other = JoinWatch(coordinator, lambda leader, error: synced.append((leader, error)))
    await coordinator._send_req("sync")
    assert synced == [("", WELL)]
    assert other.leader_id == ""


async def test_only_generation_0_is_left_by_hand() -> None:
    for generation, requests in ((0, 1), (1, 0), (-1, 0)):
        coordinator = Coordinator(generation)
        await leave_at_generation_0(coordinator)
        assert len(coordinator.requests) == requests
    await leave_at_generation_0(None)


def test_idempotence_is_on_but_for_the_embedded_broker() -> None:
    assert KafkaConfig(brokers=("a:1",)).idempotent
    assert not KafkaConfig(brokers=("a:1",), producer_idempotent=False).idempotent
    assert not KafkaConfig(brokers=("a:1",), implementation="tansu").idempotent

"""What exists for Tansu alone, the embedded broker (0.6.0); nothing of it runs unless `kafka.implementation` says so.

It cannot produce idempotently either: see `KafkaConfig.idempotent`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, RebalanceInProgressError
from aiokafka.protocol.group import LeaveGroupRequest

LEADER_LATE_S = 5.0  # a leader commits before it joins again, see transport.LAST_COMMIT_WITHIN_S
_FETCH_WAIT_MS = 50

log = logging.getLogger(__name__)


class LostLeader:
    """Takes the place of a group's leader that left without the broker noticing.

    Tansu keeps naming a leader that left while another member was joining: followers then wait for its assignment for
    ever, in one and the same generation, until the broker is started again. After `patience_s` of that this member
    joins under the leader's id, which makes it the leader. A broker that starts a generation for every join, as Kafka
    does, never gives the same generation twice, so there this does not happen.
    """

    def __init__(self, coordinator: Any, *, patience_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._coordinator = coordinator
        self._patience_s = patience_s
        self._clock = clock
        self._waiting: tuple[tuple[int, str], float] | None = None

    def synced(self, leader_id: str, error_code: int) -> None:
        """A SyncGroup was answered, in the generation that `leader_id` leads."""
        stuck_in = (self._coordinator.generation, leader_id)
        if error_code != RebalanceInProgressError.errno:
            self._waiting = None
        elif self._waiting is None or self._waiting[0] != stuck_in:
            self._waiting = stuck_in, self._clock()
        elif self._clock() - self._waiting[1] > self._patience_s:
            log.warning("the group's leader left and the broker did not notice; this worker takes its place")
            self._coordinator.member_id = leader_id
            self._waiting = None


async def leave_at_generation_0(coordinator: Any) -> None:
    """Leave a group in its generation 0: Tansu counts from there, and aiokafka leaves only from 1 on.

    The next worker would wait out our session.
    """
    if coordinator is None or coordinator.generation != 0:
        return
    try:
        await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, coordinator.member_id))
    except KafkaError as error:
        log.warning("leaving the group failed: %r", error)


async def log_ends(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """The ends of the partitions a consumer was assigned, by the high watermarks of fetches from near them.

    Tansu's ListOffsets answers with the last batch's base offset + 1. The consumer's positions are moved. It is to be
    guarded (`guarded_fetch`): nobody may be able to read the last batch.
    """
    for partition, near in (await consumer.end_offsets(partitions)).items():
        consumer.seek(partition, near)
    while any(consumer.highwater(partition) is None for partition in partitions):
        await consumer.getmany(timeout_ms=_FETCH_WAIT_MS)
    return {partition: int(consumer.highwater(partition)) for partition in partitions}

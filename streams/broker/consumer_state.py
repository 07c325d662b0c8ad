"""How a running worker stands with its broker: lag, time since the last commit, and whether its generation holds."""

from __future__ import annotations

import asyncio
from time import monotonic

from aiokafka.errors import KafkaError, NoError, RebalanceInProgressError, for_code
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest

from streams.base.errors import BrokerUnavailable
from streams.broker.app import BrokerApp
from streams.broker.fetched_batch import GroupIdentity
from streams.broker.transport import BatchConsumer

CONFIRM_WITHIN_S = 10.0


class ConsumerState:
    """Reads a worker's consumer; while that holds no partitions there is nothing to read."""

    def __init__(self, app: BrokerApp) -> None:
        self._app = app
        self._committed, self._moved_s = -1, monotonic()

    def _consumer(self) -> BatchConsumer | None:
        consumer = self._app._consumer
        return consumer if isinstance(consumer, BatchConsumer) and consumer.identity is not None else None

    def lag(self) -> dict[tuple[str, int], int]:
        """Records between what is committed and the log's end, by topic and partition, as of the last fetches."""
        consumer = self._consumer()
        if consumer is None:
            return {}
        lags: dict[tuple[str, int], int] = {}
        for source in list(consumer.assignment()):
            end = consumer.highwater(source)
            if end is not None:
                lags[source.topic, source.partition] = max(0, end - (consumer._committed_offset.get(source) or 0))
        return lags

    def seconds_since_commit(self) -> float:
        """Since offsets were last committed; 0 while no batch is out."""
        consumer = self._consumer()
        if consumer is None or not consumer.ledger.outstanding():
            return 0.0
        return monotonic() - consumer.last_progress_s

    def stuck_s(self) -> float:
        """Since offsets were last committed, or progress was noted, while records wait; 0 where all is committed."""
        consumer = self._consumer()
        if consumer is None:
            return 0.0
        committed = sum(offset or 0 for offset in list(consumer._committed_offset.values()))
        if committed != self._committed or not (consumer.ledger.outstanding() or any(self.lag().values())):
            self._committed, self._moved_s = committed, monotonic()
        return monotonic() - max(self._moved_s, consumer.last_progress_s)

    def partitions(self) -> int | None:
        """How many partitions are held; None while there is no assignment."""
        consumer = self._consumer()
        return None if consumer is None else len(consumer.assignment())

    async def answers(self) -> bool:
        """Whether a broker answers the consumer's own connection. Raises BrokerUnavailable."""
        consumer = self._consumer()
        if consumer is None:
            return False
        client = consumer._thread._ensure_consumer()._client
        did = False
        try:
            await consumer._thread.call_thread(client.send, client.get_random_node(), MetadataRequest([]))
            did = True
        except KafkaError as error:
            raise BrokerUnavailable("the broker does not answer") from error
        finally:
            if not did:  # nothing can be committed to a broker that is away: that is no standstill of ours
                self._moved_s = monotonic()
        return True

    async def confirm(self, identity: GroupIdentity) -> bool:
        """Ask the group's coordinator whether `identity` is a member of its current generation.

        A heartbeat of a past generation is refused; one during a rebalance is accepted until the next
        generation begins. Raises BrokerUnavailable where the coordinator does not answer.
        """
        consumer = self._consumer()
        if consumer is None or consumer.identity is not identity:
            return False
        coordinator = consumer._thread._ensure_consumer()._coordinator
        request = HeartbeatRequest(coordinator.group_id, identity.generation, identity.member_id)
        try:
            async with asyncio.timeout(CONFIRM_WITHIN_S):
                response = await consumer._thread.call_thread(coordinator._send_req, request)
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailable("the group's coordinator does not answer a heartbeat") from error
        return for_code(response.error_code) in (NoError, RebalanceInProgressError)

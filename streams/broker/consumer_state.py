"""What a running worker's consumer is at: lag, what is out, what nobody fetched, and whether its generation holds."""

from __future__ import annotations

import asyncio

from aiokafka.errors import KafkaError, NoError, RebalanceInProgressError, for_code
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.metadata import MetadataRequest
from faust.types import TP

from streams.base.errors import BrokerUnavailable
from streams.broker.admin import Admin
from streams.broker.app import BrokerApp
from streams.broker.fetched_batch import GroupIdentity, Partition
from streams.broker.lag import lag_of, readable_end
from streams.broker.liveness import ConsumerFacts
from streams.broker.transport import BatchConsumer

ASK_WITHIN_S = 10.0
CONFIRM_WITHIN_S = 10.0


class ConsumerState:
    """Reads a worker's consumer; while that holds no partitions there is little to read."""

    def __init__(self, app: BrokerApp) -> None:
        self._app = app

    def _consumer(self) -> BatchConsumer | None:
        consumer = self._app._consumer
        return consumer if isinstance(consumer, BatchConsumer) and consumer.identity is not None else None

    def facts(self) -> ConsumerFacts:
        """What the judge of liveness is to know of the consumer now."""
        consumer = self._app._consumer
        if not isinstance(consumer, BatchConsumer):
            return ConsumerFacts()
        failure = consumer.failure()
        return ConsumerFacts(
            assigned=consumer.identity is not None,
            batches_out=consumer.ledger.outstanding(),
            uncommitted=consumer.uncommitted(),
            lag=sum(self.lag().values()),
            failure=None if failure is None else repr(failure),
        )

    def lag(self) -> dict[tuple[str, int], int]:
        """How far the worker is behind, by topic and partition, as of the last fetches; `streams.broker.lag`."""
        consumer = self._consumer()
        if consumer is None:
            return {}
        client, config = consumer._thread._ensure_consumer(), self._app.kafka
        lags: dict[tuple[str, int], int] = {}
        for source in list(consumer.assignment()):
            end = readable_end(client.highwater(source), client.last_stable_offset(source), config)
            if end is not None:
                place = Partition(source.topic, source.partition)
                committed, begin = consumer._committed_offset.get(source), consumer.ledger.begun(place)
                lags[place] = lag_of(end, committed=committed, begin=begin)
        return lags

    async def behind(self) -> dict[TP, int]:
        """The fetcher's position in every partition whose log, by the broker's answer, has more records.

        Raises BrokerUnavailable.
        """
        consumer = self._consumer()
        assigned = consumer.assignment() if consumer is not None else ()
        if consumer is None or not assigned:
            return {}
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                ends = await consumer.highwaters(*assigned)
                positions = {source: await consumer.position(source) for source in assigned}
        except (KafkaError, TimeoutError) as error:
            raise BrokerUnavailable("the broker does not answer where its logs end") from error
        return {source: at for source, at in positions.items() if at is not None and at < ends[source]}

    def held(self) -> tuple[GroupIdentity, frozenset[Partition]] | None:
        """The assignment in force and its partitions; None while there is none."""
        consumer = self._consumer()
        if consumer is None or (identity := consumer.identity) is None:
            return None
        return identity, frozenset(Partition(one.topic, one.partition) for one in consumer.assignment())

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
        answered = False
        try:
            await consumer._thread.call_thread(client.send, client.get_random_node(), MetadataRequest([]))
            answered = True
        except KafkaError as error:
            raise BrokerUnavailable("the broker does not answer") from error
        finally:
            if not answered:  # nothing can be committed to a broker that is away: that is no standstill of ours
                self._app.liveness.excuse()
        return True

    def committed(self, source: Partition) -> int | None:
        """The offset committed of a partition, as far as this worker knows."""
        consumer = self._consumer()
        return None if consumer is None else consumer._committed_offset.get(TP(*source))

    async def members(self) -> frozenset[str]:
        """The ids of the group's members. Raises BrokerUnavailable."""
        async with Admin(self._app.kafka) as admin:
            return frozenset(member.member_id for member in (await admin.group(self._app.kafka.group_id)).members)

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

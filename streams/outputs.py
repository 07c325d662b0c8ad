"""What a worker sends on beside dead letters: changes of trees, for those who watch them."""

from __future__ import annotations

from streams.broker.producer import Outgoing, Producer
from streams.nodes import NodePolicy
from streams.pipeline import Report
from streams.updates import encoded, updates_of

#: Header that names the sender's group: while a second group fills another encoder's collections, its changes are
#: not those that people look at.
GROUP = "group"


class Announcer:
    """Sends one record a user whose tree a take has changed, keyed by user, to the topic of updates."""

    def __init__(self, producer: Producer, topic: str, group: str, policy: NodePolicy) -> None:
        self._producer, self._topic, self._policy = producer, topic, policy
        self._headers = ((GROUP, group.encode()),)

    async def announce(self, report: Report, at_ms: int) -> int:
        """Announce a take's changes; how many users it told of, once the broker has acknowledged all.

        Call it after the nodes are durable and before the take is acknowledged: then every change is announced at
        least once. Raises BrokerUnavailable.
        """
        if not self._topic:
            return 0
        updates = updates_of(report.nodes, report.events, report.weighed, self._policy, at_ms)
        records = [Outgoing(key, value, self._headers) for key, value in encoded(updates)]
        if records:
            await self._producer.send_many(self._topic, records)
        return len(records)

"""What a worker sends on beside dead letters: changes of trees, votes by item, newcomers' first events by cohort."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.broker.producer import Outgoing, Producer
from streams.interests.nodes import Node, NodePolicy
from streams.interests.plan import Plan, Weighed
from streams.interests.popularity import pack_votes, tally
from streams.interests.priors import PriorPolicy, beginnings, pack_beginnings
from streams.interests.updates import GROUP, encoded, updates_of
from streams.pipeline.report import Report


class UpdatesProducer:
    """Sends one record a user whose tree a batch has changed, keyed by user, to the topic of updates."""

    def __init__(self, producer: Producer, topic: str, group: str, policy: NodePolicy) -> None:
        self._producer, self._topic, self._policy = producer, topic, policy
        self._headers = ((GROUP, group.encode()),)

    async def announce(self, report: Report, at_ms: int) -> int:
        """Announce a batch's changes; how many users it told of, once the broker has acknowledged all.

        Call it after the nodes are durable and before the batch is acknowledged: then every change is announced at
        least once. Raises BrokerUnavailable.
        """
        if not self._topic:
            return 0
        updates = updates_of(report.nodes, report.events, report.weighed, self._policy, at_ms)
        records = [Outgoing(key, value, self._headers) for key, value in encoded(updates)]
        if records:
            await self._producer.send_packed(self._topic, records)
        return len(updates)


@dataclass(slots=True)
class DerivedEventsProducer:
    """Sends what a batch's users say of items, and what its newcomers begin with; an empty topic's part is left out."""

    producer: Producer
    popularity_topic: str
    population_topic: str
    group: str
    priors: PriorPolicy
    faint_below: float

    async def __call__(self, plan: Plan, weighed: Sequence[Weighed], profiles: Mapping[str, Node], log: int) -> None:
        """Send, and return once the broker has acknowledged all. Raises BrokerUnavailable.

        Call it before the nodes are written: a batch that is tried again is told again, which the readers of both
        topics recognise; after the nodes are written nobody would know that it is still to be told.
        """
        sends: dict[str, list[Outgoing]] = {}
        if self.popularity_topic:
            votes = tally(plan.contributions, self.group, log)
            sends[self.popularity_topic] = [Outgoing(one.item_id.encode(), pack_votes(one)) for one in votes]
        if self.population_topic:
            firsts = beginnings(weighed, plan, profiles, self.priors, self.faint_below, self.group, log)
            sends[self.population_topic] = [Outgoing(one.cohort.encode(), pack_beginnings(one)) for one in firsts]
        await asyncio.gather(*(self.producer.send_packed(topic, out) for topic, out in sends.items() if out))

"""What a worker sends on: changes of trees, votes and pairs by item, first events by cohort, ranking examples."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streams.broker.producer import Outgoing, Producer
from streams.interests.nodes import NodePolicy
from streams.interests.pair_records import pack_pairs, pairs_of
from streams.interests.popularity import pack_votes, tally
from streams.interests.priors import beginnings, pack_beginnings
from streams.interests.updates import GROUP, encoded, updates_of
from streams.pipeline.erase import DerivedChanges
from streams.pipeline.report import Report
from streams.ranking.examples import Example, pack_example

_EXAMPLES_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatesProducer:
    """Sends one record a user whose tree a batch has changed, keyed by user, to the topic of updates.

    With an empty `topic` nothing is sent. `group` goes into a header of every record. `holds_back` says of so many
    people whether their changes stay unannounced: those that a group makes whose encoder does not serve.
    """

    producer: Producer
    topic: str
    group: str
    policy: NodePolicy
    holds_back: Callable[[int], bool] = lambda _: False

    async def announce(self, report: Report, at_ms: int) -> int:
        """Announce a batch's changes; returns of how many users, once the broker has acknowledged all.

        Call it after the nodes are durable and before the batch is acknowledged: then every change is announced at
        least once. Raises BrokerUnavailable.
        """
        if not self.topic:
            return 0
        updates = updates_of(report.nodes, report.events, report.weighed, self.policy, at_ms)
        if updates and self.holds_back(len(updates)):
            return 0
        headers = ((GROUP, self.group.encode()),)
        records = [Outgoing(key, value, headers=headers) for key, value in encoded(updates)]
        if records:
            await self.producer.send_packed(self.topic, records)
        return len(updates)


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedEventsProducer:
    """Sends what changes in sums over everybody, each kind to its topic; nothing to a nameless topic.

    `together_partition` tells in which partition of its topic an item's pairs belong.
    """

    producer: Producer
    popularity_topic: str
    together_topic: str
    together_partition: Callable[[str], int]
    population_topic: str
    group: str

    async def __call__(self, changes: DerivedChanges, log: int) -> None:
        """Send, and return once the broker has acknowledged all. Raises BrokerUnavailable.

        Call it before the nodes are written: a batch that is tried again is sent again, which the readers of these
        topics recognise; after the nodes are written nobody would know that it is still to be sent.
        """
        sends: dict[str, list[Outgoing]] = {}
        if self.popularity_topic:
            tallied = tally(changes.votes, self.group, log)
            sends[self.popularity_topic] = [Outgoing(one.item_id.encode(), pack_votes(one)) for one in tallied]
        if self.together_topic:
            pairs = pairs_of(changes.pairs, self.group, log, self.together_partition)
            sends[self.together_topic] = [Outgoing(one.abouts[0].encode(), pack_pairs(one)) for one in pairs]
        if self.population_topic:
            made = beginnings(changes.firsts, self.group, log)
            sends[self.population_topic] = [Outgoing(one.cohort.encode(), pack_beginnings(one)) for one in made]
        await asyncio.gather(*(self.producer.send_packed(topic, out) for topic, out in sends.items() if out))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplesProducer:
    """Sends examples of what people choose to the learner."""

    producer: Producer
    topic: str

    async def __call__(self, examples: Sequence[Example]) -> None:
        """Send, and return once the broker has acknowledged all: within a second, or BrokerUnavailable is raised."""
        records = [Outgoing(one.key, pack_example(one)) for one in examples]
        await self.producer.send_packed(self.topic, records, deadline_s=_EXAMPLES_WITHIN_S)

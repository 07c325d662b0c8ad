"""Topics, groups and lag, for setting up and for looking in from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from time import monotonic
from types import MappingProxyType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka import errors as kafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.protocol.admin import DeleteGroupsRequest

from streams.base.errors import BrokerUnavailable, ConfigurationError
from streams.broker import tansu
from streams.broker.clients import kafka_errors
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Partition
from streams.broker.guarded_fetch import guard
from streams.broker.lag import lag_of

RETRY_S = 0.2
NO_CONFIG: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to create; `config` in Kafka's own names, such as `cleanup.policy: compact`."""

    name: str
    partitions: int
    _: KW_ONLY
    replication: int = 1
    config: Mapping[str, str] = field(default_factory=lambda: NO_CONFIG)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker has it; `created`: by the call that returned it."""

    name: str
    partitions: int
    _: KW_ONLY
    replication: int
    created: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Where a group is in a partition: `committed` is the next offset it reads (None before the first commit),
    `end` the end of what it can read, `lag` the offsets between; a group without a commit lags by the whole log.
    See `streams.broker.lag` for what that means.
    """

    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A group's member and what it holds."""

    member_id: str
    client_id: str
    host: str
    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group as its coordinator describes it; `state` as Kafka names it, such as Stable, Empty or Dead."""

    group_id: str
    state: str
    members: tuple[Member, ...]


class Admin:
    """An admin connection: `async with Admin(config) as admin`. Every call ends within `request_timeout_s`."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._client: AIOKafkaAdminClient | None = None

    async def __aenter__(self) -> Admin:
        client = AIOKafkaAdminClient(**self._config.connection())
        try:
            await self._connect(client)
        except BaseException:
            await client.close()
            raise
        self._client = client
        return self

    async def __aexit__(self, *_: object) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def cluster_id(self) -> str | None:
        """The cluster's id; None where the broker does not say. Tansu's is the one it was started with."""
        cluster = await self._call("describing the cluster", self._connected().describe_cluster)
        return str(cluster["cluster_id"]) if cluster.get("cluster_id") else None

    async def topics(self, names: Iterable[str] | None = None) -> dict[str, Topic]:
        """The named topics that exist, or all but Kafka's internal ones."""
        # Asking for a topic by name makes it where the broker creates topics by itself (Tansu does): ask for all.
        described = await self._call("describing topics", self._connected().describe_topics, None)
        wanted = None if names is None else set(names)
        return {
            entry["topic"]: Topic(
                entry["topic"], len(entry["partitions"]), replication=len(entry["partitions"][0]["replicas"])
            )
            for entry in described
            if not entry["error_code"]
            and entry["partitions"]
            and (not entry["is_internal"] if wanted is None else entry["topic"] in wanted)
        }

    async def create_topics(self, specs: Sequence[TopicSpec]) -> list[Topic]:
        """Create what is missing and return every topic asked for, in order.

        A topic that exists is left as it is. ConfigurationError where one has another number of partitions
        (nothing is created then) or where the broker refuses a specification.
        """
        have = await self.topics([spec.name for spec in specs])
        for spec in specs:
            if spec.name in have and have[spec.name].partitions != spec.partitions:
                raise ConfigurationError(
                    f"got topic {spec.name} with {have[spec.name].partitions} partitions, expected {spec.partitions}; "
                    "set the partition count to what exists or make the topic anew under another name"
                )
        missing = [spec for spec in specs if spec.name not in have]
        refused = await self._create(missing) if missing else set()
        await self._until_visible([spec.name for spec in missing])
        if refused:  # somebody else created them meanwhile
            have |= {
                topic.name: topic
                for topic in await self.create_topics([spec for spec in missing if spec.name in refused])
            }
        return [
            have.get(spec.name) or Topic(spec.name, spec.partitions, replication=spec.replication, created=True)
            for spec in specs
        ]

    async def _until_visible(self, names: Sequence[str]) -> None:
        # Kafka answers before every broker knows of the topic; a client that asks at once would not find it.
        deadline_s = monotonic() + self._config.request_timeout_s
        while len(await self.topics(names)) < len(set(names)):
            if monotonic() > deadline_s:
                raise BrokerUnavailable(f"creating topics: not all of {', '.join(names)} can be seen")
            await asyncio.sleep(RETRY_S / 4)

    async def _create(self, specs: Sequence[TopicSpec]) -> set[str]:
        topics = [
            NewTopic(spec.name, spec.partitions, spec.replication, topic_configs=dict(spec.config)) for spec in specs
        ]
        answer = await self._call("creating topics", self._connected().create_topics, topics)
        existing = set()
        for name, code, *message in answer.topic_errors:
            error = kafka.for_code(code)
            if error is kafka.TopicAlreadyExistsError:
                existing.add(name)
            elif error is not kafka.NoError:
                raise ConfigurationError(f"creating topic {name}: {error.__name__} {message[0] if message else ''}")
        return existing

    async def delete_topics(self, names: Sequence[str]) -> None:
        """Delete topics with all their records; one that does not exist is passed over."""
        await self._call("deleting topics", self._connected().delete_topics, list(names))

    async def retention_ms(self, names: Sequence[str]) -> dict[str, int | None]:
        """How long each topic that exists keeps its records, in ms: None for ever, compacted, or not known."""
        limits: dict[str, int | None] = {}
        for name, values in (await self._configs(names, "retention.ms", "cleanup.policy")).items():
            deletes = "delete" in values.get("cleanup.policy", "delete")
            limit = values.get("retention.ms", "")
            limits[name] = int(limit) if deletes and limit.isdigit() else None
        return limits

    async def compacted(self, names: Sequence[str]) -> set[str]:
        """Which topics keep only the last record of a key, as far as this user may know."""
        policies = await self._configs(names, "cleanup.policy")
        return {name for name, values in policies.items() if "compact" in values.get("cleanup.policy", "")}

    async def _configs(self, names: Sequence[str], *wanted: str) -> dict[str, dict[str, str]]:
        """Settings that have a value, of each topic that exists; none where this user may not describe them."""
        asked = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(wanted))
                 for name in await self.topics(names)]  # fmt: skip
        if not asked:
            return {}
        answers = await self._call("describing configurations", self._connected().describe_configs, asked)
        return {
            name: {entry[0]: str(entry[1]) for entry in entries[0] if entry[1]} if not code else {}
            for answer in answers
            for code, _, _, name, *entries in answer.resources
        }

    async def group(self, group_id: str) -> Group:
        """A group's state and members; a group the broker does not know is Dead and has none."""
        answers = await self._call("describing the group", self._connected().describe_consumer_groups, [group_id])
        for group in answers[0].to_object()["groups"]:
            if group["group"] == group_id and not group["error_code"]:
                return Group(group_id, group["state"], tuple(map(_member, group["members"])))
        return Group(group_id, "Dead", ())

    async def delete_group(self, group_id: str) -> None:
        """Delete a group's offsets; one that the broker does not know is nothing to do.

        ConfigurationError where it has members.
        """
        node = await self._call("finding the group", self._connected().find_coordinator, group_id)
        asked = DeleteGroupsRequest([group_id])
        answer = await self._call("deleting the group", self._connected()._send_request, asked, node)
        for _, code in answer.results:
            error = kafka.for_code(code)
            if error not in (kafka.NoError, kafka.GroupIdNotFound):
                raise ConfigurationError(
                    f"group {group_id} cannot be deleted: {error.__name__}; stop its workers first"
                )

    async def lag(self, group_id: str, topics: Iterable[str]) -> list[Lag]:
        """How far a group is behind in every partition of the topics that exist."""
        described = await self.topics(topics)
        sources = [Partition(topic.name, number) for topic in described.values() for number in range(topic.partitions)]
        if not sources:
            return []
        committed = await self._committed(group_id, sources)
        begins, ends = await self._ends(sources)
        rows = []
        for source in sources:
            position, end = committed.get(source), ends[source]
            rows.append(
                Lag(
                    topic=source.topic,
                    partition=source.partition,
                    committed=position,
                    end=end,
                    lag=lag_of(end, committed=position, begin=begins[source]),
                )
            )
        return rows

    async def _committed(self, group_id: str, sources: Sequence[Partition]) -> dict[Partition, int]:
        wanted = [TopicPartition(*source) for source in sources]
        stored = await self._call(
            "reading committed offsets",
            self._connected().list_consumer_group_offsets,
            group_id,
            partitions=wanted,
        )
        return {Partition(*source): at.offset for source, at in stored.items() if at.offset >= 0}

    async def _ends(self, sources: Sequence[Partition]) -> tuple[dict[Partition, int], dict[Partition, int]]:
        """First offsets, and the ends of what can be read."""
        consumer = AIOKafkaConsumer(
            **self._config.connection(), enable_auto_commit=False, fetch_max_wait_ms=100,
            isolation_level=self._config.isolation_level,
        )  # fmt: skip
        wanted = [TopicPartition(*source) for source in sources]
        consumer.assign(wanted)
        try:
            await self._connect(consumer)
            begins = await self._call("reading first offsets", consumer.beginning_offsets, wanted)
            if self._config.implementation == "tansu":
                guard(consumer, self._config.max_unpacked_bytes)
                ends = await self._call("reading log ends", tansu.log_ends, consumer, wanted)
            else:
                ends = await self._call("reading log ends", consumer.end_offsets, wanted)
        finally:
            await consumer.stop()
        return (
            {Partition(*source): offset for source, offset in begins.items()},
            {Partition(*source): offset for source, offset in ends.items()},
        )

    def _connected(self) -> AIOKafkaAdminClient:
        if self._client is None:
            raise RuntimeError("got an admin client that is not connected, expected `async with Admin(config)`")
        return self._client

    async def _call(self, doing: str, request: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        """Send a request until it is answered; a coordinator that is still loading is asked again."""
        last: kafka.KafkaError | None = None
        with kafka_errors(doing):
            try:
                async with asyncio.timeout(self._config.request_timeout_s):
                    while True:
                        try:
                            return await request(*args, **named)
                        except kafka.KafkaError as error:
                            if not error.retriable:
                                raise
                            last = error
                        await asyncio.sleep(RETRY_S)
            except TimeoutError as error:
                raise last or error from error

    async def _connect(self, client: Any) -> None:
        with kafka_errors("connecting"):
            async with asyncio.timeout(self._config.request_timeout_s):
                await client.start()


def _member(entry: Mapping[str, Any]) -> Member:
    held: list[Partition] = []
    if entry["member_assignment"]:
        for topic, numbers in ConsumerProtocol.ASSIGNMENT.decode(entry["member_assignment"]).assignment:
            held += [Partition(topic, number) for number in numbers]
    return Member(
        member_id=entry["member_id"],
        client_id=entry["client_id"],
        host=entry["client_host"],
        partitions=tuple(sorted(held)),
    )

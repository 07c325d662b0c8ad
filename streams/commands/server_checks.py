"""The doctor's checks of servers: Kafka, Triton, Qdrant and the API, and how they fit together."""

from __future__ import annotations

from collections.abc import Mapping, Set

import httpx
import numpy as np

from encoders.contract import NORM_TOLERANCE
from encoders.histories import Histories
from streams.base.errors import ConfigurationError, InterestsError
from streams.commands.connections import admin_of, encoder_of, interests_of, producer_of
from streams.commands.findings import DEADLINE_S, Findings
from streams.commands.lag_wait import by_topic
from streams.commands.topics import read_topics, service_topics
from streams.encoder.text_model import EncoderInfo
from streams.settings.service import Settings


async def check_kafka(settings: Settings) -> Findings:
    """The broker, the topics, the group and its lag."""
    kafka = settings.kafka
    findings = Findings(f"Kafka at {kafka.brokers}")
    start = "start the broker, or set kafka.brokers (INTERESTS_KAFKA__BROKERS) to where it is"
    connection = admin_of(settings, DEADLINE_S - 0.5)
    try:
        admin = await findings.ask("reachable", connection.__aenter__(), start)
        if admin is None:
            return findings
        try:
            cluster = await findings.ask("cluster", admin.cluster_id(), start)
            findings.ok("reachable", f"cluster {cluster or 'without an id'}")
            topics = await findings.ask("topics", admin.topics(service_topics(settings)), start)
            if topics is None:
                return findings
            counts = {name: topic.partitions for name, topic in topics.items()}
            check_topics(findings, settings, counts)
            if kafka.implementation == "kafka":  # the embedded broker compacts nothing, and cannot be asked
                compacted = await findings.ask("compaction", admin.compacted(service_topics(settings)), start)
                check_compaction(findings, settings, compacted or set())
            await check_producer(findings, settings)
            lags = await findings.ask("lag", admin.lag(kafka.group, list(counts)), start)
            group = await findings.ask("group", admin.group(kafka.group), start)
            if lags is None or group is None:
                return findings
            ends = {lag.topic: 0 for lag in lags}
            for lag in lags:
                ends[lag.topic] += lag.end
            check_group(findings, settings, group.state, len(group.members), by_topic(lags), ends)
        finally:
            await connection.__aexit__(None, None, None)
    except ConfigurationError as error:
        findings.fail("reachable", str(error), "check the kafka section of the settings")
    return findings


async def check_producer(findings: Findings, settings: Settings) -> None:
    """Whether we may produce idempotently, and whether `kafka.implementation` fits the broker; nothing is written."""
    kafka = settings.kafka
    if kafka.implementation == "kafka" and not kafka.idempotent_producer:
        findings.ok("producer", "not idempotent: kafka.idempotent_producer is false")
        return
    wanted = kafka.model_copy(update={"implementation": "kafka", "idempotent_producer": True})
    connecting = producer_of(settings.model_copy(update={"kafka": wanted}), DEADLINE_S - 0.5)
    if kafka.implementation == "tansu":
        try:
            async with connecting:
                findings.warn(
                    "producer", "kafka.implementation is tansu, but this broker can produce idempotently",
                    "set kafka.implementation to kafka: the client's own retries then write nothing twice",
                )  # fmt: skip
        except InterestsError:
            findings.ok("producer", "not idempotent, as the embedded broker cannot; it keeps its records in memory")
        return
    to_do = (
        "for the broker of `interests up` read its `.interests/env` first, or set kafka.implementation to tansu; "
        "before Kafka 2.8 grant IdempotentWrite on the cluster, or set kafka.idempotent_producer to false"
    )
    if await findings.ask("producer", connecting.__aenter__(), to_do):
        await connecting.__aexit__(None, None, None)
        findings.ok("producer", "idempotent")


def check_topics(findings: Findings, settings: Settings, counts: Mapping[str, int]) -> None:
    """The service's topics; `counts` says how many partitions each topic of the broker has."""
    kafka = settings.kafka
    create = "interests topics create"
    missing = [name for name in service_topics(settings) if name not in counts]
    if missing:
        findings.fail("topics", f"missing: {', '.join(missing)}", create)
        return
    of_users = {name: counts[name] for name in (*kafka.event_topics, kafka.unresolved_topic)}
    if len(set(of_users.values())) > 1:
        partitions = ", ".join(f"{name} {count}" for name, count in of_users.items())
        findings.fail("topics", f"partitions differ: {partitions}", f"make them anew with the same number ({create})")
        return
    findings.ok("topics", f"all {len(counts)}, {next(iter(of_users.values()))} partitions each for events")


def check_compaction(findings: Findings, settings: Settings, compacted: Set[str]) -> None:
    """Which topics keep one record a key only, as far as this user may know: those of events may not."""
    kafka = settings.kafka
    wrong = sorted(compacted - {kafka.items_topic, kafka.updated_topic, kafka.ranking_weights_topic})
    if wrong:
        seen = f"compacted: {', '.join(wrong)}; all but the last event or dead letter of a key are deleted there"
        findings.fail("compaction", seen, "set their cleanup.policy to delete")


def check_group(
    findings: Findings, settings: Settings, state: str, members: int, lags: Mapping[str, int], ends: Mapping[str, int]
) -> None:
    """The workers' group and, by topic, how far it is behind and where logs end."""
    kafka = settings.kafka
    if members:
        findings.ok("group", f"{kafka.group}: {state.lower()}, {members} worker{'s' if members > 1 else ''}")
    else:
        findings.warn("group", f"{kafka.group}: {state.lower()}, no worker", "start one: interests worker")
    behind = {name: lags[name] for name in read_topics(settings) if lags.get(name)}
    seen = ", ".join(f"{lag:,} in {name}" for name, lag in behind.items()) or "nought"
    if behind and not members:
        findings.warn("lag", seen, "start a worker, which reads them")
    else:
        findings.ok("lag", seen)
    dead = {name: end for name, end in ends.items() if name.endswith(".dead") and end}
    if dead:
        seen = ", ".join(f"{end:,} in {name}" for name, end in dead.items())
        findings.warn(
            "dead letters",
            seen,
            f"`interests dead-letters open {next(iter(dead))}` shows each, and why (docs/events.md)",
        )


async def check_triton(settings: Settings) -> tuple[Findings, EncoderInfo | None]:
    """The encoder's server, its model, and one text encoded."""
    findings = Findings(f"Triton at {settings.triton.url}")
    start = "start Triton on the model repository, or set triton.url (INTERESTS_TRITON__URL) to its gRPC address"
    async with encoder_of(settings, DEADLINE_S - 0.5) as encoder:
        if not await findings.ask("ready", encoder.ready(), start):
            if not findings.failed:
                findings.fail("ready", f"model {settings.triton.model} does not answer that it is ready", start)
            return findings, None
        findings.ok("ready", f"model {settings.triton.model}")
        again = "export the model again (interests encoder export) and restart Triton"
        info = await findings.ask("contract", encoder.info(), again)
        if info is None:
            return findings, None
        findings.ok("contract", f"encoder {info.encoder_id}, {info.dim} dimensions, {info.max_batch} texts a request")
        # Triton says that it is ready even when the model's process has died.
        restart = "see Triton's log and restart it"
        encoded = await findings.ask("encodes", encoder.encode(["a cup of tea"]), restart)
        if encoded is not None:
            length = float(np.linalg.norm(encoded.vectors[0]))
            if encoded.poison or abs(length - 1) > NORM_TOLERANCE:
                findings.fail("encodes", f"a vector of length {length:.3f}, expected 1", again)
            else:
                findings.ok("encodes", f"a vector of length {length:.3f}")
    await check_learned(findings, settings, info)
    return findings, info


async def check_learned(findings: Findings, settings: Settings, info: EncoderInfo) -> None:
    """The model of learned interests, where one is set: whether it is served, fits the text encoder, and answers."""
    name = settings.learned.model
    async with interests_of(settings, info.encoder_id, DEADLINE_S - 0.5) as client:
        if client is None:
            return
        serve = f"serve the model {name}, or empty learned.model (INTERESTS_LEARNED__MODEL): docs/encoders.md"
        if not await findings.ask("learned interests", client.ready(), serve):
            if not findings.failed:
                findings.fail("learned interests", f"model {name} does not answer that it is ready", serve)
            return
        served = await findings.ask("learned interests", client.info(), serve)
        if served is None:
            return
        newcomer = Histories.empty(1, served.history, served.dim)
        if await findings.ask("learned interests", client.answers(newcomer), "see Triton's log and restart it"):
            seen = f"{served.model_id}, {served.history} items a person, tasks {', '.join(served.tasks)}"
            findings.ok("learned interests", seen)


async def check_api(settings: Settings) -> Findings:
    """The HTTP API, where the commands look for it; nothing else needs it."""
    url = settings.client.url.rstrip("/")
    findings = Findings(f"API at {url}")
    start = "interests api starts it; client.url (INTERESTS_CLIENT__URL) says where commands look for it"
    try:
        async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False) as client:
            answer = await client.get(f"{url}/readyz")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        findings.warn("serves", f"no answer: {type(error).__name__}", start)
        return findings
    if answer.status_code == httpx.codes.OK:
        findings.ok("serves", "it can read trees")
    else:
        findings.fail("serves", f"status {answer.status_code}: it cannot read trees", "see Qdrant above, and its log")
    if b'"keys":false' in answer.content:
        mend = "its log names the setting of the file and says what to mend in it"
        findings.fail("keys", "a file of its keys is not whole, so nobody is let in by it", mend)
    return findings

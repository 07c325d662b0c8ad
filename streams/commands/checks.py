"""The doctor's checks: settings and packages, Kafka, Triton, Qdrant, and how they fit together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from encoders.contract import NORM_TOLERANCE
from streams.base.errors import ConfigurationError, RetryableError
from streams.commands.connections import admin_of, encoder_of, look_of
from streams.commands.findings import DEADLINE_S, Findings
from streams.commands.lag_wait import by_topic
from streams.commands.topics import read_topics, service_topics
from streams.concepts.tree_file import load_tree
from streams.encoder.triton import EncoderInfo
from streams.settings.service import Settings
from streams.store.collections import ALIASES, CONTROL, POPULARITY, Collections, indexes_of
from streams.store.survey import Survey

#: Versions this service was written against; another one is not known to keep its promises.
EXACT: Final = {"faust-streaming": "0.15.3"}
SHOWN: Final = ("faust-streaming", "aiokafka", "tritonclient", "qdrant-client", "numpy", "pydantic-settings")
#: The first Qdrant with conditional upserts (`update_filter`), which the fence is made of.
QDRANT_LEAST: Final = (1, 16)
#: Environment variables that are read elsewhere than in the settings.
_OTHER_VARIABLES: Final = ("INTERESTS_CONFIG", "INTERESTS_MODEL_CACHE", "INTERESTS_TEST_")


def check_here(settings: Settings, environment: Mapping[str, str] = os.environ) -> Findings:
    """Settings file, environment, concept tree's file and packages of this installation."""
    here = Findings("This installation")
    file = Path(environment.get("INTERESTS_CONFIG", "interests.toml"))
    mine = sorted(name for name in environment if name.startswith("INTERESTS_"))
    source = f"{file}" if file.is_file() else "no file"
    here.ok("settings", f"{source}, {len(mine)} environment variables")
    sections = tuple(f"INTERESTS_{name.upper()}" for name in Settings.model_fields)
    strange = [name for name in mine if not name.startswith((*sections, *_OTHER_VARIABLES))]
    if strange:
        here.warn("environment", f"nothing reads {', '.join(strange)}", "see docs/settings.md for the names")
    versions = {name: _version(name) for name in SHOWN}
    for name, wanted in EXACT.items():
        if versions[name] != wanted:
            here.fail(name, f"got {versions[name]}, expected {wanted}", f"pip install {name}=={wanted}")
    here.ok("packages", ", ".join(f"{name} {number}" for name, number in versions.items()))
    return here


async def check_kafka(settings: Settings) -> Findings:
    """The broker, the topics, the group and its lag."""
    kafka = settings.kafka
    found = Findings(f"Kafka at {kafka.brokers}")
    start = "start the broker, or set kafka.brokers (INTERESTS_KAFKA__BROKERS) to where it is"
    connection = admin_of(settings, DEADLINE_S - 0.5)
    try:
        admin = await found.ask("reachable", connection.__aenter__(), start)
        if admin is None:
            return found
        try:
            cluster = await found.ask("cluster", admin.cluster_id(), start)
            found.ok("reachable", f"cluster {cluster or 'without an id'}")
            topics = await found.ask("topics", admin.topics(service_topics(settings)), start)
            if topics is None:
                return found
            counts = {name: topic.partitions for name, topic in topics.items()}
            _topics(found, settings, counts)
            lags = await found.ask("lag", admin.lag(kafka.group, list(counts)), start)
            group = await found.ask("group", admin.group(kafka.group), start)
            if lags is None or group is None:
                return found
            ends = {lag.topic: 0 for lag in lags}
            for lag in lags:
                ends[lag.topic] += lag.end
            check_group(found, settings, group.state, len(group.members), by_topic(lags), ends)
        finally:
            await connection.__aexit__(None, None, None)
    except ConfigurationError as error:
        found.fail("reachable", str(error), "check the kafka section of the settings")
    return found


def _topics(found: Findings, settings: Settings, counts: Mapping[str, int]) -> None:
    kafka = settings.kafka
    create = "interests topics create"
    missing = [name for name in service_topics(settings) if name not in counts]
    if missing:
        found.fail("topics", f"missing: {', '.join(missing)}", create)
        return
    of_users = {name: counts[name] for name in (*kafka.event_topics, kafka.unresolved_topic)}
    if len(set(of_users.values())) > 1:
        told = ", ".join(f"{name} {count}" for name, count in of_users.items())
        found.fail("topics", f"partitions differ: {told}", f"make them anew with the same number ({create})")
        return
    found.ok("topics", f"all {len(counts)}, {next(iter(of_users.values()))} partitions each for events")


def check_group(
    found: Findings, settings: Settings, state: str, members: int, lags: Mapping[str, int], ends: Mapping[str, int]
) -> None:
    """The workers' group and, by topic, how far it is behind and where logs end."""
    kafka = settings.kafka
    if members:
        found.ok("group", f"{kafka.group}: {state.lower()}, {members} worker{'s' if members > 1 else ''}")
    else:
        found.warn("group", f"{kafka.group}: {state.lower()}, no worker", "start one: interests worker")
    behind = {name: lags[name] for name in read_topics(settings) if lags.get(name)}
    told = ", ".join(f"{lag:,} in {name}" for name, lag in behind.items()) or "nought"
    if behind and not members:
        found.warn("lag", told, "start a worker, which reads them")
    else:
        found.ok("lag", told)
    dead = {name: end for name, end in ends.items() if name.endswith(".dead") and end}
    if dead:
        told = ", ".join(f"{end:,} in {name}" for name, end in dead.items())
        found.warn("dead letters", told, "their headers say what was wrong (docs/events.md)")


async def check_triton(settings: Settings) -> tuple[Findings, EncoderInfo | None]:
    """The encoder's server, its model, and one text encoded."""
    found = Findings(f"Triton at {settings.triton.url}")
    start = "start Triton on the model repository, or set triton.url (INTERESTS_TRITON__URL) to its gRPC address"
    async with encoder_of(settings, DEADLINE_S - 0.5) as encoder:
        if not await found.ask("ready", encoder.ready(), start):
            if not found.failed:
                found.fail("ready", f"model {settings.triton.model} does not answer that it is ready", start)
            return found, None
        found.ok("ready", f"model {settings.triton.model}")
        again = "export the model again (interests encoder export) and restart Triton"
        info = await found.ask("contract", encoder.info(), again)
        if info is None:
            return found, None
        found.ok("contract", f"encoder {info.encoder_id}, {info.dim} dimensions, {info.max_batch} texts a request")
        # Triton says that it is ready even when the model's process has died.
        restart = "see Triton's log and restart it"
        encoded = await found.ask("encodes", encoder.encode(["a cup of tea"]), restart)
        if encoded is not None:
            length = float(np.linalg.norm(encoded.vectors[0]))
            if encoded.poison or abs(length - 1) > NORM_TOLERANCE:
                found.fail("encodes", f"a vector of length {length:.3f}, expected 1", again)
            else:
                found.ok("encodes", f"a vector of length {length:.3f}")
    return found, info


async def check_api(settings: Settings) -> Findings:
    """The HTTP API, where the commands look for it; nothing else needs it."""
    url = settings.client.url.rstrip("/")
    found = Findings(f"API at {url}")
    start = "interests api starts it; client.url (INTERESTS_CLIENT__URL) says where commands look for it"
    try:
        async with httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False) as client:
            answer = await client.get(f"{url}/readyz")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        found.warn("serves", f"no answer: {type(error).__name__}", start)
        return found
    if answer.status_code == httpx.codes.OK:
        found.ok("serves", "it can read trees")
    else:
        found.fail("serves", f"status {answer.status_code}: it cannot read trees", "see Qdrant above, and its log")
    return found


async def check_qdrant(settings: Settings, info: EncoderInfo | None) -> Findings:
    """The store, its collections, aliases and payload indexes, and whether they fit the encoder."""
    qdrant = settings.qdrant
    found = Findings(f"Qdrant at {qdrant.host}:{qdrant.grpc_port}")
    start = "start Qdrant, or set qdrant.host and qdrant.grpc_port to where it is"
    async with look_of(settings, DEADLINE_S - 0.5) as look:
        survey = await found.ask("reachable", look.survey(), start)
    if survey is None:
        return found
    number = tuple(int(part) for part in survey.version.split(".")[:2] if part.isdigit())
    if number < QDRANT_LEAST:
        least = ".".join(map(str, QDRANT_LEAST))
        found.fail("reachable", f"version {survey.version}, expected {least} or newer", "upgrade Qdrant")
    else:
        found.ok("reachable", f"version {survey.version}")
    check_collections(found, survey, info)
    return found


def check_collections(found: Findings, survey: Survey, info: EncoderInfo | None) -> None:
    """What the server holds against what the encoder asks for."""
    begin = "a worker makes them when it starts: interests worker"
    aliased = [survey.aliases.get(alias) for alias in ALIASES]
    if not all(aliased):
        found.warn("aliases", "no interests are kept here yet", begin)
        return
    nodes, items = (str(name) for name in aliased)
    found.ok(
        "aliases",
        " and ".join(
            f"{alias} → …{str(name).removeprefix(alias)}" for alias, name in zip(ALIASES, aliased, strict=True)
        ),
    )
    wanted = Collections(info.encoder_id, info.dim) if info else None
    looked_at = sorted({nodes, items, *((wanted.interests, wanted.items) if wanted else ())})
    for name in looked_at:
        facts = survey.collections.get(name)
        if facts is None:
            found.warn("collections", f"{name} is not there", begin)
        elif wanted and name in (wanted.interests, wanted.items) and facts.dim != wanted.dim:
            told = f"{name} holds vectors of {facts.dim}, the encoder makes {wanted.dim}"
            found.fail(
                "collections", told, "name the encoder anew (interests encoder export), or delete the collection"
            )
        else:
            found.ok("collections", f"{name}: {facts.points:,} points of {facts.dim} dimensions")
    if wanted and nodes != wanted.interests:
        told = f"interests are read from {nodes}, workers write {wanted.interests}"
        found.warn("encoder", told, "once the new collection is full, switch the aliases to it")
    check_indexes(found, survey, [*looked_at, *((wanted.population,) if wanted else ()), POPULARITY])
    if CONTROL not in survey.collections:
        found.warn("control points", f"{CONTROL} is not there", begin)


def check_indexes(found: Findings, survey: Survey, names: Iterable[str]) -> None:
    """The payload indexes of those collections that are there: without one a filter reads every point."""
    there = {name: survey.collections[name].indexed for name in names if name in survey.collections}
    lacking = {name: sorted(indexes_of(name).keys() - indexed) for name, indexed in there.items()}
    for name, fields in lacking.items():
        if fields:
            found.warn("payload indexes", f"{name} lacks {', '.join(fields)}", "start a worker, which makes them")
    if there and not any(lacking.values()):
        fields = sorted({field for name in there for field in indexes_of(name)})
        found.ok("payload indexes", ", ".join(fields))


def check_concepts(found: Findings, settings: Settings, info: EncoderInfo | None) -> None:
    """The concept tree's file against the encoder."""
    file = settings.concepts.file
    if file is None:
        found.ok("concept tree", "the written taxonomy")
        return
    build = "build it again: interests concepts build"
    try:
        tree = load_tree(file)
    except (ConfigurationError, RetryableError) as error:
        found.fail("concept tree", str(error), build)
        return
    if info and tree.encoder_id != info.encoder_id:
        found.fail("concept tree", f"made with {tree.encoder_id}, Triton serves {info.encoder_id}", build)
    else:
        found.ok("concept tree", f"a file of version {tree.version}, {len(tree.concepts)} concepts")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"

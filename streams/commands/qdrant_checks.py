"""The doctor's checks of Qdrant: its version, what it holds, whether that fits the encoder, and where it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from streams.base.addresses import joined
from streams.commands.connections import surveyor_of
from streams.commands.findings import DEADLINE_S, Findings
from streams.encoder.text_model import EncoderInfo
from streams.settings.servers import QdrantSettings
from streams.settings.service import Settings
from streams.store.collections import ALIASES, CONTROL, POPULARITY, TOGETHER, Collections, indexes_of
from streams.store.crash_marks import CrashMark
from streams.store.placing import differences
from streams.store.server_version import fault_of, is_fatal, least
from streams.store.survey import CollectionFacts, Survey

_PLACES_SHOWN: Final = 3


async def check_qdrant(settings: Settings, info: EncoderInfo | None) -> tuple[Findings, Survey | None]:
    """The store, its collections, aliases and payload indexes, and whether they fit the encoder; and what it holds."""
    qdrant = settings.qdrant
    findings = Findings(f"Qdrant at {joined(qdrant.host, qdrant.grpc_port)}")
    start = "start Qdrant, or set qdrant.host and qdrant.grpc_port to where it is"
    async with surveyor_of(settings, DEADLINE_S - 0.5) as surveyor:
        survey = await findings.ask("reachable", surveyor.survey(), start)
        if survey is None:
            return findings, None
        marks = await findings.ask("set aside", surveyor.crash_marks(settings.kafka.group), start)
    check_qdrant_version(findings, survey.version, qdrant.old_servers)
    check_collections(findings, survey, info)
    check_copies(findings, survey, settings)
    check_set_aside(findings, marks or ())
    return findings, survey


def check_qdrant_version(findings: Findings, version: str, old_servers: str) -> None:
    """Whether this Qdrant holds what the service asks of it."""
    fault, to_do = fault_of(version), f"upgrade Qdrant to {least()} or newer"
    if not fault:
        findings.ok("reachable", f"version {version}")
    elif old_servers == "warn" and not is_fatal(version):
        findings.warn("reachable", fault, to_do)
    else:
        findings.fail("reachable", fault, to_do)


def check_copies(findings: Findings, survey: Survey, settings: Settings) -> None:
    """Shards and replicas of the service's collections: as the settings ask for, and all of them active."""
    ours = {name: facts for name, facts in survey.collections.items() if name == CONTROL or indexes_of(name)}
    for name, facts in sorted(ours.items()):
        for seen, to_do in _copy_faults(name, facts, settings.qdrant):
            findings.warn("shards and replicas", f"{name}: {seen}", to_do)
    if ours and not any(one.what == "shards and replicas" for one in findings.entries):
        shards = max(facts.copies.shards for facts in ours.values())
        replicas = max(facts.copies.replicas for facts in ours.values())
        findings.ok("shards and replicas", f"at most {shards} × {replicas} (shards × replicas), all active")


def _copy_faults(name: str, facts: CollectionFacts, qdrant: QdrantSettings) -> Iterator[tuple[str, str]]:
    """What is amiss with the copies of a collection, and what to do about it."""
    yield from differences(name, facts.copies, qdrant.placement)
    if facts.not_active:
        yield ", ".join(facts.not_active), "see Qdrant's log; a replica that is dead recovers by itself"
    copies, reads = facts.copies, qdrant.consistency.reads
    if isinstance(reads, int) and copies.replicas > 1 and copies.acknowledge + reads <= copies.replicas:
        mend = "set qdrant.read_consistency or the collection's write_consistency_factor so that together they are more"
        yield (
            f"{copies.acknowledge} of {copies.replicas} replicas have a write, {reads} is read",
            f"{mend} than the replicas (docs/qdrant.md)",
        )


def check_set_aside(findings: Findings, marks: Iterable[CrashMark]) -> None:
    """The records that workers set aside since they crashed over them, and partitions they die over now."""
    total, places = 0, []
    for mark in marks:
        total += mark.total
        places += [(one.at_ms, f"{mark.topic}-{mark.partition}-{one.offset} ({one.error})") for one in mark.aside]
        if mark.deaths:
            findings.warn(
                "workers died", f"{mark.deaths} over what begins at {mark.topic}-{mark.partition}-{mark.first}",
                "see the worker's log; a record that ends workers is found and set aside by itself",
            )  # fmt: skip
    if total:
        latest = [place for _, place in sorted(places, reverse=True)[:_PLACES_SHOWN]]
        more = f" and {total - len(latest):,} more" if total > len(latest) else ""
        findings.warn(
            "set aside", f"{total:,} records that crash workers, the latest: {', '.join(latest)}{more}",
            "they are among the dead letters of their topics, stage crash (docs/operations.md)",
        )  # fmt: skip


def check_collections(findings: Findings, survey: Survey, info: EncoderInfo | None) -> None:
    """What the server holds against what the encoder asks for."""
    begin = "a worker makes them when it starts: interests worker"
    aliased = [survey.aliases.get(alias) for alias in ALIASES]
    if not all(aliased):
        findings.warn("aliases", "no interests are kept here yet", begin)
        return
    nodes, items = (str(name) for name in aliased)
    findings.ok(
        "aliases",
        " and ".join(
            f"{alias} → …{str(name).removeprefix(alias)}" for alias, name in zip(ALIASES, aliased, strict=True)
        ),
    )
    wanted = Collections(info.encoder_id, info.dim) if info else None
    names = sorted({nodes, items, *((wanted.interests, wanted.items) if wanted else ())})
    for name in names:
        facts = survey.collections.get(name)
        if facts is None:
            findings.warn("collections", f"{name} is not there", begin)
        elif wanted and name in (wanted.interests, wanted.items) and facts.dim != wanted.dim:
            seen = f"{name} holds vectors of {facts.dim}, the encoder makes {wanted.dim}"
            findings.fail(
                "collections", seen, "name the encoder anew (interests encoder export), or delete the collection"
            )
        else:
            findings.ok("collections", f"{name}: {facts.points:,} points of {facts.dim} dimensions")
    if wanted and nodes != wanted.interests:
        seen = f"interests are read from {nodes}, workers write {wanted.interests}"
        findings.warn("encoder", seen, "once the new collection is full, switch the aliases to it")
    check_indexes(findings, survey, [*names, *((wanted.population,) if wanted else ()), POPULARITY, TOGETHER])
    if CONTROL not in survey.collections:
        findings.warn("control points", f"{CONTROL} is not there", begin)


def check_indexes(findings: Findings, survey: Survey, names: Iterable[str]) -> None:
    """The payload indexes of those collections that are there: without one a filter reads every point."""
    there = {name: survey.collections[name].indexed for name in names if name in survey.collections}
    lacking = {name: sorted(indexes_of(name).keys() - indexed) for name, indexed in there.items()}
    for name, fields in lacking.items():
        if fields:
            findings.warn("payload indexes", f"{name} lacks {', '.join(fields)}", "start a worker, which makes them")
    if there and not any(lacking.values()):
        fields = sorted({field for name in there for field in indexes_of(name)})
        findings.ok("payload indexes", ", ".join(fields))

"""Shards, replicas and who must agree: what the settings make of them, and where what lies there differs."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from streams.commands.findings import Findings
from streams.commands.qdrant_checks import check_copies, check_qdrant_version
from streams.settings.servers import QdrantSettings
from streams.settings.service import Settings
from streams.store.collections import CONTROL, Copies
from streams.store.consistency import Consistency, Placement, more_than_half
from streams.store.placing import differences
from streams.store.survey import CollectionFacts, Survey


def test_one_node_asks_for_nothing() -> None:
    settings = QdrantSettings()
    assert settings.placement == Placement()
    assert settings.consistency == Consistency(ordering="strong", reads=1)


@pytest.mark.parametrize("replicas", [1, 2, 3, 4, 5])
def test_what_is_read_meets_what_was_acknowledged(replicas: int) -> None:
    settings = QdrantSettings(replication_factor=replicas)
    acknowledge, reads = settings.placement.write_consistency_factor, settings.consistency.reads
    assert acknowledge == reads == more_than_half(replicas)
    assert isinstance(reads, int)
    assert acknowledge is not None
    assert replicas < acknowledge + reads <= 2 * replicas


@pytest.mark.parametrize("name", ["write_consistency_factor", "read_consistency"])
def test_no_more_replicas_are_asked_than_there_are(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} is 3, replication_factor 2"):
        QdrantSettings(replication_factor=2, **{name: 3})
    with pytest.raises(ValidationError):
        QdrantSettings(**{name: 0})


def test_what_compares_and_sets_is_never_weak() -> None:
    assert [Consistency(ordering=one).comparing for one in ("weak", "medium", "strong")] == [
        "strong", "medium", "strong",
    ]  # fmt: skip


def test_differences_say_what_to_do() -> None:
    wanted = Placement(shard_number=6, replication_factor=3, write_consistency_factor=2)
    assert differences("interests__e5", Copies(6, 3, 2), wanted) == []
    assert differences("interests__e5", Copies(1, 1, 1), Placement()) == []
    assert differences(CONTROL, Copies(1, 3, 2), wanted) == [], "it has one shard whatever the settings say"
    found = differences("interests__e5", Copies(1, 1, 1), wanted)
    assert [one.what for one in found] == [
        "1 shards, settings ask for 6", "1 replicas, settings ask for 3", "1 must have a write, settings ask for 2",
    ]  # fmt: skip
    assert "/collections/interests__e5" in found[1].to_do


def checked(copies: Copies, *not_active: str, **qdrant: int) -> dict[str, list[str]]:
    facts = CollectionFacts(384, 7, frozenset(), copies, not_active)
    others = {"somebody_elses": CollectionFacts(3, 7, frozenset(), Copies(9, 9, 1), ("shard 0 on peer 1: Dead",))}
    findings = Findings("Qdrant")
    settings = Settings(qdrant=QdrantSettings(**qdrant))
    check_copies(findings, Survey("1.20.0", {"interests__e5": facts, **others}, {}), settings)
    by_status: dict[str, list[str]] = {}
    for one in findings.entries:
        by_status.setdefault(one.status, []).append(one.seen)
    return by_status


def test_the_doctor_looks_at_the_copies_of_our_collections() -> None:
    assert checked(Copies(1, 1, 1)) == {"OK": ["at most 1 × 1 (shards × replicas), all active"]}
    assert checked(Copies(6, 3, 2), replication_factor=3) == {"OK": ["at most 6 × 3 (shards × replicas), all active"]}
    dead = checked(Copies(6, 3, 2), "shard 2 on peer 7: Dead", replication_factor=3)
    assert dead == {"WARN": ["interests__e5: shard 2 on peer 7: Dead"]}
    unread = checked(Copies(6, 3, 1))
    assert unread == {"WARN": ["interests__e5: 1 of 3 replicas have a write, 1 is read"]}
    assert len(checked(Copies(1, 1, 1), replication_factor=3)["WARN"]) == 2


@pytest.mark.parametrize(
    ("version", "old_servers", "status"),
    [("1.20.0", "refuse", "OK"), ("1.18.3", "refuse", "FAIL"), ("1.18.3", "warn", "WARN"), ("1.15.0", "warn", "FAIL")],
)
def test_the_doctor_knows_which_qdrant_will_do(version: str, old_servers: str, status: str) -> None:
    findings = Findings("Qdrant")
    check_qdrant_version(findings, version, old_servers)
    assert [one.status for one in findings.entries] == [status]

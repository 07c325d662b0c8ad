"""Learned nodes by themselves: what a model reads of a profile, what is made of its answers, where they count."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from encoders.histories import TYPES, Histories
from streams.history.compare import Known, Verdict, compare
from streams.interests.item_vectors import StoredItem
from streams.interests.learned import (
    LearnedSource,
    histories_of,
    learned_nodes,
    read_by_model,
    source_of,
)
from streams.interests.levels import LEVELS, is_sum
from streams.interests.nodes import Node, NodeKey, evidence_share, is_alive, is_put_back, profile_key, without_erased
from streams.interests.recents import Recent, pack_recents
from streams.interests.score import interests_of
from streams.settings.policies import NodeSettings
from tests.fixtures.interest_model import MeanModel

DIM, NOW, H = 4, 1_780_000_000_000, 3_600_000
POLICY = NodeSettings().policy()
ITEMS = {
    name: StoredItem(name, np.eye(DIM, dtype=np.float32)[at], "/") for at, name in enumerate(("tea", "jazz", "ball"))
}
RECENTS = (
    Recent("unheard of", NOW, 2.0, "like"), Recent("tea", NOW - H, 2.0, "like"),
    Recent("gone", NOW - 2 * H, 0.0, "like"), Recent("jazz", NOW - 3 * H, -2.0, "hide"),
    Recent("ball", NOW - 9 * H, 1.0, "click"),
)  # fmt: skip
PROFILE = Node(
    key=profile_key("ana"), direction=np.eye(DIM, dtype=np.float32)[0], norm=3.0, mass=7.0, net=3.0, t0_ms=NOW,
    first_ms=NOW - 20 * H, last_ms=NOW, count=5, recents=pack_recents(RECENTS),
)  # fmt: skip


def source(profile: Node = PROFILE) -> LearnedSource:
    found = source_of(profile)
    assert found is not None
    return found


def nodes(profile: Node = PROFILE, length: int = 8, evidence: int = 8) -> list[Node]:
    mine, model = source(profile), MeanModel(DIM)
    read = read_by_model(mine.items(), ITEMS, length)
    served = asyncio.run(model.answers(histories_of([read], ITEMS, length, DIM)))
    return learned_nodes(
        mine,
        read,
        served.answers,
        0,
        model=model.model_id,
        tasks=model.tasks,
        made_ms=NOW + 7,
        evidence_length=evidence,
    )


def test_a_model_reads_what_is_described_and_was_not_taken_back_oldest_first() -> None:
    read = read_by_model(source().items(), ITEMS, 8)
    assert [one.item_id for one in read] == ["ball", "jazz", "tea"]
    assert [one.item_id for one in read_by_model(source().items(), ITEMS, 2)] == ["jazz", "tea"]
    made = histories_of([read, []], ITEMS, 4, DIM)
    assert made.vectors[0].argmax(1).tolist() == [2, 1, 0, 0]
    assert made.weights[0].tolist() == [1.0, -2.0, 2.0, 0.0]
    assert made.ages_s[0].tolist() == [8 * 3600.0, 2 * 3600.0, 0.0, 0.0]
    assert [TYPES[code - 1] for code in made.types[0, :3]] == ["click", "hide", "like"]
    assert made.types[0, 3] == 0
    assert not any(part[1].any() for part in (made.vectors, made.types, made.weights, made.ages_s))
    assert isinstance(made, Histories)


def test_an_item_whose_events_type_is_not_known_is_of_another_type() -> None:
    read = [Recent("tea", NOW, 1.0)]
    assert TYPES[histories_of([read], ITEMS, 1, DIM).types[0, 0] - 1] == "other"


def test_the_nodes_are_the_interest_and_one_a_task() -> None:
    made = {node.key.path: node for node in nodes()}
    assert list(made) == ["/", "/click", "/exposure", "/purchase"]
    for node in made.values():
        assert (node.key.user_id, node.key.level) == ("ana", "learned")
        assert np.linalg.norm(node.direction) == pytest.approx(1.0)
        assert (node.mass, node.norm, node.net, node.t0_ms, node.count) == (7.0, 7.0, 7.0, NOW, 5)
        assert (node.first_ms, node.last_ms) == (NOW - 20 * H, NOW)
        assert node.learned is not None
        assert node.learned.model == "interest-mean-00000001"
    parts = [node.learned[1:] for node in made.values() if node.learned]
    assert parts == [
        (1.0, 0.0, 0.0, 0.0, NOW + 7), (1.0, -1.0, 0.0625, 0.25, NOW + 7), (2.0, -1.0, 0.0, 0.0, NOW + 7),
        (3.0, -1.0, 0.0, 0.0, NOW + 7),
    ]  # fmt: skip


def test_the_evidence_is_what_the_model_looked_at_with_its_shares() -> None:
    node = nodes(evidence=2)[0]
    assert [(one.event_id, one.item_id, one.type) for one in node.evidence] == [
        ("", "tea", "like"),
        ("", "jazz", "hide"),
    ]
    assert [one.weight for one in node.evidence] == pytest.approx([3 / 6, 2 / 6])
    assert [evidence_share(one, node, POLICY) for one in node.evidence] == pytest.approx([3 / 6, 2 / 6])


def test_of_whom_nothing_was_read_the_nodes_count_no_more() -> None:
    profile = replace(PROFILE, recents=pack_recents([Recent("unheard of", NOW, 2.0, "like")]))
    made = nodes(profile)
    assert len(made) == 4
    assert not any(is_alive(node, NOW, POLICY) for node in made)
    assert not any(node.evidence for node in made)


@pytest.mark.parametrize("profile", [replace(PROFILE, recents=""), replace(PROFILE, count=0, erased_at_ms=NOW)])
def test_who_has_no_item_or_is_forgotten_is_not_asked_about(profile: Node) -> None:
    assert source_of(profile) is None


@pytest.mark.parametrize("first_ms", [NOW - 20 * H, NOW, 0])
def test_an_erasure_of_any_of_what_they_are_made_of_ends_them(first_ms: int) -> None:
    """Also one that is younger than the profile's first event but not than a recent item: what is there is of both."""
    made, earliest = nodes(replace(PROFILE, first_ms=first_ms)), min(first_ms or NOW, NOW - 9 * H)
    tombstone = Node(key=profile_key("ana"), direction=PROFILE.direction, erased_at_ms=earliest)
    assert all(is_put_back("learned", node.first_ms, earliest) for node in made)
    assert not any(is_put_back("learned", node.first_ms, earliest - 1) for node in made)
    assert without_erased([tombstone, *made]) == [tombstone]


def test_they_are_no_interests_of_a_score_and_nothing_that_the_log_is_compared_with() -> None:
    tree = [PROFILE, replace(PROFILE, key=NodeKey("ana", "topic", "/food"), recents=""), *nodes()]
    assert [one.level for one in interests_of(tree, NOW, POLICY)] == ["profile", "topic"]
    verdict = Verdict()
    compare(tree, tree[:2], POLICY, Known(has_offsets=False), NOW, verdict)
    assert (verdict.same, verdict.nodes) == (True, 2)


def test_all_other_levels_are_sums() -> None:
    assert [level for level in LEVELS if not is_sum(level)] == ["learned"]

"""The doctor's judgements, where no server is needed to make them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rich.console import Console

from streams.api.served_weights import ServedWeights
from streams.base.errors import StoreUnavailable
from streams.commands import findings
from streams.commands.findings import Findings, findings_table
from streams.commands.installation_checks import check_concepts, check_installation
from streams.commands.learner_checks import check_learner, check_weights
from streams.commands.qdrant_checks import check_collections, check_set_aside
from streams.commands.server_checks import check_compaction, check_group
from streams.concepts.tree import Concept, ConceptTree
from streams.concepts.tree_file import save_tree
from streams.encoder.text_model import EncoderInfo
from streams.ranking.rows import NAMES, VERSION
from streams.ranking.weights import PublishedWeights
from streams.settings.service import ConceptSettings, Settings
from streams.store.collections import CONTROL, POPULARITY, TOGETHER, indexes_of
from streams.store.crash_marks import CrashMark, SetAside
from streams.store.survey import CollectionFacts, Survey

NOW = 1_785_000_000_000
INFO = EncoderInfo("e5", 384, 64)


def holding(name: str, dim: int = 384, points: int = 7) -> CollectionFacts:
    """A collection that has every payload index of its kind."""
    return CollectionFacts(dim, points, frozenset(indexes_of(name)))


NODES = holding("interests__e5")
WELL = Survey(
    "1.20.0",
    {
        **{name: holding(name) for name in ("interests__e5", "items__e5", "population__e5")},
        POPULARITY: holding(POPULARITY, 1),
        TOGETHER: holding(TOGETHER, 1),
        CONTROL: holding(CONTROL, 1),
    },
    {"interests": "interests__e5", "items": "items__e5"},
)


def judged(survey: Survey, info: EncoderInfo | None = INFO) -> dict[str, list[str]]:
    checked = Findings("Qdrant")
    check_collections(checked, survey, info)
    by_status: dict[str, list[str]] = {}
    for one in checked.entries:
        by_status.setdefault(one.status, []).append(f"{one.what}: {one.seen}")
        assert bool(one.to_do) is (one.status != "OK")
    return by_status


def test_a_store_that_fits_is_ok() -> None:
    assert set(judged(WELL)) == {"OK"}
    assert set(judged(WELL, None)) == {"OK"}
    assert "interests__e5: 7 points of 384 dimensions" in " ".join(judged(WELL)["OK"])


def test_records_that_crash_workers_are_named_by_place() -> None:
    checked = Findings("Qdrant")
    check_set_aside(checked, [CrashMark("clicks", 1), CrashMark("events", 0, first=7)])
    assert checked.entries == []
    aside = tuple(SetAside(1, offset, 1_000 + offset, "KeyError") for offset in range(4))
    check_set_aside(checked, [CrashMark("clicks", 2, aside=aside, total=9), CrashMark("items", 0, first=7, deaths=2)])
    died, found = checked.entries
    assert (died.status, died.what, died.seen) == ("WARN", "workers died", "2 over what begins at items-0-7")
    assert (found.status, found.what) == ("WARN", "set aside")
    assert found.seen == (
        "9 records that crash workers, the latest: clicks-2-3 (KeyError), clicks-2-2 (KeyError), clicks-2-1 (KeyError) "
        "and 6 more"
    )


def test_an_empty_store_is_a_warning() -> None:
    assert judged(Survey("1.20.0", {}, {})) == {"WARN": ["aliases: no interests are kept here yet"]}


@pytest.mark.parametrize(
    ("collections", "status", "told"),
    [
        (
            {"interests__e5": replace(NODES, dim=512)},
            "FAIL",
            "interests__e5 holds vectors of 512, the encoder makes 384",
        ),
        ({"interests__e5": replace(NODES, indexed=NODES.indexed - {"user_id"})}, "WARN", "interests__e5 lacks user_id"),
        ({"items__e5": None}, "WARN", "items__e5 is not there"),
        ({CONTROL: None}, "WARN", f"{CONTROL} is not there"),
    ],
)
def test_what_does_not_fit_is_named(collections: Mapping[str, CollectionFacts | None], status: str, told: str) -> None:
    held = {name: facts for name, facts in {**WELL.collections, **collections}.items() if facts is not None}
    assert any(told in line for line in judged(replace(WELL, collections=held))[status])


@pytest.mark.parametrize("name", ["interests__e5", "items__e5", "population__e5", POPULARITY, TOGETHER])
def test_every_index_that_is_made_is_missed(name: str) -> None:
    for field in indexes_of(name):
        lacking = replace(WELL.collections[name], indexed=WELL.collections[name].indexed - {field})
        found = judged(replace(WELL, collections={**WELL.collections, name: lacking}))
        assert found["WARN"] == [f"payload indexes: {name} lacks {field}"]


def test_the_indexes_of_nodes_that_an_encoder_has_yet_to_fill_are_looked_at_too() -> None:
    other = {"interests__bge": replace(holding("interests__bge", 768), indexed=NODES.indexed - {"erased_at"})}
    found = judged(replace(WELL, collections={**WELL.collections, **other}), EncoderInfo("bge", 768, 64))
    assert "payload indexes: interests__bge lacks erased_at" in found["WARN"]


def test_another_encoder_than_the_one_read_is_a_warning() -> None:
    told = judged(WELL, EncoderInfo("bge", 768, 64))
    assert "encoder: interests are read from interests__e5, workers write interests__bge" in told["WARN"]
    assert "FAIL" not in told


@pytest.mark.parametrize(
    ("members", "lags", "lag"),
    [
        (1, {"interests.updated": 9, "clicks.dead": 1}, ("OK", "nought")),  # no group reads these
        (1, {"clicks": 1_200, "population": 3, "interests.updated": 9}, ("OK", "1,200 in clicks, 3 in population")),
        (0, {"clicks": 2}, ("WARN", "2 in clicks")),
    ],
)
def test_the_lag_is_that_of_the_topics_the_group_reads(
    members: int, lags: Mapping[str, int], lag: tuple[str, str]
) -> None:
    checked = Findings("Kafka")
    check_group(checked, Settings(), "Stable", members, lags, lags)
    assert [(one.status, one.seen) for one in checked.entries if one.what == "lag"] == [lag]
    assert [one.seen for one in checked.entries if one.what == "dead letters"] == (
        ["1 in clicks.dead"] if "clicks.dead" in lags else []
    )
    for one in checked.entries:
        assert one.what != "dead letters" or "interests dead-letters open clicks.dead" in one.to_do


def weights_seen(*records: PublishedWeights, at_ms: int = NOW) -> list[tuple[str, str, str]]:
    served = ServedWeights(np.zeros(len(NAMES)), 3_600_000)
    for one in records:
        served.take(one)
    checked = Findings("Learned weights")
    check_weights(checked, Settings(), "e5", served, 1, at_ms)
    assert all(bool(one.to_do) is (one.status != "OK") for one in checked.entries)
    return [(one.status, one.what.removeprefix("weights").removeprefix(", "), one.seen) for one in checked.entries]


@pytest.mark.parametrize(
    ("age_s", "serve", "status", "told"),
    [
        (4, True, "OK", "version 3 of 4,210 lists, last sign of life 4 s ago: they rank"),
        (1_200, True, "WARN", "last sign of life 20 min ago: they rank for 40 min yet, then the fixed ones"),
        (3_601, True, "WARN", "last sign of life 1 h ago: too old, the fixed weights rank"),
        (4, False, "WARN", "last sign of life 4 s ago: worse than the fixed ones of late, which rank"),
    ],
)
def test_learned_weights_are_judged_by_their_last_sign_of_life(age_s: int, serve: bool, status: str, told: str) -> None:
    one = PublishedWeights(
        encoder="e5", kind="next", version=3, features=VERSION, lists=4210, made_ms=NOW - age_s * 1000, serve=serve,
        values=dict.fromkeys(NAMES, 1.0),
    )  # fmt: skip
    (found, other) = weights_seen(one)
    assert (found[0], found[1]) == (status, "next")
    assert found[2].endswith(told)
    assert other == ("OK", "impression", "none was learned: ranked with those of the other kind")
    of_another = msgspec.structs.replace(one, encoder="bge")
    assert weights_seen(of_another) == [("WARN", "", "none was learned for encoder e5: the fixed weights rank")]


def test_where_no_learner_lives_it_says_to_run_one() -> None:
    checked = Findings("Learned weights")
    for examples in (1, 0):
        check_weights(checked, Settings(), "e5", ServedWeights(np.zeros(len(NAMES)), 1), examples, NOW)
    assert "run interests learner" in checked.entries[0].to_do
    assert [one.status for one in checked.entries] == ["WARN", "OK"], "where nothing can be learned nobody is missed"


@pytest.mark.parametrize(
    "more",
    [{"ranking": {"learned": False}}, {"kafka": {"ranking_weights_topic": ""}}],
    ids=["switched off", "no topic"],
)
def test_fixed_weights_by_choice_are_no_warning(more: dict[str, Any]) -> None:
    (one,) = asyncio.run(check_learner(Settings(**more), WELL)).entries
    assert (one.status, one.seen.partition(":")[0]) == ("OK", "the fixed weights rank")


def test_variables_that_nothing_reads_are_named() -> None:
    environment = {"INTERESTS_KAFKA__BROKERS": "x", "INTERESTS_KAFAK__GROUP": "sesame", "INTERESTS_CONFIG": "none.toml"}
    (strange,) = [one for one in check_installation(Settings(), environment).entries if one.what == "environment"]
    assert strange.status == "WARN"
    assert strange.seen == "nothing reads INTERESTS_KAFAK__GROUP"
    assert not [one for one in check_installation(Settings(), {}).entries if one.status != "OK"]


def test_a_concept_tree_of_another_encoder_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "tree.npz"
    tree = ConceptTree("1", "bge", [Concept("sports", {"en": "Sports"})], np.ones((1, 4), np.float32))
    settings = Settings(concepts=ConceptSettings(file=file))
    told = []
    for saved in (False, True):
        if saved:
            save_tree(tree, file)
        for info in (INFO, EncoderInfo("bge", 4, 64), None):
            checked = Findings("here")
            check_concepts(checked, settings, info)
            told.append(checked.entries[0].status)
    assert told == ["FAIL", "FAIL", "FAIL", "FAIL", "OK", "OK"]


async def test_a_check_that_hangs_is_given_up_and_one_that_fails_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(findings, "DEADLINE_S", 0.05)

    async def away() -> None:
        raise StoreUnavailable("away")

    async def well() -> int:
        return 7

    checked = Findings("part")
    assert await checked.ask("hangs", asyncio.sleep(60), "wake it") is None
    assert await checked.ask("away", away(), "start it") is None
    assert await checked.ask("well", well(), "") == 7
    checked.ok("well", "seven")
    assert [(one.status, one.what, one.to_do) for one in checked.entries] == [
        ("FAIL", "hangs", "wake it"), ("FAIL", "away", "start it"), ("OK", "well", ""),
    ]  # fmt: skip
    assert checked.failed
    console = Console(width=60)
    with console.capture() as capture:
        console.print(findings_table([checked]))
    assert "→ start it" in capture.get()


def test_topics_that_compaction_would_empty_are_named() -> None:
    settings, checked = Settings(), Findings("Kafka")
    check_compaction(checked, settings, {"items", "interests.updated"})
    assert checked.entries == []
    check_compaction(checked, settings, {"items", "interests.updated", "clicks.dead", "clicks"})
    (found,) = checked.entries
    assert (found.status, found.to_do) == ("FAIL", "set their cleanup.policy to delete")
    assert found.seen.startswith("compacted: clicks, clicks.dead;")

"""What an evaluation is made of: measures worked out by hand, what is known when, parts that can be left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from streams.base.errors import ConfigurationError
from streams.commands.cli import app
from streams.commands.evaluate import write_and_show
from streams.commands.evaluation_log import read
from streams.evaluation.contest import Contest
from streams.evaluation.experiment import ExperimentResult
from streams.evaluation.prequential import Counts
from streams.evaluation.scorers import SCORE_PARTS, known_score_parts
from streams.evaluation.world import KnownItems, Popularity, World
from streams.events.event import Event, Source
from streams.events.items import Item
from streams.interests.decay import decayed
from streams.interests.item_vectors import ItemPoint
from streams.interests.popularity import Vote, Votes, count
from streams.interests.score import RankPolicy
from streams.ranking import measures
from streams.settings.policies import NodeSettings

DAY_MS = 86_400_000
T0 = 1_700_000_000_000
NODES = NodeSettings().policy()


def test_ties_share_their_places() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.5, 0.1])
    assert measures.rank_of(scores, 1) == 1.0
    assert measures.rank_of(scores, 0) == 3.0  # places 2, 3 and 4
    assert measures.rank_of(scores, 4) == 5.0


def test_next_item() -> None:
    scores = np.arange(12.0)
    assert measures.next_item(scores, 11) == {"recall@10": 1.0, "mrr": 1.0, "ndcg@10": 1.0}
    third = measures.next_item(scores, 9)
    assert third == pytest.approx({"recall@10": 1.0, "mrr": 1 / 3, "ndcg@10": 0.5})
    assert measures.next_item(scores, 0) == pytest.approx({"recall@10": 0.0, "mrr": 1 / 12, "ndcg@10": 0.0})


def test_impression_agrees_with_counting_pairs() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        scores = rng.integers(0, 6, size=9).astype(float)
        relevant = rng.random(9) < 0.4
        if not 0 < relevant.sum() < 9:
            continue
        pairs = [(a > b) + (a == b) / 2 for a in scores[relevant] for b in scores[~relevant]]
        assert measures.impression(scores, relevant)["auc"] == pytest.approx(np.mean(pairs))
    perfect = measures.impression(np.array([3.0, 2.0, 1.0]), np.array([True, True, False]))
    assert perfect == {"auc": 1.0, "ndcg@10": pytest.approx(1.0)}


def catalogue(*times_ms: int | None) -> KnownItems:
    vector = np.array([1.0, 0.0], np.float32)
    return KnownItems([ItemPoint(Item(f"i{n}", ts_ms=ts_ms), vector, "/a") for n, ts_ms in enumerate(times_ms)], 2)


def event(user_id: str, item_id: str, at_ms: int, shown: Sequence[str] = ()) -> Event:
    kind = "impression" if shown else "click"
    return Event(
        f"{user_id}{item_id}{at_ms}", user_id, kind, at_ms, None if shown else item_id, None, None, None,
        tuple(shown), (), None, {}, Source("clicks", 0, at_ms % 1000),
    )  # fmt: skip


def test_an_item_is_known_from_its_time_on_or_once_somebody_met_it() -> None:
    world = World(catalogue(T0, T0 + DAY_MS, None), DAY_MS / 1000, "met", NODES)
    assert world.unseen("u", T0 - 1).tolist() == []
    assert world.unseen("u", T0).tolist() == [0]
    world.apply(event("v", "i1", T0 + 1), [("i1", 1.0)])  # before its own time: a bookmark kept by the day
    assert world.unseen("u", T0 + 1).tolist() == [0, 1]
    assert world.unseen("v", T0 + 1).tolist() == [0]
    world.apply(event("v", "", T0 + 2, shown=["i2", "unheard of"]), [])
    assert world.unseen("u", T0 + 2).tolist() == [0, 1, 2]
    assert World(catalogue(T0, None), 1.0, "known", NODES).unseen("u", T0 - 1).tolist() == [1]


def test_popularity_is_the_services_own_and_counts_no_dislikes() -> None:
    votes_cast = [(T0, 2.0), (T0 + 3 * DAY_MS, 1.0), (T0 + DAY_MS, 1.5)]
    half_life_s = 2 * DAY_MS / 1000
    mine = Popularity(1, half_life_s)
    for at_ms, weight in votes_cast:
        mine.add(0, at_ms, weight)
    votes = [Vote("clicks", 0, offset, at_ms, weight) for offset, (at_ms, weight) in enumerate(votes_cast)]
    (served,) = count([Votes("i0", "g", 1, votes)], {}, half_life_s).changed
    at_ms = T0 + 7 * DAY_MS
    expected = decayed(served.mass, served.t0_ms, at_ms, half_life_s * 1000)
    assert mine.at(np.array([0]), at_ms)[0] == pytest.approx(expected)
    world = World(catalogue(None), half_life_s, "known", NODES)
    for _ in range(3):
        world.apply(event("v", "i0", T0), [("i0", 2.0)])
    assert world.popularity.at(np.array([0]), T0).tolist() == [2.0]  # people, not events
    world = World(catalogue(None), half_life_s, "known", NODES)
    world.apply(event("u", "i0", T0), [("i0", -2.0)])
    assert world.popularity.at(np.array([0]), T0).tolist() == [0.0]
    assert world.user("u").rows == [0]


def test_every_part_changes_the_policy_and_another_is_refused() -> None:
    policy = RankPolicy()
    assert all(change(policy) != policy for change in SCORE_PARTS.values())
    assert SCORE_PARTS["session"](policy) == replace(policy, levels={**policy.levels, "session": 0.0})
    assert known_score_parts([" freshness", "session"]) == ("freshness", "session")
    with pytest.raises(ConfigurationError, match="expected some of freshness"):
        known_score_parts(["magic"])


def test_a_log_is_read_in_time_order_by_the_first_users(tmp_path: Path) -> None:
    rows = [
        {"user_id": "late", "type": "click", "item_id": "i2", "ts": T0 + 9},
        {"user_id": "early", "type": "click", "item_id": "i1", "ts": T0},
        {"user_id": "shown", "type": "impression", "items": ["i3"], "ts": T0 + 5},
    ]
    events, items = tmp_path / "events.jsonl", tmp_path / "items.jsonl"
    events.write_text("\n".join(map(json.dumps, rows)))
    items.write_text("\n".join(json.dumps({"item_id": f"i{n}", "title": "x"}) for n in range(5)))
    log = read([items], [events], None, None, only_met=False)
    assert [(draft.offset, draft.key) for draft in log.events] == [(0, b"early"), (1, b"shown"), (2, b"late")]
    assert (len(log.items), log.last_ms) == (5, T0 + 9)
    some = read([items], [events], 1, None, only_met=True)
    assert [draft.key for draft in some.events] == [b"shown"]
    assert [draft.key for draft in some.items] == [b"i3"]
    assert len(read([items], [events], None, 2, only_met=False).events) == 2


@pytest.mark.parametrize(
    "wrong", [["--cases", "none"], ["--undated", "never"], ["--protocol", "random"], ["--without", "magic"]]
)
def test_what_does_not_fit_is_one_line_and_2(wrong: list[str], tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_text("{}")
    result = CliRunner().invoke(app, ["eval", "--items", str(file), "--events", str(file), *wrong])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert "expected" in result.stderr


def test_a_log_of_which_nothing_could_be_ranked_writes_nothing_and_says_what_was_read(tmp_path: Path) -> None:
    result = ExperimentResult(Contest({}), Counts(events=0, dead=4), {})
    with pytest.raises(ConfigurationError, match=r"no event could be ranked \(0 events, 4 refused"):
        write_and_show(result, "bad", tmp_path, Console())
    assert not list(tmp_path.iterdir())

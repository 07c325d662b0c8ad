"""What an evaluation is made of: measures worked out by hand, what is known when, parts that can be left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from rich.console import Console
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from streams.base.errors import ConfigurationError
from streams.commands.cli import app
from streams.commands.evaluate import write_and_show
from streams.commands.evaluation_log import read
from streams.evaluation import charts, tables
from streams.evaluation.contest import Contest
from streams.evaluation.experiment import ExperimentResult
from streams.evaluation.factorisation import Ratings, biases, factorised, rmse
from streams.evaluation.groups import COHORTS, GROUPS, Head, about, members
from streams.evaluation.online import OnlineRanking, every_touch
from streams.evaluation.prequential import Counts, ListCase
from streams.evaluation.scorers import FEATURES_OF, POLICIES, known_score_parts
from streams.evaluation.signs import unsigned
from streams.evaluation.studies import by_other_people, temporal_split
from streams.evaluation.svg import Bar, Line, bars, curves
from streams.evaluation.world import KnownItems, World, WorldPolicy
from streams.events.event import Event, Source
from streams.events.items import Item
from streams.interests.item_vectors import ItemPoint
from streams.interests.recents import Recent
from streams.interests.score import RankPolicy
from streams.interests.signed_weight import WeightTable, signed_weight
from streams.ranking import measures
from streams.ranking.rows import COLUMN, NAMES, fixed_weights
from streams.settings.policies import NodeSettings

DAY_MS = 86_400_000
T0 = 1_700_000_000_000
NODES = NodeSettings().policy()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Products as small as these take many times as long on two threads of a busy machine."""
    with threadpool_limits(1):
        yield


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
        tuple(shown), (), None, {}, Source("clicks", 0, at_ms - T0),
    )  # fmt: skip


def happened(world: World, one: Event, *weights: tuple[str, float]) -> None:
    world.meet(one, weights)
    world.apply(one, weights)


def test_an_item_is_known_from_its_time_on_or_once_somebody_met_it() -> None:
    world = World(catalogue(T0, T0 + DAY_MS, None), WorldPolicy(undated="met"), NODES)
    assert world.unseen("u", T0 - 1).tolist() == []
    assert world.unseen("u", T0).tolist() == [0]
    happened(world, event("v", "i1", T0 + 1), ("i1", 1.0))  # before its own time: a bookmark kept by the day
    assert world.unseen("u", T0 + 1).tolist() == [0, 1]
    assert world.unseen("v", T0 + 1).tolist() == [0]
    happened(world, event("v", "", T0 + 2, shown=["i2", "unheard of"]))
    assert world.unseen("u", T0 + 2).tolist() == [0, 1, 2]
    assert World(catalogue(T0, None), WorldPolicy(), NODES).unseen("u", T0 - 1).tolist() == [1]


def test_popularity_is_of_people_and_counts_no_dislikes() -> None:
    world = World(catalogue(None, None), WorldPolicy(), NODES)
    for at in range(3):
        happened(world, event("v", "i0", T0 + at), ("i0", 2.0))
    happened(world, event("u", "i1", T0 + 3), ("i1", -2.0))
    targets = world.targets(np.array([0, 1]), T0 + 3)
    assert targets.popularity.tolist() == pytest.approx([2.0, 0.0], abs=1e-6)
    assert targets.popularities[0].tolist() == pytest.approx([2.0] * 3, abs=1e-6)
    assert targets.touched_ms[0] == T0 + 2
    assert np.isnan(targets.touched_ms[1])
    assert world.user("u").rows == [1]


def test_what_people_touched_together_is_kept_of_their_recent_items() -> None:
    world = World(catalogue(None, None, None), WorldPolicy(), NODES)
    for at, user in enumerate("uv"):
        happened(world, event(user, "i0", T0 + 2 * at), ("i0", 1.0))
        happened(world, event(user, "i1", T0 + 2 * at + 1), ("i1", 1.0))
    (recent,) = world.recents([Recent("i0", T0, 1.0), Recent("unheard of", T0, 1.0)], T0 + 9)
    assert recent.together == pytest.approx({"i1": 2.0}, abs=1e-6)
    assert recent.touched == pytest.approx(2.0, abs=1e-6)


def case(index: int, values: np.ndarray, taken: int, *, user: str = "u", events: int = 3, **given: Any) -> ListCase:
    relevant = np.arange(len(values)) == taken
    known = {"kind": "next", "own": False, "weight": 1.0, "teaches": events > 0} | given
    return ListCase(index=index, user_id=user, events=events, values=values, relevant=relevant, **known)


def lists(count: int, seed: int = 1) -> list[ListCase]:
    """Lists of which the target with the greatest `recent_mean` is taken, which the fixed weights know nothing of."""
    chance = np.random.default_rng(seed)
    made = []
    for index in range(count):
        values = chance.normal(0.0, 0.5, (20, len(NAMES)))
        best = int(values[:, COLUMN["recent_mean"]].argmax())
        made.append(case(index, values, best, user=f"u{index % 40}", events=index // 40))
    return made


FIXED_WEIGHTS = fixed_weights(RankPolicy())


def test_learned_weights_use_nothing_of_what_comes_later() -> None:
    made = lists(80)
    whole, cut = OnlineRanking(fixed=FIXED_WEIGHTS), OnlineRanking(fixed=FIXED_WEIGHTS)
    scores = [whole(one) for one in made][:50]
    for one, before in zip(made[:50], scores, strict=True):
        one.relevant = np.array(one.relevant)  # not of the list itself either: it is ranked before it is learned from
        assert np.array_equal(cut(one), before)
    first = OnlineRanking(fixed=FIXED_WEIGHTS)
    assert np.allclose(first(made[0]), made[0].values @ FIXED_WEIGHTS, atol=1e-8)
    assert not np.allclose(whole.weights("next"), FIXED_WEIGHTS)


def test_what_the_worker_would_not_send_teaches_nothing_and_every_touch_of_the_known_where_that_is_asked() -> None:
    ranking = OnlineRanking(fixed=FIXED_WEIGHTS)
    touched = OnlineRanking(fixed=FIXED_WEIGHTS, teaches=every_touch)
    for one in lists(40):
        assert one.events == 0
        ranking(one)
        touched(one)
    assert np.allclose(touched.weights("next"), FIXED_WEIGHTS)
    for one in lists(80)[40:]:
        one.teaches = False
        ranking(one)
        touched(one)
    assert np.allclose(ranking.weights("next"), FIXED_WEIGHTS)
    assert not np.allclose(touched.weights("next"), FIXED_WEIGHTS)


def test_what_is_left_out_is_not_learned_and_the_rest_is() -> None:
    name = "recent_mean"
    ranking, without = (OnlineRanking(fixed=FIXED_WEIGHTS, without=left) for left in ((), (name,)))
    for one in lists(200):
        ranking(one)
        without(one)
    assert ranking.weights("next")[COLUMN[name]] > 0.5
    assert without.weights("next")[COLUMN[name]] == 0.0


def test_after_choices_at_random_the_fixed_weights_are_served_and_then_the_learned_ones_again() -> None:
    chance, ranking = np.random.default_rng(2), OnlineRanking(fixed=FIXED_WEIGHTS)

    def fixed_is_served(weights: np.ndarray) -> bool:
        values = chance.normal(0.0, 0.5, (20, len(NAMES)))
        chances = np.exp(values @ weights * ranking.learner.temperature)
        ranking(case(0, values, int(chance.choice(20, p=chances / chances.sum()))))
        return ranking.weights("next") is FIXED_WEIGHTS

    as_ever = [fixed_is_served(FIXED_WEIGHTS) for _ in range(300)]
    at_random = [fixed_is_served(np.zeros(len(NAMES))) for _ in range(300)]
    after = [fixed_is_served(FIXED_WEIGHTS) for _ in range(1_000)]
    assert not any(as_ever)
    assert any([*at_random, *after[:200]])
    assert not any(after[-100:])


def test_groups_are_by_past_time_and_sign() -> None:
    heads = [Head("next", f"u{at % 3}", at // 3, at % 5 == 0, (-1.0) ** at) for at in range(33)]
    found = members(heads)
    assert len(found["after 0"]) == 3
    assert len(found[""]) == 30
    assert found["last fifth"].tolist() == list(range(27, 33))
    assert sum(len(found[name]) for name in COHORTS if name in found) == 33
    assert len(found["liked"]) + len(found["disliked"]) == 30
    assert len(found["half a"]) + len(found.get("half b", ())) == 30
    assert not {"heavy"} & set(found)
    assert set(found) <= set(GROUPS)
    assert about("next, liked") == GROUPS["liked"]


def test_a_margin_is_sure_where_all_people_agree_and_not_where_one_decides() -> None:
    values = np.zeros((20, len(NAMES)))
    values[:, 0] = np.arange(20.0)

    def contest(right: Callable[[int], bool]) -> Contest[ListCase]:
        made: Contest[ListCase] = Contest(
            {"ours": lambda one: one.values[:, 0], "other": lambda one: -one.values[:, 0]}
        )
        for at in range(60):
            made.add(case(at, values, 19 if right(at) else 10, user=f"u{at % 20}"))
        return made

    sure = contest(lambda at: True).margins("ours", "other")["next"]["mrr"]
    assert sure.mean == pytest.approx(0.95)
    assert sure.low == pytest.approx(0.95)
    doubtful = contest(lambda at: at % 20 == 0).margins("ours", "other")["next"]["mrr"]
    assert doubtful.low < 0.02 < doubtful.mean


def test_other_people_s_lists_teach_and_one_s_own_do_not() -> None:
    made = lists(400)
    for one in made:
        one.user_id = "alone"
    found = by_other_people(made, FIXED_WEIGHTS).results()["next"]
    assert found["learned from others"] == found["fixed weights"]
    for one in (untaught := lists(400)):
        one.teaches = False
    found = by_other_people(untaught, FIXED_WEIGHTS).results()["next"]
    assert found["learned from others"] == found["fixed weights"] == found["interests"]
    shared = by_other_people(lists(400), FIXED_WEIGHTS).results()["next"]
    assert shared["learned from others"]["mrr"].mean > shared["fixed weights"]["mrr"].mean + 0.1


def test_frozen_weights_are_those_of_before() -> None:
    found = temporal_split(lists(300), FIXED_WEIGHTS)
    assert found.cases()["next"] == 60
    results = found.results()["next"]
    assert results["learned before, frozen"]["mrr"].mean > results["fixed weights"]["mrr"].mean


def test_every_part_is_known_and_another_is_refused() -> None:
    assert {name for names in FEATURES_OF.values() for name in names} == set(NAMES)
    policy = RankPolicy()
    assert all(change(policy) != policy for change in POLICIES.values())
    assert known_score_parts([" freshness", "session"]) == ("freshness", "session")
    with pytest.raises(ConfigurationError, match="expected some of relevance"):
        known_score_parts(["magic"])


def test_without_signs_every_event_speaks_for_its_item() -> None:
    table = unsigned(WeightTable())
    assert all(weight >= 0 for weight in table.base.values())
    for rating in (0.5, 2.0, 5.0):
        one = msgspec.structs.replace(event("u", "i0", T0), type="rating", rating=rating)
        assert signed_weight(one, None, table) > 0
    assert signed_weight(msgspec.structs.replace(event("u", "i0", T0), type="comment"), 0.0, table) > 0


def test_factors_find_what_was_planted() -> None:
    chance = np.random.default_rng(3)
    users, items = chance.normal(size=(60, 2)), chance.normal(size=(50, 2))
    pairs = chance.permutation(60 * 50)[:2_000]
    of_users, of_items = pairs // 50, pairs % 50
    values = 2.75 + 0.5 * (users[of_users] * items[of_items]).sum(axis=1)
    known = Ratings(of_users[:1_600], of_items[:1_600], values[:1_600])
    wanted = Ratings(of_users[1_600:], of_items[1_600:], values[1_600:])
    by_biases = rmse(biases(known, 60, 50).of(wanted), wanted)
    assert rmse(factorised(known, wanted, 60, 50, 1.0), wanted) < 0.5 * by_biases


def test_charts_are_whole_and_say_their_figures() -> None:
    drawn = bars("A & B", {"one": [Bar("x < y", 0.5, 0.1), Bar("less", -0.25)], "two": [Bar("none", 0.0)]})
    assert ElementTree.fromstring(drawn).tag.endswith("svg")  # written by this test
    assert "0.500" in drawn
    assert "-0.250" in drawn
    lines = curves("C", ["none", "1 h"], {"one": [Line("ours", [0.5, 0.25]), Line("flat", [0.25, 0.25], dashed=True)]})
    assert ElementTree.fromstring(lines).tag.endswith("svg")  # written by this test
    assert lines.count("<polyline") == 2


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


def test_the_committed_tables_and_pictures_are_those_of_the_committed_figures() -> None:
    folder = Path(__file__).resolve().parents[2] / "docs" / "evaluation"
    figures = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert (folder / "tables.md").read_text(encoding="utf-8") == tables.page(figures)
    for name, picture in charts.drawn(figures).items():
        assert (folder / f"{name}.svg").read_text(encoding="utf-8") == picture
        assert f"evaluation/{name}.svg" in (folder.parent / "evaluation.md").read_text(encoding="utf-8")


def test_a_folder_without_the_logs_is_one_line_and_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["eval", "--all", "--data", str(tmp_path), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "has no cardano" in result.stderr
    assert not list(tmp_path.iterdir())
    result = CliRunner().invoke(app, ["eval"])
    assert result.exit_code == 2
    assert "expected both, or --all" in result.stderr

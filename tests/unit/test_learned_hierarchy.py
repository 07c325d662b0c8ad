"""The comparison of learned models: what they are asked, what of it is a feature, who is ahead of whom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from encoders.hierarchy_files import LearnedHierarchy
from encoders.hierarchy_model import HierarchyConfig, HierarchyModel
from encoders.hierarchy_settings import TrainingConfig
from encoders.histories import TYPES, PersonLog, TrainingSet, histories_at
from streams.commands.cli import app
from streams.evaluation import hierarchy_tables
from streams.evaluation.case_measures import group, mean_over, values_of
from streams.evaluation.hierarchy_logs import write
from streams.evaluation.kept_cases import KeptCase, KeptLog
from streams.evaluation.learned_hierarchy import (
    MANY_EVENTS,
    NEWCOMERS,
    OTHER_PEOPLE,
    SCORE,
    TREE,
    alone,
    beside,
    study,
    trained_on,
)
from streams.evaluation.model_answers import alone as ranked_alone
from streams.evaluation.model_answers import calibration, said_of, with_features
from streams.evaluation.online import OnlineRanking
from streams.evaluation.world import KnownItems
from streams.events.items import Item
from streams.interests.item_vectors import ItemPoint
from streams.interests.recents import Recent, merged
from streams.interests.score import RankPolicy
from streams.ranking.rows import COLUMN, NAMES, fixed_weights
from streams.training.many import Job, train_all
from streams.training.parsed_log import LogCounts
from streams.training.parts import before
from streams.training.training_set import LogSet
from streams.training.variants import FULL, VARIANTS

DAY_MS = 86_400_000
T0 = 1_700_000_000_000
ITEMS, DIM, PEOPLE, EVENTS = 30, 8, 20, 9
QUICK = TrainingConfig(rounds=1, round_anchors=64, batch=32, negatives=16)


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def kept_log(name: str = "made", seed: int = 3) -> KeptLog:
    """People who walk through the items; each event but the first is a case, its item among nine others."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(ITEMS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    points = [ItemPoint(Item(f"i{n}"), vectors[n], "/a") for n in range(ITEMS)]
    people, cases = [], []
    for person in range(PEOPLE):
        rows = rng.choice(ITEMS, EVENTS, replace=False)
        times = T0 + person + np.arange(EVENTS, dtype=np.int64) * DAY_MS
        people.append(
            PersonLog(f"u{person}", times, rows.astype(np.int32), np.ones(EVENTS, np.int8), np.ones(EVENTS, np.float32))
        )
        recents: tuple[Recent, ...] = ()
        for at in range(EVENTS):
            others = rng.choice(np.setdiff1d(np.arange(ITEMS), rows), 9, replace=False)
            values = np.zeros((10, len(NAMES)))
            values[:, COLUMN["relevance_profile"]] = rng.random(10)
            cases.append(
                KeptCase(
                    kind="next", index=at * PEOPLE + person, user_id=f"u{person}", events=at, own=False, weight=1.0,
                    teaches=at > 0, values=values, relevant=np.arange(10) == 0, at_ms=int(times[at]),
                    chosen=np.concatenate([rows[at : at + 1], others]), recents=recents,
                )
            )  # fmt: skip
            recents = merged(recents, [Recent(f"i{rows[at]}", int(times[at]), 1.0, "click")], 50)
    data = TrainingSet(vectors, [point.item.item_id for point in points], people, np.full(ITEMS, np.nan))
    counts = LogCounts(records=PEOPLE * EVENTS)
    return KeptLog(
        name=name, kind="next", catalogue=KnownItems(points, DIM), cases=sorted(cases, key=lambda case: case.index),
        events=LogSet(data, counts), fixed=fixed_weights(RankPolicy()), encoder_id="an-encoder",
    )  # fmt: skip


def model_of(log: KeptLog) -> LearnedHierarchy:
    torch.manual_seed(1)
    return LearnedHierarchy(HierarchyModel(HierarchyConfig(dim=DIM, history=6)), log.encoder_id)


def test_what_a_model_reads_in_the_replay_is_what_it_is_trained_on() -> None:
    log = kept_log()
    moment = T0 + 5 * DAY_MS
    cases = [case for case in log.cases if moment <= case.at_ms < moment + DAY_MS]
    ours, theirs = log.histories(cases, 4), histories_at(log.events.data, moment, 4)
    assert TYPES[ours.types[0, 0] - 1] == "click"
    for name in ("vectors", "types", "weights", "ages_s"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


def test_the_cut_and_the_last_fifth() -> None:
    log = kept_log()
    known = before(log.events.data, log.cut_ms)
    last = max(int(person.times_ms[-1]) for person in known.people)
    assert last < log.cut_ms <= min(case.at_ms for case in log.later())
    past = [case for case in log.cases if case.events]
    assert [case.index for case in log.last_fifth()] == [case.index for case in past[-len(past) // 5 :]]


def test_features_are_what_the_served_nodes_would_say() -> None:
    log = kept_log()
    model, cases = model_of(log), log.later()
    said = said_of(model, log, cases)
    answers = model.answers(log.histories(cases, 6))
    case, of_case = cases[7], said[cases[7].index]
    vectors = log.vectors[case.chosen]
    assert of_case[:, 0] == pytest.approx(vectors @ answers.interests[7, 0], abs=1e-6)
    for task in range(3):
        logits = answers.scales[7, task] * (vectors @ answers.interests[7, 1 + task]) + answers.biases[7, task]
        assert of_case[:, 1 + task] == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    assert ranked_alone(said, "learned_cosine")(case) == pytest.approx(of_case[:, 0])
    assert ranked_alone({}, "learned_cosine")(case).tolist() == [0.0] * 10


def test_a_model_that_says_nothing_leaves_the_learned_score_as_it_is() -> None:
    log = kept_log()
    plain = values_of(log.cases, OnlineRanking(fixed=log.fixed))
    silent = values_of(log.cases, with_features({}, log.fixed))
    assert all(np.array_equal(plain[name], silent[name]) for name in plain)


def test_a_feature_that_knows_the_answer_is_learned_from_the_cut_on() -> None:
    log = kept_log()
    later = log.later()
    oracle = {case.index: np.where(case.relevant, 1.0, 0.0)[:, None] * np.ones(4) for case in later}
    found = values_of(log.cases, with_features(oracle, log.fixed))["mrr"]
    assert found[-30:].mean() > 0.9 > found[: len(log.cases) - len(later)].mean()


def test_margins_are_of_the_same_cases_by_people() -> None:
    log = kept_log()
    cases = log.later()
    good = values_of(cases, lambda case: case.relevant.astype(float))
    bad = values_of(cases, lambda case: -case.relevant.astype(float))
    found = group(cases, {"good": good, "bad": bad}, lambda case: case.user_id != "u0", [("good", "bad")])
    assert found["people"] == PEOPLE - 1
    assert found["rankings"]["good"]["mrr"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert found["margins"][0]["mrr"]["mean"] == pytest.approx(0.9)
    assert group(cases, {"good": good}, lambda _: False, []) == {"cases": 0, "people": 0}
    assert mean_over([good, bad])["mrr"] == pytest.approx(np.full(len(cases), 0.55))


def test_probabilities_are_held_against_one_touched_item_among_four() -> None:
    cases = kept_log().later()
    fair = {case.index: np.full((10, 4), 0.2) for case in cases}
    found = calibration([fair], cases)
    assert found["click"]["ece"] == pytest.approx(0.0, abs=0.05)
    assert found["exposure"]["came true"] == pytest.approx(0.2)
    cases[0].weight = -1.0
    assert calibration([fair], cases)["click"]["came true"] < 0.2


def test_a_study_compares_every_form_with_what_needs_no_model(tmp_path: Path) -> None:
    log, other = kept_log(), kept_log("other", 4)
    log.events.counts.records = MANY_EVENTS + 1  # one fold of the people is enough
    seen: list[int] = []

    def train(_: str, jobs: Sequence[Job]) -> list[LearnedHierarchy]:
        return train_all(jobs, 1, lambda: seen.append(1))

    trained = trained_on(log, train, tmp_path, [QUICK])
    assert len(seen) == len(VARIANTS) + 1
    figures = study(trained, {other.name: [model_of(other)]})
    names = set(figures["groups"]["last fifth"]["rankings"])
    assert {TREE, SCORE, *map(alone, VARIANTS), *map(beside, VARIANTS), alone(f"{FULL} of other")} <= names
    crossed = figures["groups"]["last fifth, other people"]
    assert 0 < crossed["cases"] < figures["groups"]["last fifth"]["cases"]
    assert {alone(OTHER_PEOPLE), beside(OTHER_PEOPLE)} <= set(crossed["rankings"])
    for name in (alone(OTHER_PEOPLE), beside(OTHER_PEOPLE)):
        assert figures["by seed"][name] == [pytest.approx(crossed["rankings"][name]["mrr"]["mean"], abs=1e-4)]
    assert set(NEWCOMERS) <= set(figures["groups"])
    write({"encoder": "e", "seeds": 2, "minutes": 0.1, "logs": {"made": figures}}, tmp_path / "out")
    page = (tmp_path / "out" / "hierarchy.md").read_text()
    assert page == hierarchy_tables.page({"encoder": "e", "seeds": 2, "minutes": 0.1, "logs": {"made": figures}})
    assert "| without recurrent, alone |" in page
    for name in ("hierarchy-alone", "hierarchy-features"):
        ElementTree.fromstring((tmp_path / "out" / f"{name}.svg").read_text())


def test_the_command_asks_for_a_log(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["eval-hierarchy"])
    assert (result.exit_code, "expected both, or --data" in result.stderr) == (2, True)
    result = CliRunner().invoke(app, ["eval-hierarchy", "--data", str(tmp_path), "--log", "forum"])
    assert (result.exit_code, "--data names the folder" in result.stderr.replace("\n", " ")) == (2, True)

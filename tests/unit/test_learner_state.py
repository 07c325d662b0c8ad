"""What a learner knows: to the bit over writing and reading, an example once, scored before it is learned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client import generate_latest
from threadpoolctl import threadpool_limits

from streams.base.errors import ConfigurationError, PoisonError
from streams.learner import state as states
from streams.learner.figures import MOST_ENCODERS, Figure, Figures, Label
from streams.learner.learning import LearnerDependencies, Learning
from streams.learner.log_place import LogPlace, met
from streams.learner.metrics import LearnerMetrics
from streams.learner.rankers import Quality, qualities, standing_rankers
from streams.learner.shadows import read_shadows
from streams.learner.state import LearnerState, Rules
from streams.learner.status import LearnerStatus
from streams.ranking.examples import pack_example, unpack_example
from streams.ranking.measures import places
from streams.ranking.rows import COLUMN, NAMES, fixed_weights
from streams.ranking.weights import pack_weights, unpack_weights
from streams.settings.learning import LearningSettings
from streams.settings.policies import RankingSettings
from tests.fixtures.learner import ENCODER, examples, known, planted, replayed


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the learner: sums of more threads differ in their last bits."""
    with threadpool_limits(1, user_api="blas"):
        yield


RULES = Rules(fixed=fixed_weights(RankingSettings().policy()))  # type: ignore[call-arg]  # all have defaults


def test_written_and_read_at_any_moment_it_learns_to_the_same_bits() -> None:
    made = examples(60)
    state = LearnerState(ENCODER, RULES)
    for number, one in enumerate(made):
        state.fold(one)
        if number % 7 == 0:
            state.place = state.place.moved(0, number)
            state = LearnerState.unpack(state.pack(), ENCODER, RULES)
    assert known(state) == known(replayed(made, RULES))
    assert state.place.next == {0: 57}
    assert known(state) != known(replayed(made[:-1], RULES))


def test_what_is_sent_again_changes_nothing() -> None:
    made = examples(20)
    state = replayed(made, RULES)
    before = known(state)
    assert {state.fold(one) for one in made} == {"repeated"}
    assert known(state) == before
    assert state.fold(msgspec.structs.replace(made[0], partition=1)) == "learned"
    assert state.fold(msgspec.structs.replace(made[0], log=2)) == "learned"  # a topic made anew
    assert state.fold(msgspec.structs.replace(made[19], log=1)) == "repeated"  # a straggler of the old one


def test_marks_are_bounded_and_the_latest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "MOST_MARKS", 3)
    (one,) = examples(1)
    state = LearnerState(ENCODER, RULES)
    for partition in (0, 1, 2):
        state.fold(msgspec.structs.replace(one, partition=partition))
    state.fold(msgspec.structs.replace(one, partition=0, offset=1))
    state.fold(msgspec.structs.replace(one, partition=3))
    assert {slot[2] for slot in state._marks} == {2, 0, 3}


def test_other_encoders_and_other_features_teach_nothing() -> None:
    state = LearnerState(ENCODER, RULES)
    weights = state.kinds["next"].learner.weights().tolist()
    assert [state.fold(one) for one in (*examples(1, encoder="other"), None)] == ["scored", "other_version"]
    assert state.kinds["next"].learner.weights().tolist() == weights
    assert state.kinds["next"].learner.lists == 0
    assert {label.encoder for label, _ in state.figures} == {"other"}


def test_each_kind_of_list_has_weights_of_its_own() -> None:
    state = replayed(examples(30, kind="impression"), RULES)
    assert (state.kinds["impression"].learner.lists, state.kinds["next"].learner.lists) == (30, 0)


def test_an_example_is_scored_before_it_is_learned_from() -> None:
    state = LearnerState(ENCODER, RULES)
    (one,) = examples(1)
    state.fold(one)
    figures = {label.ranker: figure for label, figure in state.figures}
    assert figures["learned"] == figures["ours"] == figures["fixed"]
    values, relevant = one.values(), one.relevant()
    assert figures["fixed"].reciprocal_rank == places(values @ RULES.fixed, relevant)[1]


def test_what_is_published_is_what_was_learned() -> None:
    state = replayed(examples(50), RULES)
    state.kinds["next"].version = 6
    assert state.revise("next") == 7
    published = unpack_weights(pack_weights(state.published("next", 1_000)))
    assert published is not None
    assert (published.version, published.lists, published.serve, published.made_ms) == (7, 50, True, 1_000)
    assert published.array().tolist() == state.kinds["next"].learner.weights().tolist()


def test_a_version_stands_for_one_record() -> None:
    made = examples(51)
    state = replayed(made[:50], RULES)
    assert [state.revise("next") for _ in range(2)] == [1, 1]
    again = LearnerState.unpack(state.pack(), ENCODER, RULES)
    assert again.revise("next") == 1
    again.kinds["next"].judge._serve = False
    assert again.revise("next") == 2
    again.fold(made[50])
    assert again.revise("next") == 3
    again.fold(msgspec.structs.replace(made[50], offset=99, encoder="another"))  # scored, not learned from
    assert again.revise("next") == 3


def test_a_state_that_knew_no_digest_is_read_and_published_anew() -> None:
    state = replayed(examples(5), RULES)
    state.revise("next")
    packed = json.loads(state.pack())
    for one in packed["kinds"].values():
        del one["digest"]
    assert LearnerState.unpack(json.dumps(packed), ENCODER, RULES).revise("next") == 2


@pytest.mark.parametrize("packed", ["", "{}", "no JSON", '{"form": 1}', "\ud800"])
def test_what_is_no_state_is_refused(packed: str) -> None:
    with pytest.raises(PoisonError):
        LearnerState.unpack(packed, ENCODER, RULES)


def test_the_state_of_another_encoder_or_form_is_refused() -> None:
    packed = replayed(examples(3), RULES).pack()
    with pytest.raises(PoisonError, match="another form, encoder"):
        LearnerState.unpack(packed, "other", RULES)
    for field, value in (("features", 99), ("form", 99), ("kinds", {})):
        with pytest.raises(PoisonError):
            LearnerState.unpack(json.dumps({**json.loads(packed), field: value}), ENCODER, RULES)


@pytest.mark.parametrize(("topic", "due"), [("ranking.weights", True), ("", False)])
def test_a_state_that_nobody_is_told_of_is_not_written_to_publish_it(topic: str, due: bool) -> None:
    deps = LearnerDependencies(
        kafka=None,
        topic="ranking.examples",
        weights_topic=topic,
        limits=LearningSettings(publish_s=1e-9),
        states=None,
        producer=None,
        outbox=None,
        metrics=None,
        status=None,
        waiting=None,
        switched=None,
    )  # type: ignore[arg-type, call-arg]  # no server is asked
    assert Learning(deps, replayed(examples(3), RULES), asyncio.Event())._due() is due


# -- rankers and figures ---------------------------------------------------------------------------------------------


def test_rankers_score_by_what_their_name_says() -> None:
    values = np.zeros((3, len(NAMES)))
    values[0, COLUMN["recent_last"]] = values[1, COLUMN["relevance_topic"]] = values[2, COLUMN["popularity"]] = 1.0
    values[2, COLUMN["freshness"]] = -0.1
    best = {
        row: {
            name
            for name, of in qualities(standing_rankers(RULES.fixed, {}), values, np.arange(3) == row).items()
            if of.reciprocal_rank == 1.0
        }
        for row in range(3)
    }
    assert best == {0: {"last_item"}, 1: {"fixed", "level:topic"}, 2: {"freshness_popularity"}}


def test_equal_rows_share_their_places() -> None:
    values = np.tile(np.linspace(0.1, 1.0, len(NAMES)), (7, 1))
    (quality,) = qualities({"one": RULES.fixed + 0.1}, values, np.arange(7) == 6).values()
    assert quality.reciprocal_rank == 1 / 4


def test_places_of_several() -> None:
    scores = np.arange(20.0)
    assert places(scores, np.isin(np.arange(20), [18, 3])) == (0.5, 1 / 2)


def test_labels_are_bounded() -> None:
    figures, of = Figures(), {"fixed": Quality(1.0, 0.5)}
    for number in range(50):
        figures.add("next", f"encoder {number}", "new", of)
    assert len({label.encoder for label, _ in figures}) == MOST_ENCODERS + 1
    assert sum(figure.lists for _, figure in figures) == 50


@pytest.mark.parametrize(
    "forged",
    [
        {"encoder": "e" * 500_000}, {"group": "g" * 500_000}, {"topic": ""}, {"topic": "t" * 257}, {"partition": -1},
        {"log": 2**70}, {"offset": 2**63}, {"offset": -1},
    ],
)  # fmt: skip
def test_what_would_swell_the_state_is_refused(forged: dict[str, object]) -> None:
    """Each name is kept as a mark or as a label, and a state that Qdrant does not take would stop the learner."""
    value = json.loads(pack_example(examples(1)[0]))
    assert unpack_example(json.dumps(value).encode()) is not None
    with pytest.raises(PoisonError, match="expected"):
        unpack_example(json.dumps({**value, **forged}).encode())


def test_shadows_that_are_gone_are_forgotten() -> None:
    with_shadow = Rules(fixed=RULES.fixed, shadows={"one": planted(), "two": planted()})
    packed = replayed(examples(3), with_shadow).pack()
    rules = Rules(fixed=RULES.fixed, shadows={"two": planted()})
    shadows = {label.ranker for label, _ in LearnerState.unpack(packed, ENCODER, rules).figures if ":" in label.ranker}
    assert "shadow:two" in shadows
    assert "shadow:one" not in shadows


def test_figures_are_served_as_sums_and_as_means_of_late() -> None:
    metrics, figures = LearnerMetrics(), Figures()
    for reciprocal in (1.0, 0.5):
        figures.add("next", "e", "new", {"fixed": Quality(1.0, reciprocal)})
    metrics.figures = list(figures)
    text = generate_latest(metrics.registry).decode()
    labels = '{cohort="new",encoder="e",kind="next",ranker="fixed"}'
    assert f"interests_live_reciprocal_rank_total{labels} 1.5" in text
    assert f"interests_live_lists_total{labels} 2.0" in text
    assert f"interests_live_recall_at_10_late{labels} 1.0" in text
    assert figures.rows() == [(Label("fixed", "next", "e", "new"), Figure(2, 2.0, 1.5, 1.998, 1.998, 1.498))]


# -- the log ---------------------------------------------------------------------------------------------------------


def test_where_it_reads_on() -> None:
    first = met(LogPlace(), "a", {0: 5}, {0: 9})
    assert first == (LogPlace(number=1, cluster="a", next={0: 5}), "", 0)
    read = first.place.moved(0, 7)
    assert met(read, "a", {0: 5}, {0: 8}) == (read, "", 0)
    assert met(read, "a", {0: 5, 1: 0}, {0: 8, 1: 3}).place.next == {0: 8, 1: 0}
    assert met(read, "", {0: 5}, {0: 8}) == (read, "", 0)  # a broker that does not say its id
    assert met(read, "a", {0: 11}, {0: 12})[1:] == ("", 3)  # retention took three


@pytest.mark.parametrize(
    ("cluster", "ends", "reason"),
    [("b", {0: 20}, "another cluster"), ("a", {0: 7}, "partition 0 ends at 7, 8 was read"), ("a", {}, "is gone")],
)
def test_a_topic_made_anew_is_read_from_its_beginning(cluster: str, ends: dict[int, int], reason: str) -> None:
    found = met(LogPlace(number=3, cluster="a", next={0: 8}), cluster, dict.fromkeys(ends, 0), ends)
    assert reason in found.reason
    assert found.place == LogPlace(number=4, cluster=cluster, next=dict.fromkeys(ends, 0))


# -- the file of shadows, and the status -----------------------------------------------------------------------------


def test_shadows_are_read(tmp_path: Path) -> None:
    file = tmp_path / "shadows.json"
    file.write_text('{"recent": {"recent_max": 2, "aversion": -0.5}}')
    assert read_shadows(None) == {}
    assert read_shadows(file)["recent"].tolist() == planted({"recent_max": 2.0, "aversion": -0.5}).tolist()


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("", "no JSON"), ("[]", "expected"), ('{"a": 1}', "expected"), ('{"A": {}}', "to match"),
        ('{"a": {"nothing": 1}}', "not known"), ('{"a": {"aversion": "1"}}', "expected a number"),
        ('{"a": {"aversion": NaN}}', "expected a number"), ('{"a": {"aversion": true}}', "expected a number"),
        (json.dumps({f"n{n}": {} for n in range(9)}), "8 at most"), ("[" * 100_000, "no JSON"),
    ],
)  # fmt: skip
def test_shadows_that_do_not_fit_are_refused(tmp_path: Path, content: str, wrong: str) -> None:
    file = tmp_path / "shadows.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=wrong):
        read_shadows(file)
    with pytest.raises(ConfigurationError, match="No such file"):
        read_shadows(tmp_path / "none")


def test_it_is_ready_while_it_waits_for_nobody() -> None:
    status = LearnerStatus()
    assert status.answer("/readyz")[0].startswith("503")  # type: ignore[index]  # it has an answer for this path
    assert status.answer("/healthz")[0].startswith("200")  # type: ignore[index]
    status.waiting_for = None
    assert status.answer("/readyz")[0].startswith("200")  # type: ignore[index]
    status.stopping = True
    assert status.answer("/readyz")[0].startswith("503")  # type: ignore[index]
    assert status.answer("/other") is None

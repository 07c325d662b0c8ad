"""The model of capacity: what must hold whatever the costs, and what arithmetic alone says of simple cases."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from deploy.capacity.model import Costs, Course, Group, Loss, least_workers, simulate

COSTS = Costs(worker_event_s=400e-6, store_event_s=200e-6, store_cores=4)
GROUP = Group(workers=3, partitions=6)


def lost(costs: Costs = COSTS, group: Group = GROUP, rate: float = 1_200, *, workers: int = 1) -> Course:
    return simulate(costs, group, rate, seconds=120, loss=Loss(workers=workers, at_s=30))


def test_a_group_with_room_lags_by_what_comes_between_two_commits() -> None:
    course = simulate(COSTS, GROUP, 1_200, seconds=60)
    # A record waits half a commit interval as a mean, and the time of a batch besides.
    assert 600 < sum(course.lags[80:]) / len(course.lags[80:]) < 1_800
    assert max(course.lags[80:]) < 2_400


def test_more_than_the_workers_can_do_piles_up_by_the_difference() -> None:
    course = simulate(COSTS, GROUP, 10_000, seconds=61)  # three workers do 7,500/s
    grown = (course.lags[-1] - course.lags[83]) / (course.times_s[-1] - course.times_s[83])
    assert grown == pytest.approx(2_500, rel=0.1)


def test_more_than_the_store_can_do_piles_up_too() -> None:
    course = simulate(replace(COSTS, store_cores=1), GROUP, 6_000, seconds=61)  # one core does 5,000/s
    grown = (course.lags[-1] - course.lags[83]) / (course.times_s[-1] - course.times_s[83])
    assert grown == pytest.approx(1_000, rel=0.15)


def test_a_shared_machine_does_what_its_cores_can() -> None:
    shared = replace(COSTS, machine_cores=1)  # 600 µs an event in all: 1,667/s
    course = simulate(shared, GROUP, 2_000, seconds=61)
    grown = (course.lags[-1] - course.lags[83]) / (course.times_s[-1] - course.times_s[83])
    assert grown == pytest.approx(333, rel=0.2)


def test_a_lost_workers_share_waits_until_the_loss_is_noticed() -> None:
    course = lost()
    unnoticed_s = GROUP.session_timeout_s - GROUP.heartbeat_s / 2
    still_s = GROUP.heartbeat_s / 2 + GROUP.rejoin_s
    # A third of the events for as long as nobody knows, all of them while the group shares out anew.
    expected = course.steady + 400 * unnoticed_s + 1_200 * still_s
    assert course.peak == pytest.approx(expected, rel=0.15)
    assert course.caught_up_s is not None
    assert unnoticed_s < course.caught_up_s < 30
    assert max(course.oldest_s) > unnoticed_s


def test_a_shorter_session_timeout_makes_a_smaller_peak() -> None:
    sooner = lost(group=replace(GROUP, session_timeout_s=5))
    assert lost().peak - sooner.peak == pytest.approx(5 * 400, rel=0.15)


def test_two_workers_that_cannot_do_it_never_catch_up_and_a_third_one_does() -> None:
    rate = 6_000  # of two workers 5,000/s, of three 7,500/s
    assert lost(rate=rate).caught_up_s is None
    back = simulate(COSTS, GROUP, rate, seconds=240, loss=Loss(workers=1, at_s=30, back_after_s=20))
    assert back.caught_up_s is not None


def test_nothing_is_lost_with_a_worker() -> None:
    """What was not committed is handed out again: in the end the lag is as before."""
    course = lost()
    late = [lag for at, lag in zip(course.times_s, course.lags, strict=True) if at > 80]
    assert sum(late) / len(late) == pytest.approx(course.steady, rel=0.35)


def test_the_least_workers_hold_and_one_fewer_do_not_by_much() -> None:
    count = least_workers(COSTS, 5_000, within_s=60)
    assert 3 < count <= 6
    course = simulate(
        COSTS, Group(workers=count, partitions=2 * count), 5_000, seconds=150, loss=Loss(workers=count // 3, at_s=30)
    )
    assert course.caught_up_s is not None
    assert course.caught_up_s <= 60


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.capacity", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_prints_a_table_and_what_to_do() -> None:
    good = run("--events-per-s", "1000", "--workers", "3", "--minutes", "1")
    assert good.returncode == 0
    assert "1 of 3 workers lost" in good.stdout
    assert "kafka.session_timeout_s" in good.stdout
    full = run("--events-per-s", "1000", "--store-cores", "1")
    assert full.returncode == 2
    assert "expected 2 or more" in full.stderr

"""The judge of liveness: what stands still, for how long, and what excuses it. The clock is the test's own."""

from __future__ import annotations

from dataclasses import replace

from streams.broker.liveness import ConsumerFacts, LivenessJudge, LivenessLimits, not_live

LIMITS = LivenessLimits(loop_s=30, stuck_s=120, answered_s=10)
IDLE = ConsumerFacts(assigned=True)
BEHIND = replace(IDLE, uncommitted=True, lag=3)
AT_WORK = replace(IDLE, batches_out=1, uncommitted=True, lag=3)


class Clock:
    """Stands still until it is moved; the machine that runs the test may have booted a moment ago."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Worker:
    """A judge, its clock, and what it says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.judge = LivenessJudge(LIMITS, clock=self.clock)

    def after(self, seconds: float, consumer: ConsumerFacts, *servers: str, stuck_s: float = 120) -> list[str]:
        """Pass so much time in that state, looked at every second, with these servers answering; what is wrong then."""
        for _ in range(int(seconds)):
            self.clock.now_s += 1
            self.judge.observe(consumer)
            for server in servers:
                self.judge.answered(server)
        self.judge.observe(consumer)
        return not_live(self.judge.facts(), replace(LIMITS, stuck_s=stuck_s))


def test_a_standstill_counts_only_while_records_wait() -> None:
    worker = Worker()
    assert worker.after(500, IDLE) == []
    assert worker.after(400, BEHIND, stuck_s=400) == []
    assert worker.after(100, BEHIND, stuck_s=400) == ["3 records wait and nothing was committed for 500 s"]
    assert worker.after(0, BEHIND, stuck_s=600) == []
    assert worker.after(0, IDLE) == []


def test_a_commit_ends_a_standstill_of_commits() -> None:
    worker = Worker()
    assert worker.after(100, BEHIND) == []
    worker.judge.committed()
    assert worker.after(100, BEHIND) == []
    assert worker.after(21, BEHIND) == ["3 records wait and nothing was committed for 121 s"]


def test_a_batch_that_is_out_must_be_acknowledged_or_say_that_it_waits() -> None:
    worker = Worker()
    worker.after(500, IDLE)
    worker.judge.progress()
    out = replace(AT_WORK, lag=0)
    assert worker.after(120, out) == []
    assert worker.after(1, out) == ["batches are out and none was acknowledged for 121 s"]
    worker.judge.progress()
    assert worker.after(120, out) == []
    assert worker.after(1, AT_WORK) == [
        "3 records wait and nothing was committed for 121 s",
        "batches are out and none was acknowledged for 121 s",
    ]


def test_a_batch_that_is_out_is_judged_while_the_group_rebalances_too() -> None:
    worker = Worker()
    rebalancing = replace(AT_WORK, assigned=False)
    assert worker.after(121, rebalancing) == ["batches are out and none was acknowledged for 121 s"]


def test_a_group_that_rebalances_again_and_again_commits_nothing() -> None:
    worker = Worker()
    for _ in range(12):
        assert worker.after(5, ConsumerFacts()) == []
        assert worker.after(5, BEHIND) == []
    assert worker.after(1, BEHIND) == ["3 records wait and nothing was committed for 121 s"]


def test_records_that_wait_while_nothing_was_handed_out_are_not_fetched() -> None:
    worker = Worker()
    assert worker.after(120, replace(IDLE, lag=3)) == []
    assert worker.after(1, replace(IDLE, lag=3)) == ["records wait and none was fetched for 121 s"]


def test_records_that_nobody_fetches() -> None:
    worker = Worker()
    for _ in range(5):
        worker.judge.behind({("clicks", 0): 7, ("clicks", 1): 7})
        assert worker.after(30, IDLE) == []
    worker.judge.behind({("clicks", 0): 8, ("clicks", 1): 7})
    assert worker.after(0, IDLE) == ["records wait and none was fetched for 150 s"]
    worker.judge.behind({("clicks", 0): 8})
    assert worker.after(100, IDLE) == []
    worker.judge.behind({("clicks", 0): 8})
    assert worker.after(300, IDLE) == [], "since the broker was last asked, anything may have been fetched"
    worker.judge.behind({})
    worker.judge.behind({("clicks", 0): 8})
    assert worker.after(0, IDLE) == []


def test_what_is_handed_out_was_fetched() -> None:
    worker = Worker()
    worker.judge.behind({("clicks", 0): 7})
    worker.after(100, replace(AT_WORK, lag=0))
    worker.judge.behind({("clicks", 0): 7})
    assert worker.after(0, IDLE) == []


def test_a_server_that_is_away_excuses_a_standstill() -> None:
    worker = Worker()
    worker.judge.expect(["kafka", "qdrant"])
    worker.after(110, AT_WORK, "kafka", "qdrant")
    assert worker.after(11, AT_WORK, "kafka") == []
    assert worker.after(1000, AT_WORK, "kafka") == []
    assert worker.judge.facts().stuck_s == 0
    assert worker.after(1, AT_WORK, "kafka", "qdrant") == [], "the time begins anew once it is back"
    assert worker.after(120, AT_WORK, "kafka", "qdrant") == []
    assert worker.after(1, AT_WORK, "kafka", "qdrant") != []


def test_a_server_that_misses_one_question_excuses_nothing() -> None:
    worker = Worker()
    worker.judge.expect(["qdrant"])
    for _ in range(12):
        worker.after(9, AT_WORK)
        worker.after(1, AT_WORK, "qdrant")
    assert worker.after(1, AT_WORK) != []


def test_a_server_that_never_answered_excuses_nothing() -> None:
    worker = Worker()
    worker.judge.expect(["triton"])
    assert worker.judge.facts().answered_s == {"triton": None}
    assert worker.after(121, AT_WORK) != []


def test_a_broker_that_does_not_answer_is_an_excuse_at_once() -> None:
    worker = Worker()
    worker.judge.behind({("clicks", 0): 7})
    worker.after(110, BEHIND)
    worker.judge.excuse()
    worker.judge.behind({("clicks", 0): 7})
    assert worker.after(100, BEHIND) == []


def test_a_client_that_gave_up_is_dead_at_once() -> None:
    worker = Worker()
    worker.judge.expect(["kafka"])
    worker.after(0, IDLE, "kafka")
    worker.clock.now_s += 60
    assert worker.after(0, ConsumerFacts(failure="KafkaError()")) == ["the Kafka client gave up: KafkaError()"]


def test_a_silent_loop_is_timed_by_another_threads_ticks() -> None:
    worker = Worker()
    worker.judge.beat()
    worker.judge.tick(1)
    assert worker.judge.tick(40) == 40
    assert not_live(worker.judge.facts(), LIMITS) == ["the event loop has not run for 40 s"]
    assert worker.after(0, IDLE) == [], "who looks at the consumer runs in the loop"
    assert worker.judge.tick(40) == 0
    worker.clock.now_s += 3600  # the process was frozen as a whole
    assert not_live(worker.judge.facts(), LIMITS) == []


def test_since_commit_counts_from_a_commit_or_from_the_first_that_waits_for_one() -> None:
    worker = Worker()
    worker.after(500, IDLE)
    assert worker.judge.seconds_since_commit() == 0
    worker.after(50, AT_WORK)
    assert worker.judge.seconds_since_commit() == 50
    worker.judge.progress()  # an answer of a server is none
    worker.judge.excuse()
    acknowledged = replace(AT_WORK, batches_out=0)
    worker.after(10, acknowledged)
    assert worker.judge.seconds_since_commit() == 60
    worker.judge.committed()
    assert worker.judge.seconds_since_commit() == 0
    worker.after(5, AT_WORK)
    assert worker.judge.seconds_since_commit() == 5
    worker.after(0, IDLE)
    assert worker.judge.seconds_since_commit() == 0

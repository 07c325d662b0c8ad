"""One judge of whether a worker is alive: fed with facts as they come, it knows what stands still, and for how long.

Fed by the consumer (progress, commits), by `run_worker` (the state of the consumer), by whoever asks the servers, and
by a thread beside the event loop. `run_worker` ends the worker by it; /healthz and /readyz answer by it. Pure: no
client, and the clock is given.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessLimits:
    """In seconds: how long the event loop may be silent, work stand still, and a server not have answered."""

    loop_s: float = 30.0
    stuck_s: float = 120.0
    answered_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerFacts:
    """A consumer at one moment.

    `assigned`: the group has given it partitions. `batches_out`: handed out and not acknowledged. `uncommitted`:
    something that was handed out is not committed. `lag`: records between what is committed and the log's end.
    `failure`: what ended the client for good.
    """

    assigned: bool = False
    batches_out: int = 0
    uncommitted: bool = False
    lag: int = 0
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessFacts:
    """A worker at one moment; times in seconds, 0 where nothing stands still or a server that is away excuses it.

    `loop_silent_s`: since the event loop last ran. `uncommitted_s`: since the last commit or progress, while records
    wait and some were handed out. `unacknowledged_s`: since the last acknowledgement or progress, while batches are
    out. `unfetched_s`: since anything was fetched, while records wait. `answered_s`: by server, since it last answered;
    None: not yet.
    """

    failure: str | None = None
    loop_silent_s: float = 0.0
    lag: int = 0
    uncommitted_s: float = 0.0
    unacknowledged_s: float = 0.0
    unfetched_s: float = 0.0
    answered_s: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def stuck_s(self) -> float:
        """How long work has stood still."""
        return max(self.uncommitted_s, self.unacknowledged_s, self.unfetched_s)


def not_live(facts: LivenessFacts, limits: LivenessLimits) -> list[str]:
    """Why the worker should be started again; empty: it is alive."""
    reasons = []
    if facts.failure is not None:
        reasons.append(f"the Kafka client gave up: {facts.failure}")
    if facts.loop_silent_s > limits.loop_s:
        reasons.append(f"the event loop has not run for {facts.loop_silent_s:.0f} s")
    for seconds, what in (
        (facts.uncommitted_s, f"{facts.lag} records wait and nothing was committed"),
        (facts.unacknowledged_s, "batches are out and none was acknowledged"),
        (facts.unfetched_s, "records wait and none was fetched"),
    ):
        if seconds > limits.stuck_s:
            reasons.append(f"{what} for {int(seconds)} s")
    return reasons


class LivenessJudge:
    """Keeps the times when things last moved; `facts` has how long ago. Written by the event loop, read by any thread.

    Silence of the loop is counted in ticks of another thread, so that a process that was frozen as a whole does not
    count as one whose loop hangs.
    """

    def __init__(self, limits: LivenessLimits | None = None, *, clock: Callable[[], float] = monotonic) -> None:
        self.limits = limits or LivenessLimits()
        self._clock = clock
        self._consumer = ConsumerFacts()
        now_s = clock()
        self._progress_s = self._committed_s = self._excused_s = now_s
        self._nothing_waits_s = self._nothing_uncommitted_s = now_s
        self._behind: dict[Hashable, tuple[int, float]] = {}
        self._behind_at_s = now_s
        self._answered_at_s: dict[str, float | None] = {}
        self._beats = self._beats_seen = 0
        self._silent_s = 0.0

    # -- what it is fed -------------------------------------------------------------------------------------------

    def progress(self) -> None:
        """A batch was acknowledged, the first one went out, or an agent waits on purpose."""
        self._progress_s = self._clock()

    def committed(self) -> None:
        """The broker has committed offsets."""
        self._committed_s = self._clock()

    def observe(self, consumer: ConsumerFacts) -> None:
        """The consumer's state, as the event loop sees it now and then."""
        self.beat()
        now_s, self._consumer = self._clock(), consumer
        # While there is no assignment the times go on: a group that rebalances for ever commits nothing either.
        if consumer.assigned and not (consumer.batches_out or consumer.lag):
            self._nothing_waits_s = now_s
        if not consumer.uncommitted:
            self._nothing_uncommitted_s = now_s
        if not consumer.assigned or consumer.batches_out:
            self._behind = {}

    def behind(self, positions: Mapping[Hashable, int]) -> None:
        """The fetcher's position in every partition whose log has more records, by the broker's answer just now."""
        now_s = self._clock()
        before = self._behind
        self._behind = {
            source: before[source] if before.get(source, (None,))[0] == position else (position, now_s)
            for source, position in positions.items()
        }
        self._behind_at_s = now_s

    def excuse(self) -> None:
        """A server did not answer: whatever stands still does so for its sake, and is timed anew."""
        self._excused_s = self._clock()

    def expect(self, servers: Iterable[str]) -> None:
        """These servers will be asked; none has answered yet."""
        self._answered_at_s = dict.fromkeys(servers)

    def answered(self, server: str) -> None:
        """A server has answered; where it was away until now, what stood still meanwhile is timed anew."""
        now_s = self._clock()
        before_s = self._answered_at_s.get(server)
        if before_s is not None and now_s - before_s > self.limits.answered_s:
            self._excused_s = now_s
        self._answered_at_s[server] = now_s

    def beat(self) -> None:
        """The event loop runs."""
        self._beats += 1

    def tick(self, seconds: float) -> float:
        """Another thread lived for `seconds` more; how long the loop has been silent by that clock."""
        self._silent_s = 0.0 if self._beats != self._beats_seen else self._silent_s + seconds
        self._beats_seen = self._beats
        return self._silent_s

    # -- what it answers ------------------------------------------------------------------------------------------

    def facts(self) -> LivenessFacts:
        """The worker now."""
        now_s, consumer = self._clock(), self._consumer
        answered_s = {name: None if at_s is None else now_s - at_s for name, at_s in list(self._answered_at_s.items())}
        away = any(seconds is not None and seconds > self.limits.answered_s for seconds in answered_s.values())

        def since(*moved_s: float, until_s: float = now_s) -> float:
            return 0.0 if away else max(0.0, until_s - max(self._excused_s, *moved_s))

        waits = consumer.assigned and consumer.lag
        waiting_s = since(self._committed_s, self._progress_s, self._nothing_waits_s) if waits else 0.0
        # Until the broker was last asked: what was fetched since then is not known.
        behind_s = [since(at_s, until_s=self._behind_at_s) for _, at_s in list(self._behind.values())]
        return LivenessFacts(
            failure=consumer.failure,
            loop_silent_s=self._silent_s if self._beats == self._beats_seen else 0.0,
            lag=consumer.lag,
            uncommitted_s=waiting_s if consumer.uncommitted else 0.0,
            unacknowledged_s=since(self._progress_s) if consumer.batches_out else 0.0,
            unfetched_s=max([*behind_s, 0.0 if consumer.uncommitted else waiting_s]),
            answered_s=answered_s,
        )

    def seconds_since_commit(self) -> float:
        """Since offsets were last committed, or since something was first waiting for it; 0 while nothing is."""
        if not self._consumer.uncommitted:
            return 0.0
        return self._clock() - max(self._committed_s, self._nothing_uncommitted_s)

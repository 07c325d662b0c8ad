"""Workers that come back from the dead: frozen past their session, they find their partitions with another."""

from __future__ import annotations

import signal

from tests.fault.arena import FaultyWorker, Trial
from tests.fault.registry import scenario


@scenario()
async def zombie(trial: Trial) -> None:
    """SIGSTOP before an upsert and past the session; another worker goes on; after SIGCONT the upsert is refused."""
    await trial.play(80)
    frozen = trial.worker("before_upsert:stop@2")
    await frozen.frozen()
    heir = trial.worker()
    await trial.play(60, rounds=2)
    await trial.quiet()
    await _wake(trial, frozen)
    assert heir.running, heir.log()
    trial.injected = "SIGSTOP before upsert, takeover, SIGCONT"


async def _wake(trial: Trial, frozen: FaultyWorker) -> None:
    """Let a frozen worker go on, and wait until the batch it held is behind it."""
    frozen.signal(signal.SIGCONT)
    trial.over()

    async def behind() -> bool:
        metrics = await frozen.metrics() if frozen.running else {}
        gone = metrics.get("interests_stale_batches_total", 0.0) + metrics.get("interests_batch_records_count", 0.0)
        return not frozen.running or gone >= 2

    await trial.until(behind, "the zombie is done with its batch", 40)

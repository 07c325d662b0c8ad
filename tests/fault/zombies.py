"""Workers that come back from the dead: frozen past their session, they find their partitions with another."""

from __future__ import annotations

import asyncio
import signal

from tests.fault.arena import FaultyWorker
from tests.fault.registry import scenario
from tests.fault.trial import Trial


@scenario()
async def zombie(trial: Trial) -> None:
    """SIGSTOP before an upsert and past the session; another worker goes on; after SIGCONT the upsert is refused."""
    await trial.play(80)
    frozen = trial.worker("before_upsert:stop@2,after_upsert:stop@2")
    await frozen.frozen()
    heir = trial.worker()
    await trial.play(60, rounds=2)
    await trial.quiet()
    await _wake(frozen)
    await frozen.frozen()  # its upsert is behind it now
    trial.over()
    frozen.signal(signal.SIGCONT)
    assert heir.running, heir.log()
    trial.injected = "SIGSTOP before upsert, takeover, SIGCONT"


@scenario()
async def zombie_acks(trial: Trial) -> None:
    """SIGSTOP before the acknowledgement; another worker goes on; what the first one acknowledges late counts not."""
    await trial.play(80)
    frozen = trial.worker("before_ack:stop@2")
    await frozen.frozen()
    heir = trial.worker()
    await trial.play(60, rounds=1)
    await trial.quiet()
    await _wake(frozen)
    trial.over()
    await trial.play(40)
    assert heir.running, heir.log()
    trial.injected = "SIGSTOP before the acknowledgement, takeover, SIGCONT"


async def _wake(frozen: FaultyWorker) -> None:
    frozen.signal(signal.SIGCONT)
    await asyncio.sleep(0.3)

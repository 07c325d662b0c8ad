"""Following a topic without a group: every record produced from now on, in this process, whoever else reads it.

A loss is reported: after the broker was away, or the topic was made anew, reading begins at the ends again and the
reader gets a gap. Nothing is committed, and no member joins a group, so any number of processes may follow.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence

from streams.base.errors import BrokerUnavailable
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Record
from streams.broker.topic_session import CHECK_S, DEADLINE_S, topic_session

RETRY_S = 0.5
LONGEST_RETRY_S = 10.0

log = logging.getLogger(__name__)


class TopicFollower:
    """Records of a topic as they come: `async for records in follower.batches()`.

    None stands for a gap; the first thing handed out is one, since what was before is not handed out. `check_s` and
    `deadline_s` are those of `topic_session`.
    """

    def __init__(
        self, config: KafkaConfig, topic: str, *, check_s: float = CHECK_S, deadline_s: float = DEADLINE_S
    ) -> None:
        self._config, self._topic, self._check_s, self._deadline_s = config, topic, check_s, deadline_s
        self.ready = asyncio.Event()

    async def batches(self) -> AsyncGenerator[Sequence[Record] | None, None]:
        """Follow until closed (`aclose`). What is produced once `ready` is set is handed out, or a gap stands for it.

        Raises ConfigurationError where the broker refuses this client; waits out everything else.
        """
        pause_s = RETRY_S
        while True:
            try:
                async with topic_session(
                    self._config, self._topic, check_s=self._check_s, deadline_s=self._deadline_s
                ) as session:
                    session.seek(await session.ends())
                    pause_s = RETRY_S
                    try:
                        self.ready.set()
                        yield None
                        async for records in session.batches():
                            if records:
                                yield records
                    finally:
                        self.ready.clear()
            except BrokerUnavailable as error:
                log.warning("following %s: %s; again in %.1f s", self._topic, error, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_RETRY_S, 2 * pause_s)

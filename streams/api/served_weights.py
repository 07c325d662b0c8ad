"""The weights that rank now: those of the topic `ranking.weights`, one follower a process, or else the fixed ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import structlog

from streams.api.background_follower import BackgroundFollower
from streams.base.caches import BoundedCache
from streams.base.clock import now_ms
from streams.base.errors import ConfigurationError, PoisonError, RetryableError
from streams.broker.config import KafkaConfig
from streams.broker.fetched_batch import Record
from streams.broker.follow import TopicFollower
from streams.broker.read_all import read_topic
from streams.events.times import FUTURE_MS
from streams.interests.score import Floats
from streams.ranking.parts import KINDS, Kind
from streams.ranking.weights import PublishedWeights, unpack_weights

log = structlog.get_logger(__name__)

_RETRY_S = 2.0
_MOST_ENCODERS = 64


class Weights(NamedTuple):
    """Weights (F,) to score with, their version, 0 for the fixed ones, and the kind of lists they were learned from."""

    values: Floats
    version: int
    kind: Kind | None = None


class ServedWeights:
    """The latest published weights by encoder and kind of list, and which of them count.

    `max_age_ms` is how long weights are believed that nobody renews.
    """

    def __init__(self, fixed: Floats, max_age_ms: int) -> None:
        self._fixed, self._max_age_ms = Weights(fixed, 0), max_age_ms
        self._latest: BoundedCache[tuple[str, Kind], tuple[PublishedWeights, Weights]] = BoundedCache(
            _MOST_ENCODERS * len(KINDS)
        )

    def take(self, published: PublishedWeights) -> None:
        """Take up a record, unless it was made before what is there: a topic may be read again from its beginning.

        Of the same version the later one renews how long it is believed.
        """
        key = published.encoder, published.kind
        had = self._latest.get(key)
        if had is None or published.made_ms >= had[0].made_ms:
            self._latest.put(key, (published, Weights(published.array(), published.version, published.kind)))

    def latest(self, encoder: str, kind: Kind) -> PublishedWeights | None:
        """The record that counts of an encoder and kind, whether it serves or not; None where there is none."""
        found = self._latest.get((encoder, kind))
        return found[0] if found is not None else None

    def at(self, encoder: str, kind: Kind, now_ms: int) -> Weights:
        """What to score a kind of list with, of vectors of an encoder.

        Where nothing was learned for this kind, what was learned for the other counts.
        """
        for one in (kind, *(other for other in KINDS if other != kind)):
            found = self._latest.get((encoder, one))
            if found is not None:
                published, weights = found
                serves = published.serve and now_ms - published.made_ms <= self._max_age_ms
                return weights if serves else self._fixed
        return self._fixed


class WeightsFollower(BackgroundFollower):
    """Has `ServedWeights` take every record of the topic, from its beginning on, and again after a gap."""

    def __init__(self, config: KafkaConfig, topic: str, served: ServedWeights) -> None:
        # Where the broker refuses this client, what was taken up counts until it is too old.
        super().__init__(TopicFollower(config, topic), "weights_ended")
        self._config, self._topic, self._served = config, topic, served

    async def _take(self, records: Sequence[Record] | None) -> None:
        if records is None:
            await self._read_again()
        else:
            take_all(self._served, records, now_ms())

    async def _read_again(self) -> None:
        """Read the topic from its beginning: what is produced meanwhile is followed already."""
        while True:
            try:
                async for records in read_topic(self._config, self._topic):
                    take_all(self._served, records, now_ms())
            except RetryableError as error:
                log.warning("weights_unread", error=str(error))
                await asyncio.sleep(_RETRY_S)
            except ConfigurationError as error:  # the topic is gone: the follower waits for it, and begins again
                log.warning("weights_unread", error=str(error))
                return
            else:
                return


def take_all(served: ServedWeights, records: Iterable[Record], now_ms: int) -> None:
    """Have weights taken up from records; what no learner can have sent is passed over, with a line in the log."""
    for record in records:
        try:
            published = unpack_weights(record.value)
        except PoisonError as error:
            log.warning("weights_unread", offset=record.offset, error=str(error))
            continue
        if published is None:  # of another version of the features
            continue
        if record.key == published.key and published.made_ms <= now_ms + FUTURE_MS:
            served.take(published)
        else:
            log.warning("weights_unread", offset=record.offset, error="another's key, or a time to come")

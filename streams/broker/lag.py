"""What lag is: offsets between where a group is and the end of what it can read. Pure; defined here and nowhere else.

A group is at its commit, or at the log's start where retention or DeleteRecords has moved that past the commit. The
end is that of what a reader may see: with `read_committed` the last stable offset, since nobody can read a transaction
that is still open. Offsets are no records: markers of transactions, aborted records and those that compaction removed
take offsets too. A worker's fetcher passes over them and commits its position, so they count until it has; seen from
outside, without a worker, nobody can tell them from records.
"""

from __future__ import annotations

from streams.broker.config import KafkaConfig


def readable_end(highwater: int | None, stable: int | None, config: KafkaConfig) -> int | None:
    """The end of what can be read of a partition, of the two ends that a fetch answers with; None: not known yet.

    Tansu knows no transactions, and its last stable offset says nothing.
    """
    if highwater is None or stable is None or stable < 0:
        return highwater
    return min(highwater, stable) if config.read_committed and config.implementation == "kafka" else highwater


def lag_of(end: int, *, committed: int | None, begin: int) -> int:
    """How far a group is behind `end`; `begin` is the log's start, or the first offset a reader met in it."""
    return max(0, end - max(begin, committed or 0))

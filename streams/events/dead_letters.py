"""What a dead letter is and the headers it travels with. Sending it is the broker's work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self, get_args

from streams.base.errors import PoisonError
from streams.events.event import Header, RecordLike, UnreadBatch

# What parsing and resolving can find wrong. docs/events.md describes each; a test holds the two together.
DeadLetterReason = Literal[
    "empty_value", "too_large", "not_utf8", "bad_json", "too_deep", "wrong_type", "missing_field", "unexpected_field",
    "unknown_type", "out_of_range", "bad_id", "bad_timestamp", "bad_media", "empty_key", "key_mismatch",
    "item_mismatch", "no_content", "bad_header", "bad_source", "unresolved", "bad_utf8", "refused", "wrong_output",
    "crashes", "raised", "killed", "batch_too_large", "batch_unreadable", "record_unreadable",
]  # fmt: skip

#: Where each reason comes out as a rule; some come out elsewhere as well (`too_large`, `no_content`).
STAGES: Final[Mapping[DeadLetterReason, str]] = {
    **dict.fromkeys(get_args(DeadLetterReason), "parse"),
    "unresolved": "resolve",
    **dict.fromkeys(("bad_utf8", "refused", "wrong_output", "crashes"), "encode"),
    **dict.fromkeys(("raised", "killed"), "crash"),
    **dict.fromkeys(("batch_too_large", "batch_unreadable", "record_unreadable"), "fetch"),
}  # fmt: skip

PREFIX: Final = "dead-letter-"
BODY: Final = PREFIX + "body"
#: The headers a letter says things with; others of that prefix are the record's own.
OURS: Final = frozenset(
    {BODY}
    | {PREFIX + name for name in ("topic", "partition", "offset", "timestamp-ms", "stage", "error", "message")}
    | {PREFIX + "first-offset"}
)
MAX_MESSAGE_BYTES: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that can never be applied, where that came out, and why.

    `reason` is one of a short list. `message` names fields and limits, never what the record holds.
    """

    record: RecordLike
    stage: str
    reason: str
    message: str

    @classmethod
    def of(cls, record: RecordLike, error: PoisonError) -> Self:
        """Make the dead letter of a record that raised a PoisonError; a batch that was not read says why itself."""
        if isinstance(record, UnreadBatch):
            return cls(record=record, stage="fetch", reason=record.reason, message=record.message)
        return cls(record=record, stage=error.stage, reason=error.reason, message=str(error))


def topic_of(topic: str) -> str:
    """Name the topic that holds a topic's dead letters."""
    return f"{topic}.dead"


def headers(dead: DeadLetter) -> list[Header]:
    """Give the headers a dead letter is sent with: the record's own, then where it lay and what was wrong.

    Key and value are to be sent unchanged, and so are headers without a value and several of one name. Headers of an
    earlier death (a letter that was put back and failed again) are replaced, so each appears once.
    """
    return [header for header in dead.record.headers or () if header[0] not in OURS] + about(dead)


def about(dead: DeadLetter) -> list[Header]:
    """Give the headers that say where a record lay and what was wrong with it; none of them is the record's own."""
    record = dead.record
    fields = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp-ms": str(-1 if record.timestamp is None else record.timestamp),
        "stage": dead.stage,
        "error": dead.reason,
        "message": dead.message,
    }
    if isinstance(record, UnreadBatch):
        fields["first-offset"] = str(record.first_offset)
    return [
        (PREFIX + name, text.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES].decode("utf-8", "ignore").encode())
        for name, text in fields.items()
    ]

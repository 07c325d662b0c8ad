"""Who somebody is, kept out of what the service stores: pseudonyms for users, and what becomes of dead letters. Pure.

A pseudonym is `~` and the first 160 bits of HMAC-SHA256(key, user_id) (RFC 2104) in hexadecimal: 41 characters. Without
the key nobody can tell whose it is, nor try names out; with it the same user always has the same one.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from streams.base.errors import ConfigurationError, PoisonError
from streams.events import dead_letters, unresolved
from streams.events.dead_letters import BODY, DeadLetter
from streams.events.event import Event, Header, RecordLike, Source

LEAST_KEY_BYTES: Final = 32
_KEPT_BYTES: Final = 20
_FORM: Final = re.compile(r"~[0-9a-f]{40}")
#: What a letter keeps of its record's headers when its body is dropped or sealed: our own, and the trace's.
_KEPT: Final = unresolved.OURS | {"traceparent"}
SEALED: Final = b"sealed hpke x25519 hkdf-sha256 chacha20-poly1305"
DROPPED: Final = b"dropped"
_SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)

Bodies = Literal["keep", "drop", "seal"]


class Pseudonyms:
    """Turns user ids into pseudonyms under one key. ConfigurationError for a key of less than 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < LEAST_KEY_BYTES:
            raise ConfigurationError(
                f"privacy.user_id_key_file: got a key of {len(key)} bytes, expected at least {LEAST_KEY_BYTES}: "
                "make one with `openssl rand -hex 32`"
            )
        self._key = key
        self.of = lru_cache(maxsize=100_000)(self._of)

    def __repr__(self) -> str:
        """Show no key."""
        return "Pseudonyms()"

    def _of(self, user_id: str) -> str:
        """The pseudonym of a user; one that is a pseudonym already stays as it is."""
        return user_id if is_pseudonym(user_id) else self.of_bytes(user_id.encode())

    def of_bytes(self, key: bytes) -> str:
        """The pseudonym of a record's key, whatever its bytes."""
        return "~" + hmac.digest(self._key, key, "sha256")[:_KEPT_BYTES].hex()


def is_pseudonym(user_id: str) -> bool:
    """Whether an id has a pseudonym's form."""
    return _FORM.fullmatch(user_id) is not None


def pseudonymous(
    events: Sequence[Event], pseudonyms: Pseudonyms | None
) -> tuple[Sequence[Event], dict[Source, PoisonError]]:
    """The events under their users' pseudonyms, and those refused because they came under one.

    A record's key chooses its partition: were one user's events keyed by name here and by pseudonym there, two
    workers would own one tree.
    """
    if pseudonyms is None:
        return events, {}
    renamed: list[Event] = []
    refused: dict[Source, PoisonError] = {}
    for event in events:
        if is_pseudonym(event.user_id):
            message = "user_id: expected a user's own id, got a pseudonym; the worker makes pseudonyms itself"
            refused[event.source] = PoisonError(message, reason="bad_id")
        else:
            renamed.append(msgspec.structs.replace(event, user_id=pseudonyms.of(event.user_id)))
    return renamed, refused


class Sendable(NamedTuple):
    """A dead letter as it is sent."""

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


class Original(msgspec.Struct, array_like=True, frozen=True):
    """What a seal holds: the record as it came."""

    key: bytes | None
    value: bytes | None
    headers: list[Header]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPolicy:
    """What a dead letter carries of its record.

    `keep`: all, unchanged. `drop`: nothing but our own headers. `seal`: key, value and headers encrypted to
    `recipient` (HPKE, RFC 9180), so that whoever reads the topic, this worker included, cannot open them. With
    `pseudonyms` the key is the user's. Records of `impersonal` topics (the catalogue) keep their keys.
    """

    bodies: Bodies = "keep"
    recipient: X25519PublicKey | None = None
    pseudonyms: Pseudonyms | None = None
    impersonal: frozenset[str] = frozenset()

    def of(self, letter: DeadLetter) -> Sendable:
        """The letter as it is sent."""
        record = letter.record
        key = record.key
        if key is not None and self.pseudonyms is not None and record.topic not in self.impersonal:
            key = self._pseudonym(key).encode()
        if self.bodies == "keep":
            return Sendable(key, record.value, tuple(dead_letters.headers(letter)))
        ours = [header for header in record.headers or () if header[0] in _KEPT] + dead_letters.about(letter)
        if self.bodies == "drop" or self.recipient is None:
            return Sendable(key, None, (*ours, (BODY, DROPPED)))
        return Sendable(key, seal(record, self.recipient), (*ours, (BODY, SEALED)))

    def _pseudonym(self, key: bytes) -> str:
        assert self.pseudonyms is not None  # noqa: S101  # the caller looked
        try:
            return self.pseudonyms.of(key.decode())
        except UnicodeDecodeError:
            return self.pseudonyms.of_bytes(key)


def seal(record: RecordLike, recipient: X25519PublicKey) -> bytes:
    """A record's key, value and headers, readable by the holder of the private key only; bound to where it lay."""
    plain = msgspec.msgpack.encode(Original(record.key, record.value, list(record.headers or ())))
    return _SUITE.encrypt(plain, recipient, _bound_to(record.topic, record.partition, record.offset))


def open_sealed(value: bytes, headers: Sequence[Header], private: X25519PrivateKey) -> Original:
    """The record in a sealed dead letter. ConfigurationError where the key is another or the letter was changed."""
    by_name = dict(headers)
    try:
        topic, *place = (by_name[dead_letters.PREFIX + name] or b"" for name in ("topic", "partition", "offset"))
        plain = _SUITE.decrypt(value, private, _bound_to(topic.decode(), *map(int, place)))
    except (KeyError, ValueError, InvalidTag) as error:
        raise ConfigurationError(
            "this dead letter does not open: it was sealed to another key, is not sealed, or was changed on its way"
        ) from error
    return msgspec.msgpack.decode(plain, type=Original)


def _bound_to(topic: str, partition: int, offset: int) -> bytes:
    return f"interests dead letter 1 {topic} {partition} {offset}".encode()

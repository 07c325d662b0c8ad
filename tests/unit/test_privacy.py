"""Pseudonyms and what a dead letter carries."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from streams.base.errors import ConfigurationError
from streams.events.dead_letters import DeadLetter
from streams.events.parse import parse_events
from streams.events.privacy import DeadLetterPolicy, Pseudonyms, is_pseudonym, open_sealed, pseudonymous
from streams.settings.privacy import dead_letter_policy_of, private_key, pseudonyms_of, public_key
from streams.settings.service import PrivacySettings, Settings
from tests.fixtures.records import NOW_MS, click, record

KEY = b"0123456789abcdef0123456789abcdef"
NAMES = Pseudonyms(KEY)
HEADERS = (
    ("who", b"alice"), ("traceparent", b"00-1-2-01"), ("unresolved-attempt", b"1"), ("who", None), ("who", b""),
    ("dead-letter-else", b"alice"), ("unresolved-else", b"alice"),
)  # fmt: skip


def letter(key: bytes | None = b"alice", value: bytes = b'{"user_id": "alice"', topic: str = "clicks") -> DeadLetter:
    lying = record(value=value, key=key, topic=topic, offset=7, headers=HEADERS)
    return DeadLetter(record=lying, stage="parse", reason="bad_json", message="the value is not JSON")


def test_a_pseudonym_is_the_hmac_of_the_id() -> None:
    digest = hmac.new(KEY, "alicé".encode(), hashlib.sha256).hexdigest()
    assert NAMES.of("alicé") == "~" + digest[:40]
    assert is_pseudonym(NAMES.of("alicé"))
    assert NAMES.of(NAMES.of("alicé")) == NAMES.of("alicé")
    assert Pseudonyms(KEY + b"x").of("alicé") != NAMES.of("alicé")
    assert not is_pseudonym("alicé")
    assert KEY.decode() not in repr(NAMES)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="openssl rand"):
        Pseudonyms(KEY[:-1])


def test_events_come_under_pseudonyms_and_a_pseudonym_that_comes_in_is_refused() -> None:
    borrowed = NAMES.of("bob")
    records = [record(click(user_id=name), offset=number) for number, name in enumerate(["alice", borrowed], 1)]
    events = parse_events(records, now_ms=NOW_MS).events
    assert [event.user_id for event in events] == ["alice", borrowed]
    renamed, refused = pseudonymous(events, NAMES)
    assert [event.user_id for event in renamed] == [NAMES.of("alice")]
    assert renamed[0].source == events[0].source
    assert [(source.offset, error.reason) for source, error in refused.items()] == [(2, "bad_id")]
    assert pseudonymous(events, None) == (events, {})


def test_letters_are_kept_as_they_came() -> None:
    sent = DeadLetterPolicy().of(letter())
    assert (sent.key, sent.value) == (b"alice", b'{"user_id": "alice"')
    assert sent.headers[:7] == HEADERS


def test_dropped_and_sealed_letters_say_what_was_wrong_and_nothing_else() -> None:
    private = X25519PrivateKey.generate()
    dropped = DeadLetterPolicy(bodies="drop", recipient=None, pseudonyms=NAMES).of(letter())
    sealed = DeadLetterPolicy(bodies="seal", recipient=private.public_key(), pseudonyms=NAMES).of(letter())
    assert dropped.value is None
    for sent in (dropped, sealed):
        told = [value or b"" for _, value in sent.headers]
        assert b"alice" not in b"".join([sent.key or b"", sent.value or b"", *told])
        assert sent.key == NAMES.of("alice").encode()
        headers = dict(sent.headers)
        assert (headers["dead-letter-offset"], headers["dead-letter-error"]) == (b"7", b"bad_json")
        assert headers["traceparent"] == b"00-1-2-01"
    opened = open_sealed(sealed.value or b"", sealed.headers, private)
    assert (opened.key, opened.value, tuple(opened.headers)) == (b"alice", b'{"user_id": "alice"', HEADERS)


@pytest.mark.parametrize("damage", ["another key", "another place", "changed", "not sealed"])
def test_a_seal_opens_for_its_key_at_its_place_alone(damage: str) -> None:
    private = X25519PrivateKey.generate()
    sent = DeadLetterPolicy(bodies="seal", recipient=private.public_key()).of(letter())
    value, headers = sent.value or b"", dict(sent.headers)
    if damage == "another key":
        private = X25519PrivateKey.generate()
    elif damage == "another place":
        headers["dead-letter-offset"] = b"8"
    elif damage == "changed":
        value = value[:-1] + bytes([value[-1] ^ 1])
    else:
        value = b"{}"
    with pytest.raises(ConfigurationError, match="does not open"):
        open_sealed(value, tuple(headers.items()), private)


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe"])
def test_keys_that_are_no_id_come_out_as_no_id_either(key: bytes | None) -> None:
    sent = DeadLetterPolicy(bodies="drop", recipient=None, pseudonyms=NAMES).of(letter(key))
    assert sent.key is None if key is None else is_pseudonym((sent.key or b"").decode())


def test_the_catalogues_letters_keep_their_keys() -> None:
    sent = DeadLetterPolicy(bodies="drop", recipient=None, pseudonyms=NAMES, impersonal=frozenset({"items"})).of(
        letter(b"item-1", topic="items")
    )
    assert sent.key == b"item-1"


def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "pair.pem").write_text("no key")
    named = Settings(privacy=PrivacySettings(user_id_key_file=tmp_path / "key"))
    pseudonyms = pseudonyms_of(named)
    assert pseudonyms is not None
    assert pseudonyms.of("alice") == NAMES.of("alice")
    with pytest.raises(ConfigurationError, match="expected drop or seal, got keep"):
        dead_letter_policy_of(named, pseudonyms)
    with pytest.raises(ConfigurationError, match="go together"):
        dead_letter_policy_of(Settings(privacy=PrivacySettings(dead_letter_bodies="seal")), None)
    with pytest.raises(ConfigurationError, match="not an X25519 public key"):
        public_key(tmp_path / "pair.pem")
    with pytest.raises(ConfigurationError, match="not an X25519 private key"):
        private_key(tmp_path / "pair.pem")
    assert pseudonyms_of(Settings()) is None


def test_keys_are_read_from_pem(tmp_path: Path) -> None:
    private = X25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    (tmp_path / "public.pem").write_bytes(
        private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "private.pem").write_bytes(
        private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    settings = Settings(
        privacy=PrivacySettings(dead_letter_bodies="seal", dead_letter_key_file=tmp_path / "public.pem")
    )
    sent = dead_letter_policy_of(settings, None).of(letter())
    assert sent.key == b"alice"
    assert open_sealed(sent.value or b"", sent.headers, private_key(tmp_path / "private.pem")).key == b"alice"

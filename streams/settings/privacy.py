"""What the section `privacy` of the settings asks for, with its key files read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from streams.base.credentials import read, secret
from streams.base.errors import ConfigurationError
from streams.events.privacy import DeadLetterPolicy, Pseudonyms
from streams.settings.service import Settings


def pseudonyms_of(settings: Settings) -> Pseudonyms | None:
    """What turns user ids into pseudonyms; None where users are known by their own ids."""
    key = secret(None, settings.privacy.user_id_key_file, "privacy.user_id_key")
    return Pseudonyms(key.encode()) if key else None


def dead_letter_policy_of(settings: Settings, pseudonyms: Pseudonyms | None) -> DeadLetterPolicy:
    """What dead letters carry. ConfigurationError where the section contradicts itself."""
    privacy = settings.privacy
    if pseudonyms is not None and privacy.dead_letter_bodies == "keep":
        raise ConfigurationError(
            "privacy.dead_letter_bodies: with privacy.user_id_key_file expected drop or seal, got keep: the body of a "
            "dead letter holds the user's own id"
        )
    if (privacy.dead_letter_bodies == "seal") != (privacy.dead_letter_key_file is not None):
        raise ConfigurationError(
            "privacy: dead_letter_bodies = seal and dead_letter_key_file go together; make a pair of keys with "
            "`interests dead-letters keys`"
        )
    recipient = public_key(privacy.dead_letter_key_file) if privacy.dead_letter_key_file else None
    return DeadLetterPolicy(
        bodies=privacy.dead_letter_bodies,
        recipient=recipient,
        pseudonyms=pseudonyms,
        impersonal=frozenset({settings.kafka.items_topic, settings.kafka.examples_topic}),
    )


class Pair(NamedTuple):
    """A private key and its public one, in PEM."""

    private: bytes
    public: bytes


def new_pair() -> Pair:
    """A new pair of X25519 keys."""
    private = X25519PrivateKey.generate()
    return Pair(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


def public_key(file: Path) -> X25519PublicKey:
    """The X25519 public key in a PEM file."""
    try:
        key = load_pem_public_key(read(file, "privacy.dead_letter_key_file"))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, X25519PublicKey):
        raise ConfigurationError(f"privacy.dead_letter_key_file: {file} is not an X25519 public key in PEM")
    return key


def private_key(file: Path) -> X25519PrivateKey:
    """The X25519 private key in a PEM file without a password."""
    try:
        key = load_pem_private_key(read(file, "--key"), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, X25519PrivateKey):
        raise ConfigurationError(f"{file} is not an X25519 private key in PEM without a password")
    return key

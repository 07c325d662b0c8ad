"""The doctor's look at secrets and transport: what lies open, and what to do."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Iterator
from pathlib import Path

from streams.base.errors import ConfigurationError
from streams.commands.findings import Findings
from streams.settings.privacy import dead_letter_policy_of, pseudonyms_of
from streams.settings.service import Settings


def check_security(found: Findings, settings: Settings) -> None:
    """Secret files that others may read, secrets sent in the clear, and a privacy section that contradicts itself."""
    for name, file in secret_files(settings):
        if file.is_file() and stat.S_IMODE(file.stat().st_mode) & (stat.S_IROTH | stat.S_IWOTH):
            found.warn("secrets", f"{name}: everybody on this machine may read {file}", f"chmod 600 {file}")
    for name, what in in_the_clear(settings):
        found.warn("transport", f"{name} goes over the network in the clear", what)
    try:
        dead_letter_policy_of(settings, pseudonyms_of(settings))
    except ConfigurationError as error:
        found.fail("privacy", str(error), "see SECURITY.md")
        return
    users = "pseudonyms" if settings.privacy.user_id_key_file else "their own ids"
    found.ok("privacy", f"users are kept under {users}; dead letters: {settings.privacy.dead_letter_bodies}")


def secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The settings that name files of secrets, with the files."""
    kafka, qdrant, triton = settings.kafka, settings.qdrant, settings.triton
    named = {
        "kafka.sasl_password_file": kafka.sasl_password_file, "kafka.key_file": kafka.key_file,
        "qdrant.api_key_file": qdrant.api_key_file, "qdrant.key_file": qdrant.key_file,
        "triton.key_file": triton.key_file, "privacy.user_id_key_file": settings.privacy.user_id_key_file,
    }  # fmt: skip
    for name, file in named.items():
        if file is not None:
            yield name, file


def in_the_clear(settings: Settings) -> Iterator[tuple[str, str]]:
    """What leaves this machine unencrypted though it is secret or personal, and what to set."""
    kafka, qdrant, triton = settings.kafka, settings.qdrant, settings.triton
    away = [address for address in kafka.brokers.split(",") if not here(address.strip().rpartition(":")[0])]
    if away and not kafka.security_protocol.endswith("SSL"):
        yield "what users do", "set kafka.security_protocol to SASL_SSL or SSL"
    if not here(qdrant.host) and not qdrant.https:
        yield "the interests" + " and the API key" * bool(qdrant.api_key or qdrant.api_key_file), "set qdrant.https"
    if not here(triton.url.rpartition(":")[0]) and not triton.tls:
        yield "what users write", "set triton.tls"


def here(host: str) -> bool:
    """Whether a host is this machine."""
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False

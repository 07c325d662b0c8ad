"""The doctor's checks of this installation: settings, packages, concept tree, and what lies open."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, get_args
from urllib.parse import urlsplit

from pydantic import SecretStr

from streams.base.addresses import host_of, stays_here
from streams.base.credentials import without_credentials
from streams.base.errors import ConfigurationError, RetryableError
from streams.commands.findings import Findings
from streams.concepts.tree_file import load_tree
from streams.encoder.text_model import EncoderInfo
from streams.settings.privacy import dead_letter_policy_of, pseudonyms_of
from streams.settings.service import Settings

#: Versions this service was written against; another one is not known to keep its promises.
EXACT: Final = {"faust-streaming": "0.15.3"}
SHOWN: Final = ("faust-streaming", "aiokafka", "tritonclient", "qdrant-client", "numpy", "pydantic-settings")
#: Environment variables that are read elsewhere than in the settings.
_OTHER_VARIABLES: Final = ("INTERESTS_CONFIG", "INTERESTS_MODEL_CACHE", "INTERESTS_TEST_")


def check_installation(settings: Settings, environment: Mapping[str, str] = os.environ) -> Findings:
    """Settings file, environment, concept tree's file and packages of this installation."""
    findings = Findings("This installation")
    file = Path(environment.get("INTERESTS_CONFIG", "interests.toml"))
    mine = sorted(name for name in environment if name.startswith("INTERESTS_"))
    source = f"{file}" if file.is_file() else "no file"
    findings.ok("settings", f"{source}, {len(mine)} environment variables")
    check_settings_file(findings, file)
    sections = tuple(f"INTERESTS_{name.upper()}" for name in Settings.model_fields)
    unread = [name for name in mine if not name.startswith((*sections, *_OTHER_VARIABLES))]
    if unread:
        findings.warn("environment", f"nothing reads {', '.join(unread)}", "see docs/settings.md for the names")
    versions = {name: _version(name) for name in SHOWN}
    for name, wanted in EXACT.items():
        if versions[name] != wanted:
            findings.fail(name, f"got {versions[name]}, expected {wanted}", f"pip install {name}=={wanted}")
    findings.ok("packages", ", ".join(f"{name} {number}" for name, number in versions.items()))
    return findings


def check_concepts(findings: Findings, settings: Settings, info: EncoderInfo | None) -> None:
    """The concept tree's file against the encoder."""
    file = settings.concepts.file
    if file is None:
        findings.ok("concept tree", "the built-in taxonomy")
        return
    build = "build it again: interests concepts build"
    try:
        tree = load_tree(file)
    except (ConfigurationError, RetryableError) as error:
        findings.fail("concept tree", str(error), build)
        return
    if info and tree.encoder_id != info.encoder_id:
        findings.fail("concept tree", f"made with {tree.encoder_id}, Triton serves {info.encoder_id}", build)
    else:
        findings.ok("concept tree", f"a file of version {tree.version}, {len(tree.concepts)} concepts")


def check_security(findings: Findings, settings: Settings) -> None:
    """Secret files that others may read, secrets sent in the clear, and a privacy section that contradicts itself."""
    for name, file in secret_files(settings):
        if who := open_to(file):
            findings.warn("secrets", f"{name}: {who} may read or change {file}", f"chmod 600 {file}")
        for folder in loose_folders(file):
            findings.warn("secrets", f"{name}: everybody may replace {file}", f"chmod o-w {folder}")
    for name, what in in_the_clear(settings):
        findings.warn("transport", f"{name} goes over the network in the clear", what)
    try:
        dead_letter_policy_of(settings, pseudonyms_of(settings))
    except ConfigurationError as error:
        findings.fail("privacy", str(error), "see SECURITY.md")
        return
    users = "pseudonyms" if settings.privacy.user_id_key_file else "their own ids"
    findings.ok("privacy", f"users are kept under {users}; dead letters: {settings.privacy.dead_letter_bodies}")


#: Settings that end in `_file` and hold no secret: certificates and public keys.
PUBLIC_FILES: Final = frozenset({"ca_file", "cert_file", "jwt_public_key_file", "dead_letter_key_file"})


def secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """The settings that name files of secrets, with the files: every `…_file` but those of `PUBLIC_FILES`."""
    for section in type(settings).model_fields:
        part = getattr(settings, section)
        for name in type(part).model_fields:
            file = getattr(part, name)
            if name.endswith("_file") and name not in PUBLIC_FILES and file is not None:
                yield f"{section}.{name}", file


def check_settings_file(findings: Findings, file: Path) -> None:
    """A settings file that others may change, or read where it holds a secret."""
    held = secrets_in(file)
    if who := open_to(file, reading=bool(held)):
        seen = f"{file} holds {', '.join(held)}: {who} may read or change it" if held else f"{who} may change {file}"
        findings.warn("settings file", seen, f"chmod {'600' if held else 'go-w'} {file}")
    for folder in loose_folders(file) if file.is_file() else ():
        findings.warn("settings file", f"everybody may replace {file}", f"chmod o-w {folder}")


def secrets_in(file: Path) -> list[str]:
    """The settings of a TOML file that are secrets, or addresses with credentials in them."""
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError):  # not there; what does not fit is said where it is loaded
        return []
    found = []
    for section, values in content.items():
        known = Settings.model_fields.get(section)
        fields = type(known.default).model_fields if known else {}
        for name, value in values.items() if isinstance(values, dict) else ():
            secret = name in fields and SecretStr in get_args(fields[name].annotation)
            if secret or without_credentials(str(value)) != str(value):
                found.append(f"{section}.{name}")
    return found


def open_to(file: Path, *, reading: bool = True) -> str:
    """Who besides its owner may read or change a file: "everybody", "its group", or "" for nobody.

    Without `reading` only who may change it. A link is judged by what it leads to. A group may read root's file, as in
    a container that mounts it so.
    """
    try:
        status = file.stat()
    except OSError:
        return ""
    if status.st_mode & (stat.S_IWOTH | stat.S_IROTH * reading):
        return "everybody"
    of_group = stat.S_IWGRP | stat.S_IRGRP * (reading and status.st_uid != 0)
    return "its group" if status.st_mode & of_group else ""


def loose_folders(file: Path) -> list[Path]:
    """The folders above a file, and above what it links to, in which everybody may replace what is there."""
    above = dict.fromkeys([*file.absolute().parents, *file.resolve().parents])
    return [folder for folder in above if _is_loose(folder)]


def _is_loose(folder: Path) -> bool:
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def in_the_clear(settings: Settings) -> Iterator[tuple[str, str]]:
    """What leaves this machine unencrypted though it is secret or personal, and what to set."""
    kafka, qdrant, triton = settings.kafka, settings.qdrant, settings.triton
    away = [address for address in kafka.brokers.split(",") if not is_local(host_of(address))]
    if away and not kafka.security_protocol.endswith("SSL"):
        yield "what users do", "set kafka.security_protocol to SASL_SSL or SSL"
    if not is_local(qdrant.host) and not qdrant.https:
        yield "the interests" + " and the API key" * bool(qdrant.api_key or qdrant.api_key_file), "set qdrant.https"
    if not is_local(host_of(triton.url)) and not triton.tls:
        yield "what users write", "set triton.tls"
    prometheus = urlsplit(settings.api.prometheus_url or "")
    known = prometheus.password is not None or settings.api.prometheus_token_file is not None
    if prometheus.scheme == "http" and known and not is_local(prometheus.hostname or ""):
        yield "what Prometheus asks for to let the API in", "set api.prometheus_url to an https:// address"


def is_local(host: str) -> bool:
    """Whether a host is this machine."""
    return not host or stays_here(host)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"

"""Secrets and certificates: read once from the files the settings name, shown nowhere."""

from __future__ import annotations

import os
import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from streams.base.errors import ConfigurationError

MAX_SECRET_BYTES = 64 << 10


def secret(plain: SecretStr | None, file: Path | None, name: str) -> str | None:
    """The secret of setting `name`, given plainly or as the first line of the file of `name`_file; None without both.

    Raises ConfigurationError, which never says what the file holds, where both are set or the file cannot be used.
    """
    if file is None:
        return plain.get_secret_value() if plain else None
    if plain is not None:
        raise ConfigurationError(f"got both {name} and {name}_file, expected one of them")
    text = read(file, f"{name}_file").split(b"\n", 1)[0].strip()
    try:
        found = text.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name}_file: the first line of {file} is not UTF-8") from None
    if not found:
        raise ConfigurationError(f"{name}_file: the first line of {file} is empty, expected the secret")
    return found


def read(file: Path, name: str, *, limit: int = MAX_SECRET_BYTES, plain: bool = False) -> bytes:
    """The bytes of a file of at most `limit`. ConfigurationError names the setting and the path, and says what to do.

    With `plain` a pipe or a device in its place is refused and never waited for: it is read while others are served.
    """
    nonblocking = os.O_NONBLOCK if plain else 0
    try:
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | nonblocking)) as opened:
            if plain and not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise ConfigurationError(f"{name}: {file} is no plain file: name another file")
            content = opened.read(limit + 1)
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot read {file} ({error.strerror}): name a readable file") from None
    if len(content) > limit:
        raise ConfigurationError(f"{name}: {file} has more than {limit} bytes: name another file")
    return content


_WORD: Final = re.compile(r"\S+")
_AUTHORITY: Final = re.compile(r"[^/?#]*")
_CLOSING: Final = "\"'<>)]},;.:!"


def without_credentials(text: str) -> str:
    """A text whose addresses are shown without user, password, query and fragment, which may hold keys.

    Every address that is shown goes through it: errors and tables of commands, log lines, the doctor, the settings.
    It rather hides a word too many than a password too few. Its cost is linear in the text's length.
    """
    if "@" not in text and "://" not in text:
        return text
    pieces: list[str] = []
    place, last_at = 0, text.rfind("@")
    while found := _WORD.search(text, place):
        end = found.end()
        if end <= last_at and _is_cut_short(found[0]):
            rest = _WORD.match(text, text.index("@", end))
            end = rest.end() if rest else end
        pieces += text[place : found.start()], _shown(text[found.start() : end])
        place = end
    return "".join([*pieces, text[place:]])


def _is_cut_short(word: str) -> bool:
    """Whether an address stops within a password that has a space in it: what stands behind its colon is no port."""
    _, scheme, rest = word.partition("://")
    if not scheme or "@" in rest or rest.startswith("["):
        return False
    authority = _AUTHORITY.match(rest)
    _, colon, port = authority[0].rstrip(_CLOSING).rpartition(":") if authority else ("", "", "")
    return bool(colon) and not port.isdecimal()


def _shown(word: str) -> str:
    before, scheme, rest = word.partition("://")
    before = ",".join(map(_without_user, before.split(","))) if "@" in before else before
    if not scheme:
        return before
    at = rest.rfind("@")
    rest = f"***{rest[at:]}" if at >= 0 else rest
    ends = [place for place in (rest.find("?"), rest.find("#")) if place >= 0]
    return f"{before}://{rest[: min(ends)]}?***" if ends else f"{before}://{rest}"


def _without_user(word: str) -> str:
    """`user:password@host` without scheme; what is only `name@host` is a mail address."""
    at = word.rfind("@")
    colon = word.find(":", 0, at) if at >= 0 else -1
    if colon < 0:
        return word
    start = max(word.rfind(sign, 0, colon) for sign in "='([{<\"") + 1
    return f"{word[:start]}***{word[at:]}"


def untrusted(details: str | None) -> bool:
    """Whether what gRPC says of a failed call is that the server's certificate does not hold: waiting mends nothing."""
    return any(sign in (details or "") for sign in ("CERTIFICATE_VERIFY_FAILED", "ostname Verification Check failed"))


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one connection: who may have signed the server's certificate, and our own certificate and key.

    Without `ca_file` the system's authorities are trusted. `section` names the settings in messages.
    """

    section: str
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ConfigurationError(f"{self.section}: got one of cert_file and key_file, expected both or neither")

    def grpc(self) -> dict[str, bytes | None]:
        """The arguments of `grpc.ssl_channel_credentials`."""
        names = {"root_certificates": "ca_file", "private_key": "key_file", "certificate_chain": "cert_file"}
        found: dict[str, bytes | None] = {}
        for argument, name in names.items():
            file: Path | None = getattr(self, name)
            found[argument] = None if file is None else read(file, f"{self.section}.{name}")
        return found

    def context(self) -> ssl.SSLContext:
        """A context for Python's own TLS that checks certificate and host name."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            files = f"ca_file {self.ca_file}, cert_file {self.cert_file}, key_file {self.key_file}"
            raise ConfigurationError(
                f"{self.section}: cannot read {files}: {error}; name readable PEM files"
            ) from error
        return context

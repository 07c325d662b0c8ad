"""Who may do what: API keys by their hash, JSON web tokens by their signature, and scopes."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal, get_args

import jwt

from streams.base.errors import ConfigurationError
from streams.settings.service import ApiSettings

Scope = Literal["read", "ingest", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
KEY_PREFIX = "isk_"
_KEY_BYTES = 32
_CHECK_EVERY_S = 1.0
_LEEWAY_S = 30
_MIN_SECRET_BYTES = 32  # RFC 7518, section 3.2: no shorter than the hash


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: a name for limits and logs (of a token only a hash), and what they may do."""

    name: str
    scopes: frozenset[Scope]


EVERYBODY = Principal("local", frozenset(SCOPES))


class CredentialsRefused(Exception):
    """The credentials are missing or do not hold; the message says which, never what they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key as it is kept: never itself, only its SHA-256."""

    name: str
    scopes: frozenset[Scope]
    digest: bytes


def make_key(name: str, scopes: frozenset[Scope]) -> tuple[str, str]:
    """A new key, and the line that lets it in. ConfigurationError where the name does not fit a line."""
    if not name or not name.isprintable() or set(name) & set(": #"):
        raise ConfigurationError("a key's name: expected printable characters without colon, space or #")
    key = KEY_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
    ordered = ",".join(scope for scope in SCOPES if scope in scopes)
    return key, f"{name}:{ordered}:{hashlib.sha256(key.encode()).hexdigest()}"


def read_keys(text: str) -> list[Key]:
    """Keys of lines `name:scope,scope:sha256`; empty lines and those that begin with # are skipped."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    return [_key(number, entry) for number, line in enumerate(lines, 1) for entry in line.split()]


def _key(number: int, line: str) -> Key:
    fields = line.rsplit(":", 2)
    try:
        name, scopes, digest = fields[0], frozenset(fields[1].split(",")), bytes.fromhex(fields[2])
    except (IndexError, ValueError):
        name, scopes, digest = "", frozenset(), b""
    if not name or not scopes <= set(SCOPES) or not scopes or len(digest) != hashlib.sha256().digest_size:
        raise ConfigurationError(
            f"API keys, line {number}: expected name:scope,scope:sha256 with scopes of {', '.join(SCOPES)}; "
            "`interests api key NAME` makes one"
        )
    return Key(name=name, scopes=scopes, digest=digest)  # type: ignore[arg-type]  # held against SCOPES above


class Keys:
    """The keys that are let in; a file of them is read again when it changes."""

    def __init__(self, fixed: str, file: Path | None, clock: Callable[[], float] = monotonic) -> None:
        self._fixed, self._file, self._clock = read_keys(fixed), file, clock
        self._stamp: tuple[int, int] | None = None
        self._check_at = 0.0
        self._keys = list(self._fixed)
        self._refresh()

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, given: str) -> Key | None:
        """The key that was given. Every kept one is compared, each in constant time."""
        self._refresh()
        digest = hashlib.sha256(given.encode()).digest()
        match = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                match = key
        return match

    def _refresh(self) -> None:
        if self._file is None or self._clock() < self._check_at:
            return
        self._check_at = self._clock() + _CHECK_EVERY_S
        try:
            status = self._file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._keys = [*self._fixed, *read_keys(self._file.read_text(encoding="utf-8"))]
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"api.keys_file {self._file}: {error}; name a readable file") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """How tokens are checked: the key, the algorithms it may sign with, and what a token must name."""

    key: str | bytes
    algorithms: tuple[str, ...]
    issuer: str | None
    audience: str | None

    def principal(self, token: str) -> Principal:
        """Whom a token stands for. Raises CredentialsRefused where it does not hold."""
        try:
            claims = jwt.decode(
                token, self.key, algorithms=list(self.algorithms), issuer=self.issuer, audience=self.audience,
                leeway=_LEEWAY_S, options={"require": ["exp", "sub"], "verify_aud": self.audience is not None},
            )  # fmt: skip
        except jwt.ExpiredSignatureError as error:
            raise CredentialsRefused("the token has expired") from error
        except jwt.InvalidTokenError as error:
            raise CredentialsRefused("the token does not hold") from error
        subject = hashlib.sha256(str(claims["sub"]).encode()).hexdigest()[:12]
        return Principal(f"token-{subject}", _scopes(claims))


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """OAuth's `scope` (RFC 8693: words parted by spaces), or a list `scopes`."""
    claim = claims.get("scope", claims.get("scopes", ""))
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    return frozenset(scope for scope in SCOPES if scope in words)


def tokens_of(api: ApiSettings) -> Tokens | None:
    """How the settings let tokens be checked; None where they name no key."""
    if api.jwt_secret_file is not None and api.jwt_public_key_file is not None:
        raise ConfigurationError("api.jwt_secret_file and api.jwt_public_key_file: expected one of the two")
    if api.jwt_secret_file is not None:
        secret = _read(api.jwt_secret_file, "api.jwt_secret_file").strip()
        if len(secret) < _MIN_SECRET_BYTES:
            raise ConfigurationError(
                f"api.jwt_secret_file: got {len(secret)} bytes, expected {_MIN_SECRET_BYTES} or more"
            )
        return Tokens(key=secret, algorithms=("HS256",), issuer=api.jwt_issuer, audience=api.jwt_audience)
    if api.jwt_public_key_file is not None:
        pem = _read(api.jwt_public_key_file, "api.jwt_public_key_file")
        if b"PRIVATE KEY" in pem or b"PUBLIC KEY" not in pem:
            raise ConfigurationError("api.jwt_public_key_file: expected a public key in PEM form")
        return Tokens(key=pem, algorithms=("RS256", "ES256"), issuer=api.jwt_issuer, audience=api.jwt_audience)
    return None


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting}: cannot read {path} ({error.strerror})") from error


class Access:
    """Lets callers in. Without keys and tokens everybody may do everything, which only loopback allows."""

    def __init__(self, api: ApiSettings) -> None:
        self._keys = Keys(api.keys.get_secret_value() if api.keys else "", api.keys_file)
        self._tokens = tokens_of(api)
        self.required = bool(len(self._keys) or api.keys_file or self._tokens)
        if not self.required and not is_loopback(api.host):
            raise ConfigurationError(
                f"api.host {api.host} can be reached from elsewhere, so callers must prove who they are: set "
                "api.keys_file (`interests api key NAME` makes a key) or a token's key, or listen on 127.0.0.1"
            )

    def principal(self, authorization: str | None, api_key: str | None) -> Principal:
        """The caller, by the headers `Authorization: Bearer` and `X-API-Key`. Raises CredentialsRefused."""
        if not self.required:
            return EVERYBODY
        scheme, _, rest = (authorization or "").partition(" ")
        given = api_key or (rest.strip() if scheme.lower() == "bearer" else "")
        if not given:
            raise CredentialsRefused("no key and no token was given")
        if self._tokens is not None and given.count(".") == 2 and not given.startswith(KEY_PREFIX):
            return self._tokens.principal(given)
        key = self._keys.find(given)
        if key is None:
            raise CredentialsRefused("the key is not known")
        return Principal(key.name, key.scopes)


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

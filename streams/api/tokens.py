"""JSON web tokens (RFC 7519): by which key, algorithm, issuer and audience they hold, and whom they speak for."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt

from streams.api.scopes import SCOPES, CredentialsRefused, Principal, Scope
from streams.base.errors import ConfigurationError
from streams.settings.service import ApiSettings

#: How far the clocks of the issuer and of this machine may lie apart.
LEEWAY_S: Final = 30
_MIN_SECRET_BYTES: Final = 32  # RFC 7518, section 3.2: no shorter than the hash
_REQUIRED: Final = ("exp", "sub", "aud")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """How tokens are checked: the key, the algorithms it may sign with, and what a token must name.

    The key is the settings' alone: what a token's header says of keys (`kid`, `jwk`, `jku`, `x5u`) is not read.
    """

    key: str | bytes = field(repr=False)
    algorithms: tuple[str, ...]
    issuer: str | None
    audience: str
    #: Hashes of subjects are keyed, so that nobody who reads the log can try names.
    naming_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def principal(self, token: str) -> Principal:
        """Whom a token stands for. Raises CredentialsRefused where it does not hold."""
        try:
            claims = jwt.decode(
                token, self.key, algorithms=list(self.algorithms), issuer=self.issuer, audience=self.audience,
                leeway=LEEWAY_S, options={"require": list(_REQUIRED)},
            )  # fmt: skip
        except jwt.ExpiredSignatureError as error:
            raise CredentialsRefused("the token has expired") from error
        except jwt.InvalidTokenError as error:
            raise CredentialsRefused("the token does not hold") from error
        subject = hmac.digest(self.naming_key, claims["sub"].encode("utf-8", "replace"), "sha256").hex()[:12]
        return Principal(f"token-{subject}", _scopes(claims))


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """OAuth's `scope` (RFC 8693: words parted by spaces), or a list `scopes`."""
    claim = claims.get("scope", claims.get("scopes", ""))
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    return frozenset(scope for scope in SCOPES if scope in words)


def tokens_of(api: ApiSettings) -> Tokens | None:
    """How the settings let tokens be checked; None where they name no key. ConfigurationError where they do not fit."""
    if api.jwt_secret_file is not None and api.jwt_public_key_file is not None:
        raise ConfigurationError("api.jwt_secret_file and api.jwt_public_key_file: expected one of the two")
    file = api.jwt_secret_file or api.jwt_public_key_file
    if file is None:
        return None
    if not api.jwt_audience:
        raise ConfigurationError(
            "api.jwt_audience: expected the audience that tokens for this service name (`aud`); without it a token "
            "that the same issuer made for another service would be let in"
        )
    if api.jwt_secret_file is not None:
        secret = _read(file, "api.jwt_secret_file").strip()
        if len(secret) < _MIN_SECRET_BYTES:
            raise ConfigurationError(
                f"api.jwt_secret_file: got {len(secret)} bytes, expected {_MIN_SECRET_BYTES} or more"
            )
        return Tokens(key=secret, algorithms=("HS256",), issuer=api.jwt_issuer, audience=api.jwt_audience)
    pem = _read(file, "api.jwt_public_key_file")
    if b"PRIVATE KEY" in pem or b"PUBLIC KEY" not in pem:
        raise ConfigurationError("api.jwt_public_key_file: expected a public key in PEM form")
    return Tokens(key=pem, algorithms=("RS256", "ES256"), issuer=api.jwt_issuer, audience=api.jwt_audience)


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{setting}: cannot read {path} ({error.strerror})") from error

"""JSON web tokens (RFC 7519): by which key, algorithm, issuer and audience they hold, and whom they speak for."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from time import monotonic
from typing import Any, Final, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from streams.api.credentials_file import CredentialsFile, KeysUnreadable
from streams.api.scopes import SCOPES, CredentialsRefused, Principal, Scope
from streams.base.errors import ConfigurationError
from streams.settings.service import ApiSettings

#: How far the clocks of the issuer and of this machine may lie apart.
LEEWAY_S: Final = 30
_SECRET: Final = "api.jwt_secret_file"  # noqa: S105  # a setting's name
_PUBLIC_KEY: Final = "api.jwt_public_key_file"
_MIN_SECRET_BYTES: Final = 32  # RFC 7518, section 3.2: no shorter than the hash
_REQUIRED: Final = ("exp", "sub", "aud")


class VerifyingKey(NamedTuple):
    """What signatures are held against, and the one algorithm that fits it: a token does not choose."""

    key: bytes | RSAPublicKey | EllipticCurvePublicKey
    algorithm: str


class Tokens:
    """How tokens are checked: the key, read again every second, and what a token must name.

    The key is the file's alone: what a token's header says of keys (`kid`, `jwk`, `jku`, `x5u`) is not read.
    """

    def __init__(self, file: CredentialsFile[VerifyingKey], *, audience: str, issuer: str | None) -> None:
        self._file, self._audience, self._issuer = file, audience, issuer
        # Hashes of subjects are keyed, so that nobody who reads the log can try names.
        self._naming_key = secrets.token_bytes(32)

    @property
    def usable(self) -> bool:
        """Whether the file of the key is whole."""
        return self._file.held() is not None

    def principal(self, token: str) -> Principal:
        """Whom a token stands for. Raises CredentialsRefused where it does not hold, or where no key is there now."""
        verifying = self._file.held()
        if verifying is None:
            raise KeysUnreadable("the file of the tokens' key cannot be used now")
        try:
            claims = jwt.decode(
                token, verifying.key, algorithms=[verifying.algorithm], issuer=self._issuer, audience=self._audience,
                leeway=LEEWAY_S, options={"require": list(_REQUIRED)},
            )  # fmt: skip
        except jwt.ExpiredSignatureError as error:
            raise CredentialsRefused("the token has expired") from error
        except jwt.InvalidTokenError as error:
            raise CredentialsRefused("the token does not hold") from error
        subject = hmac.digest(self._naming_key, claims["sub"].encode("utf-8", "replace"), "sha256").hex()[:12]
        return Principal(f"token-{subject}", _scopes(claims))


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """OAuth's `scope` (RFC 8693: words parted by spaces), or a list `scopes`."""
    claim = claims.get("scope", claims.get("scopes", ""))
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    return frozenset(scope for scope in SCOPES if scope in words)


def tokens_of(
    api: ApiSettings, on_change: Callable[[str, bool], None] = lambda setting, usable: None,
    clock: Callable[[], float] = monotonic, *, wait: bool = False,
) -> Tokens | None:  # fmt: skip
    """How the settings let tokens be checked; None where they name no key.

    Raises ConfigurationError where they do not fit; where only the file does not, `wait` waits for it.
    """
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
    setting, parse = (_SECRET, _secret) if api.jwt_secret_file is not None else (_PUBLIC_KEY, _public_key)
    held = CredentialsFile(file, setting, parse, clock, partial(on_change, setting), wait=wait)
    return Tokens(held, audience=api.jwt_audience, issuer=api.jwt_issuer)


def _secret(content: bytes) -> VerifyingKey:
    secret = content.strip()
    if b"\n" in secret:
        raise ConfigurationError(f"{_SECRET}: got several lines, expected the secret alone")
    if len(secret) < _MIN_SECRET_BYTES:
        raise ConfigurationError(f"{_SECRET}: got {len(secret)} bytes, expected {_MIN_SECRET_BYTES} or more")
    return VerifyingKey(secret, "HS256")


def _public_key(content: bytes) -> VerifyingKey:
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{_PUBLIC_KEY}: expected a public key in PEM form") from None
    if isinstance(key, RSAPublicKey):
        return VerifyingKey(key, "RS256")
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return VerifyingKey(key, "ES256")
    raise ConfigurationError(f"{_PUBLIC_KEY}: expected a key of RSA (RS256) or of the curve P-256 (ES256)")

"""An issuer of tokens: what it signs holds, unless a claim is changed or a key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

LEEWAY_S = 30.0


class Issuer:
    """Signs tokens (RS256). `settings` are what an API needs to let them in; the public key lies in `file`."""

    def __init__(self, folder: Path) -> None:
        self.key = generate_private_key(65537, 2048)
        self.file = folder / "issuer.pem"
        self.file.write_bytes(public_pem(self.key))
        self.settings = {"jwt_public_key_file": self.file, "jwt_audience": "api", "jwt_issuer": "issuer"}

    def token(self, *, key: RSAPrivateKey | None = None, **claims: Any) -> str:
        """A token that may do everything, with other claims on top; signed by another key where one is given."""
        return jwt.encode(_claims(**claims), key or self.key, "RS256")

    def forged(self) -> dict[str, str]:
        """Tokens by what is wrong with each; none of them may be let in."""
        another = generate_private_key(65537, 2048)
        pem, whole = public_pem(self.key), self.token()
        return {
            "nobody's signature": _signed({"alg": "none"}, b""),
            "no signature": whole.rpartition(".")[0] + ".",
            "another key": self.token(key=another),
            "its own key": jwt.encode(
                _claims(),
                another,
                "RS256",
                headers={"jwk": json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(another.public_key()))},
            ),
            "HS256 of the public key": _signed({"alg": "HS256", "typ": "JWT"}, None, secret=pem),
            "HS256 of the key's text": _signed({"alg": "HS256", "typ": "JWT"}, None, secret=pem.strip()),
            "ES256": _signed({"alg": "ES256"}, b"\1" * 64),
            "PS256": jwt.encode(_claims(), self.key, "PS256"),
            "RS512": jwt.encode(_claims(), self.key, "RS512"),
            "another audience": self.token(aud="another"),
            "no audience": self.token(aud=...),
            "another issuer": self.token(iss="another"),
            "no issuer": self.token(iss=...),
            "expired": self.token(exp=time.time() - LEEWAY_S - 5),
            "without an end": self.token(exp=...),
            "not yet": self.token(nbf=time.time() + LEEWAY_S + 30),
            "claims changed": ".".join([whole.split(".")[0], _part(_claims(sub="admin")), whole.split(".")[2]]),
        }


def public_pem(key: RSAPrivateKey) -> bytes:
    """The public key of a pair, as the API's file holds it."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _claims(**changes: Any) -> dict[str, Any]:
    claims = {"sub": "attack", "aud": "api", "iss": "issuer", "exp": time.time() + 600, "scope": "read ingest admin"}
    claims |= changes
    return {name: value for name, value in claims.items() if value is not ...}


def _part(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _signed(header: dict[str, str], signature: bytes | None, *, secret: bytes = b"") -> str:
    """A token made by hand, since no library makes it: with a signature as given, or HMAC under a secret."""
    signing = f"{_part(header)}.{_part(_claims())}"
    mac = signature if signature is not None else hmac.digest(secret, signing.encode(), hashlib.sha256)
    return f"{signing}.{_base64(mac)}"

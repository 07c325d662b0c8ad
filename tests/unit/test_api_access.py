"""Keys, tokens, scopes: who is let in, who is not, and that nothing given is repeated."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from streams.api.access import EVERYBODY, SCOPES, Access, CredentialsRefused, Keys, is_loopback, make_key, read_keys
from streams.base.errors import ConfigurationError
from streams.settings.service import ApiSettings

SECRET = "a secret of the tests, long enough for every algorithm that a token may name: 64 bytes"
NO_DIGEST = "0" * 62
DIGEST = "0" * 64


def access(**changes: object) -> Access:
    return Access(ApiSettings(**changes))  # type: ignore[arg-type]  # settings of one test


def token(key: object = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    claims_to_sign = {"sub": "service-a", "exp": time.time() + 60, "scope": "read ingest", **claims}
    return jwt.encode({name: value for name, value in claims_to_sign.items() if value is not ...}, key, algorithm)  # type: ignore[arg-type]  # a key of either kind


def test_without_keys_loopback_may_do_everything_and_elsewhere_is_refused() -> None:
    assert access().principal(None, None) == EVERYBODY
    assert access(host="::1").principal("Bearer x", None) == EVERYBODY
    for host in ("0.0.0.0", "::", "10.0.0.7", "example.org"):
        with pytest.raises(ConfigurationError, match="interests api key"):
            access(host=host)


def test_a_key_is_let_in_by_either_header_with_its_scopes_only() -> None:
    key, line = make_key("board", frozenset({"read", "ingest"}))
    let = access(host="0.0.0.0", keys=line)
    for headers in ((f"Bearer {key}", None), (f"bearer  {key}", None), (None, key)):
        who = let.principal(*headers)
        assert (who.name, who.scopes) == ("board", {"read", "ingest"})
    assert key not in line
    assert hashlib.sha256(key.encode()).hexdigest() in line


@pytest.mark.parametrize("given", [None, "", "Basic abc", "Bearer", "Bearer ", "Bearer wrong", "Bearer a.b.c"])
def test_anything_else_is_refused_without_a_word_of_it(given: str | None) -> None:
    let = access(keys=make_key("board", frozenset({"read"}))[1])
    with pytest.raises(CredentialsRefused) as refused:
        let.principal(given, None)
    assert "wrong" not in str(refused.value)
    assert "a.b.c" not in str(refused.value)


def test_a_key_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    now = [0.0]
    first, line = make_key("one", frozenset({"read"}))
    file = tmp_path / "keys"
    file.write_text(f"# those who may\n\n{line}\n")
    keys = Keys("", file, lambda: now[0])
    assert keys.find(first) is not None
    second, line = make_key("two", frozenset({"admin"}))
    file.write_text(f"{line} \n")
    assert keys.find(second) is None  # looked at once a second
    now[0] = 1.5
    assert keys.find(second) is not None
    assert keys.find(first) is None


def test_an_empty_or_missing_key_file_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("")
    with pytest.raises(CredentialsRefused):
        access(keys_file=tmp_path / "none").principal("Bearer x", None)
    with pytest.raises(ConfigurationError, match="keys_file"):
        access(keys_file=tmp_path / "missing")


@pytest.mark.parametrize(
    "line", ["x", "a:read", "a:write:" + "0" * 64, "a::" + "0" * 64, "a:read:" + "0" * 62, ":read:" + "0" * 64]
)
def test_a_line_that_does_not_fit_says_how_one_looks(line: str) -> None:
    with pytest.raises(ConfigurationError, match="name:scope"):
        read_keys(line)


@given(st.text(max_size=30))
def test_any_name_makes_a_key_that_is_read_back_or_is_refused(name: str) -> None:
    try:
        key, line = make_key(name, frozenset(SCOPES))
    except ConfigurationError:
        return
    (read,) = read_keys(line)
    assert (read.name, read.scopes) == (name, set(SCOPES))
    assert read.digest == hashlib.sha256(key.encode()).digest()


def test_tokens_speak_for_their_subject_under_a_hash(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    let = access(host="0.0.0.0", jwt_secret_file=tmp_path / "secret", jwt_issuer="us", jwt_audience="api")
    who = let.principal(f"Bearer {token(iss='us', aud='api')}", None)
    assert who.scopes == {"read", "ingest"}
    assert "service-a" not in who.name
    assert let.principal(f"Bearer {token(iss='us', aud='api', scope=..., scopes=['admin', 7])}", None).scopes == {
        "admin"
    }


@pytest.mark.parametrize(
    "claims",
    [{"exp": 1.0}, {"exp": ...}, {"sub": ...}, {"iss": "them"}, {"aud": "other"}, {"aud": ...}, {"nbf": 4e9}],
    ids=["expired", "no end", "nobody", "issuer", "audience", "no audience", "not yet"],
)
def test_tokens_that_do_not_hold(tmp_path: Path, claims: dict[str, object]) -> None:
    (tmp_path / "secret").write_text(SECRET)
    let = access(jwt_secret_file=tmp_path / "secret", jwt_issuer="us", jwt_audience="api")
    with pytest.raises(CredentialsRefused):
        let.principal(f"Bearer {token(**{'iss': 'us', 'aud': 'api', **claims})}", None)


def test_tokens_of_another_key_or_algorithm_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    let = access(jwt_secret_file=tmp_path / "secret")
    none = jwt.encode({"sub": "x", "exp": time.time() + 60, "scope": "admin"}, None, "none")  # type: ignore[arg-type]  # what an attacker sends
    for bad in (token(SECRET[::-1]), none, token(algorithm="HS512")):
        with pytest.raises(CredentialsRefused):
            let.principal(f"Bearer {bad}", None)


def test_public_keys_check_rs256_and_es256_and_never_become_a_secret(tmp_path: Path) -> None:
    for made, algorithm in (
        (rsa.generate_private_key(65537, 2048), "RS256"), (ec.generate_private_key(ec.SECP256R1()), "ES256"),
    ):  # fmt: skip
        pem = made.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (tmp_path / "pem").write_bytes(pem)
        let = access(jwt_public_key_file=tmp_path / "pem")
        assert let.principal(f"Bearer {token(made, algorithm)}", None).scopes == {"read", "ingest"}
        header = jwt.utils.base64url_encode(b'{"alg":"HS256","typ":"JWT"}').decode()
        with pytest.raises(CredentialsRefused):
            let.principal(f"Bearer {header}.{token(made, algorithm).split('.')[1]}.AAAA", None)


def test_settings_of_tokens_that_cannot_work(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("too short")
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "private").write_bytes(private)
    for changes in (
        {"jwt_secret_file": tmp_path / "short"}, {"jwt_public_key_file": tmp_path / "private"},
        {"jwt_secret_file": tmp_path / "nowhere"},
        {"jwt_secret_file": tmp_path / "short", "jwt_public_key_file": tmp_path / "private"},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match="jwt_"):
            access(**changes)


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "localhost.example.org", "")))

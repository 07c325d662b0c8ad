"""Keys, tokens, scopes: who is let in, who is not, and that nothing given is repeated."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from streams.api.access import Access
from streams.api.credentials_file import KeysUnreadable
from streams.api.keys import Keys, make_key, read_keys
from streams.api.scopes import EVERYBODY, SCOPES, CredentialsRefused
from streams.base.addresses import is_loopback, stays_here
from streams.base.errors import ConfigurationError
from streams.settings.service import ApiSettings

SECRET = "a secret of the tests, long enough for every algorithm that a token may name: 64 bytes"
NO_DIGEST = "0" * 62
DIGEST = "0" * 64


def access(**changes: object) -> Access:
    return Access(ApiSettings(**changes))  # type: ignore[arg-type]  # settings of one test


def token(key: object = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    claims_to_sign = {"sub": "service-a", "exp": time.time() + 60, "aud": "api", "scope": "read ingest", **claims}
    return jwt.encode({name: value for name, value in claims_to_sign.items() if value is not ...}, key, algorithm)  # type: ignore[arg-type]  # a key of either kind


def test_without_keys_loopback_may_do_everything_and_elsewhere_is_refused() -> None:
    assert access().principal(None, None) == EVERYBODY
    assert access(host="::1").principal("Bearer x", None) == EVERYBODY
    for host in ("0.0.0.0", "::", "10.0.0.7", "example.org"):
        with pytest.raises(ConfigurationError, match="interests api key"):
            access(host=host)


@pytest.mark.parametrize("host", ["localhost", "x.localhost", "localhost."])
def test_without_keys_a_name_must_lead_to_this_machine_alone(host: str) -> None:
    if stays_here(host):  # as this machine's resolver has it
        assert access(host=host).principal(None, None) == EVERYBODY
    else:
        with pytest.raises(ConfigurationError, match="may be reached from elsewhere"):
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


class File:
    """A keys file with a clock that a test moves past the next look."""

    def __init__(self, path: Path) -> None:
        self.path, self.now = path, 0.0
        self.key, self.line = make_key("one", frozenset({"read"}))
        self.fixed, fixed_line = make_key("fixed", frozenset({"read"}))
        path.write_text(f"{self.line}\n")
        self.changes: list[bool] = []
        self.keys = Keys(fixed_line, path, lambda: self.now, self.changes.append)
        assert self.keys.find(self.key) is not None

    def later(self) -> None:
        self.now += 1.01

    def nobody_but_the_settings(self) -> None:
        self.later()
        for _ in range(3):  # not the first look only: the next ones too
            with pytest.raises(KeysUnreadable):
                self.keys.find(self.key)
            assert self.keys.find(self.fixed) is not None
            assert not self.keys.usable
            self.later()
        assert self.changes == [True, False]
        self.path.chmod(0o600) if self.path.is_file() else None
        if self.path.is_dir():
            self.path.rmdir()
        self.path.write_text(f"{self.line}\n")
        self.later()
        assert self.keys.find(self.key) is not None
        assert self.changes == [True, False, True]


@pytest.mark.parametrize(
    "content",
    [b"one:read:00", b"\xff\xfe", b"typo", b"one:read", b"x" * (1 << 21), b"#" * (1 << 21), b"a:root:" + b"0" * 64],
    ids=["half a line", "no text", "a word", "no hash", "too large", "large comment", "no such scope"],
)
def test_while_the_file_is_not_whole_none_of_its_keys_is_let_in(tmp_path: Path, content: bytes) -> None:
    file = File(tmp_path / "keys")
    file.path.write_bytes(content)
    file.nobody_but_the_settings()


def test_while_the_file_is_gone_or_something_else_none_of_its_keys_is_let_in(tmp_path: Path) -> None:
    file = File(tmp_path / "keys")
    file.path.unlink()
    file.nobody_but_the_settings()
    other = File(tmp_path / "other")
    other.path.unlink()
    other.path.mkdir()
    other.nobody_but_the_settings()


def test_a_pipe_in_the_place_of_the_file_holds_nobody_up(tmp_path: Path) -> None:
    file = File(tmp_path / "keys")
    file.path.unlink()
    os.mkfifo(file.path)
    file.later()
    with pytest.raises(KeysUnreadable):
        file.keys.find(file.key)
    assert file.keys.find(file.fixed) is not None


@pytest.mark.parametrize("content", [b"typo", b"\xff", None])
def test_a_process_that_starts_while_the_file_is_not_whole_waits_for_it(tmp_path: Path, content: bytes | None) -> None:
    path, now, changes = tmp_path / "keys", [0.0], []
    (key, line), (fixed, fixed_line) = make_key("one", frozenset({"read"})), make_key("two", frozenset({"read"}))
    if content is not None:
        path.write_bytes(content)
    keys = Keys(fixed_line, path, lambda: now[0], changes.append, wait=True)
    with pytest.raises(KeysUnreadable):
        keys.find(key)
    assert keys.find(fixed) is not None
    assert not any(changes)
    path.write_text(line)
    now[0] = 1.01
    assert keys.find(key) is not None
    assert changes[-1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_while_the_file_may_not_be_read_none_of_its_keys_is_let_in(tmp_path: Path) -> None:
    file = File(tmp_path / "keys")
    file.path.chmod(0)
    file.nobody_but_the_settings()


def test_a_change_of_the_same_size_and_time_and_a_file_put_in_its_place_are_seen(tmp_path: Path) -> None:
    file = File(tmp_path / "keys")
    times = file.path.stat().st_mtime_ns
    another, line = make_key("two", frozenset({"read"}))
    file.path.write_text(f"{line}\n")
    os.utime(file.path, ns=(times, times))
    file.later()
    assert file.keys.find(file.key) is None
    assert file.keys.find(another) is not None
    (tmp_path / "next").write_text(f"{file.line}\n")
    os.utime(tmp_path / "next", ns=(times, times))
    (tmp_path / "next").rename(file.path)
    file.later()
    assert file.keys.find(file.key) is not None
    assert file.keys.find(another) is None
    file.path.write_text("")  # whole, and of nobody
    file.later()
    assert file.keys.find(file.key) is None
    assert file.keys.usable


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
    let = access(jwt_secret_file=tmp_path / "secret", jwt_audience="api")
    none = jwt.encode({"sub": "x", "aud": "api", "exp": time.time() + 60, "scope": "admin"}, None, "none")  # type: ignore[arg-type]  # what an attacker sends
    for bad in (token(SECRET[::-1]), none, token(algorithm="HS512")):
        with pytest.raises(CredentialsRefused):
            let.principal(f"Bearer {bad}", None)


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def test_public_keys_check_rs256_and_es256_and_never_become_a_secret(tmp_path: Path) -> None:
    for made, algorithm in (
        (rsa.generate_private_key(65537, 2048), "RS256"), (ec.generate_private_key(ec.SECP256R1()), "ES256"),
    ):  # fmt: skip
        pem = pem_of(made)
        (tmp_path / "pem").write_bytes(pem)
        let = access(jwt_public_key_file=tmp_path / "pem", jwt_audience="api")
        assert let.principal(f"Bearer {token(made, algorithm)}", None).scopes == {"read", "ingest"}
        # HS256 would take the public key for a secret; the other two are of another kind of key, or of another hash.
        for other in ("HS256", "RS256" if algorithm == "ES256" else "ES256", "PS256", "RS512"):
            header = jwt.utils.base64url_encode(f'{{"alg":"{other}","typ":"JWT"}}'.encode()).decode()
            signed = f"{header}.{token(made, algorithm).split('.')[1]}"
            for signature in (b"\0\0\0", hmac.digest(pem, signed.encode(), "sha256")):
                with pytest.raises(CredentialsRefused):
                    let.principal(f"Bearer {signed}.{jwt.utils.base64url_encode(signature).decode()}", None)


def test_settings_of_tokens_that_cannot_work(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("too short")
    private = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "private").write_bytes(private)
    (tmp_path / "lines").write_text(f"{SECRET}\n{SECRET}\n")
    half = pem_of(ec.generate_private_key(ec.SECP256R1()))[:100]
    (tmp_path / "half").write_bytes(half + b"\n-----END PUBLIC KEY-----\n")
    (tmp_path / "p384").write_bytes(pem_of(ec.generate_private_key(ec.SECP384R1())))
    for changes in (
        {"jwt_secret_file": tmp_path / "short"}, {"jwt_public_key_file": tmp_path / "private"},
        {"jwt_secret_file": tmp_path / "lines"}, {"jwt_public_key_file": tmp_path / "half"},
        {"jwt_public_key_file": tmp_path / "p384"},
        {"jwt_secret_file": tmp_path / "nowhere"},
        {"jwt_secret_file": tmp_path / "short", "jwt_public_key_file": tmp_path / "private"},
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match="jwt_"):
            access(jwt_audience="api", **changes)


EC_KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
RSA_KEY = rsa.generate_private_key(65537, 2048)
ROTATIONS = {
    "secret": ("jwt_secret_file", (SECRET, "HS256", SECRET.encode()), (SECRET[::-1], "HS256", SECRET[::-1].encode())),
    "P-256": ("jwt_public_key_file", *((key, "ES256", pem_of(key)) for key in EC_KEYS)),
    "RSA": ("jwt_public_key_file", (EC_KEYS[0], "ES256", pem_of(EC_KEYS[0])), (RSA_KEY, "RS256", pem_of(RSA_KEY))),
}


class TokenFile:
    """A file of a tokens' key, and an Access on it, whose next look a test brings near."""

    def __init__(self, setting: str, path: Path, content: bytes, *, wait: bool = False) -> None:
        self.path, self.now, self.changes = path, 0.0, list[tuple[str, bool]]()
        path.write_bytes(content)
        api = ApiSettings(**{setting: path}, jwt_audience="api")  # type: ignore[arg-type]  # settings of one test
        self.access = Access(api, lambda *change: self.changes.append(change), lambda: self.now, wait=wait)

    def later(self) -> None:
        self.now += 1.01

    def lets_in(self, given: str) -> bool:
        try:
            return bool(self.access.principal(f"Bearer {given}", None))
        except KeysUnreadable:
            raise
        except CredentialsRefused:
            return False


@pytest.mark.parametrize(("setting", "old", "new"), ROTATIONS.values(), ids=ROTATIONS)
def test_a_tokens_key_that_was_rotated_is_out_within_a_second(
    tmp_path: Path, setting: str, old: tuple[object, str, bytes], new: tuple[object, str, bytes]
) -> None:
    file = TokenFile(setting, tmp_path / "key", old[2])
    of_old, of_new = token(old[0], old[1]), token(new[0], new[1])
    assert (file.lets_in(of_old), file.lets_in(of_new)) == (True, False)
    name = file.access.principal(f"Bearer {of_old}", None).name
    (tmp_path / "next").write_bytes(new[2])
    (tmp_path / "next").rename(file.path)
    file.later()
    assert (file.lets_in(of_old), file.lets_in(of_new)) == (False, True)
    assert file.access.principal(f"Bearer {of_new}", None).name == name  # limits go on
    assert file.changes == [(f"api.{setting}", True)]


@pytest.mark.parametrize("content", [b"", b"\n", b"half", b"-----BEGIN PUBLIC KEY-----\nMFkw", b"x" * (2 << 20), None])
@pytest.mark.parametrize("setting", ["jwt_secret_file", "jwt_public_key_file"])
def test_while_the_file_of_a_tokens_key_is_not_whole_no_token_is_let_in(
    tmp_path: Path, setting: str, content: bytes | None
) -> None:
    key, algorithm = (SECRET, "HS256") if setting == "jwt_secret_file" else (EC_KEYS[0], "ES256")
    whole = SECRET.encode() if setting == "jwt_secret_file" else pem_of(EC_KEYS[0])
    file, given = TokenFile(setting, tmp_path / "key", whole), token(key, algorithm)
    if content is None:
        file.path.unlink()
    else:
        file.path.write_bytes(content)
    file.later()
    for _ in range(3):
        with pytest.raises(KeysUnreadable):
            file.lets_in(given)
        assert not file.access.lets_in
        assert not file.access.keys_usable
        file.later()
    file.path.write_bytes(whole)
    file.later()
    assert file.lets_in(given)
    assert file.access.lets_in
    assert [usable for _, usable in file.changes] == [True, False, True]


def test_a_process_that_starts_while_a_tokens_key_is_not_whole_waits_for_it(tmp_path: Path) -> None:
    file = TokenFile("jwt_secret_file", tmp_path / "key", b"short", wait=True)
    with pytest.raises(KeysUnreadable):
        file.lets_in(token())
    file.path.write_text(SECRET)
    file.later()
    assert file.lets_in(token())
    assert [usable for _, usable in file.changes] == [False, True]


@pytest.mark.parametrize("audience", [None, ""])
def test_a_token_key_without_an_audience_does_not_start(tmp_path: Path, audience: str | None) -> None:
    (tmp_path / "secret").write_text(SECRET)
    with pytest.raises(ConfigurationError, match=r"jwt_audience.*another service"):
        access(jwt_secret_file=tmp_path / "secret", jwt_audience=audience)


def parts(header: bytes, claims: bytes = b"{}") -> str:
    """A token of any bytes, signed by nobody."""
    return b".".join(jwt.utils.base64url_encode(part) for part in (header, claims, b"x" * 32)).decode()


HOSTILE = {
    "deep header": parts(b"[" * 100_000), "no header": parts(b""), "a list": parts(b"[]"), "null": parts(b"null"),
    "no alg": parts(b"{}"), "alg a number": parts(b'{"alg": 1}'), "alg a list": parts(b'{"alg": ["HS256"]}'),
    "NONE": parts(b'{"alg": "NONE"}'), "kid a path": parts(b'{"alg": "HS256", "kid": "../../dev/null"}'),
    "kid a number": parts(b'{"alg": "HS256", "kid": 7}'), "not base64": "a.é.b", "empty": "..", "nul": "\0.\0.\0",
    "half a surrogate": parts(b'{"alg": "HS256", "kid": "\\ud800"}'),
}  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_whatever_looks_like_a_token_is_refused_and_nothing_else_happens(tmp_path: Path, hostile: str) -> None:
    (tmp_path / "secret").write_text(SECRET)
    let = access(jwt_secret_file=tmp_path / "secret", jwt_audience="api")
    with pytest.raises(CredentialsRefused):
        let.principal(f"Bearer {hostile}", None)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": float("inf")}, {"exp": "soon"}, {"exp": []}, {"exp": None}, {"nbf": float("inf")}, {"iat": 4e9},
        {"sub": 7}, {"sub": None}, {"aud": 7}, {"aud": ["other"]}, {"aud": ["other", 7]}, {"iss": 7}, {"exp": -1e400},
    ],
    ids=str,
)  # fmt: skip
def test_claims_of_any_kind_are_refused_and_nothing_else_happens(tmp_path: Path, claims: dict[str, object]) -> None:
    (tmp_path / "secret").write_text(SECRET)
    let = access(jwt_secret_file=tmp_path / "secret", jwt_audience="api", jwt_issuer="us")
    assert let.principal(f"Bearer {token(iss='us')}", None).scopes
    signed = jwt.api_jws.encode(
        json.dumps({"sub": "a", "aud": "api", "iss": "us", "exp": time.time() + 60, **claims}).encode(), SECRET, "HS256"
    )
    with pytest.raises(CredentialsRefused):
        let.principal(f"Bearer {signed}", None)


def test_what_a_header_says_of_keys_and_extensions_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    let = access(jwt_secret_file=tmp_path / "secret", jwt_audience="api")
    own = SECRET[::-1]
    claims = {"sub": "a", "aud": "api", "exp": time.time() + 60, "scope": "admin"}
    for header in (
        {"jwk": {"kty": "oct", "k": jwt.utils.base64url_encode(own.encode()).decode()}}, {"jku": "http://evil/keys"},
        {"x5u": "http://evil/cert"}, {"kid": "any"},
    ):  # fmt: skip
        with pytest.raises(CredentialsRefused):
            let.principal(f"Bearer {jwt.encode(claims, own, 'HS256', headers=header)}", None)
    for header in ({"crit": ["exp"]}, {"crit": ["b64"], "b64": True}, {"crit": []}):
        with pytest.raises(CredentialsRefused):
            let.principal(f"Bearer {jwt.encode(claims, SECRET, 'HS256', headers=header)}", None)


@pytest.mark.parametrize(("at_s", "holds"), [(-45, False), (-15, True), (15, True)])
def test_clocks_may_lie_half_a_minute_apart(tmp_path: Path, at_s: float, holds: bool) -> None:
    (tmp_path / "secret").write_text(SECRET)
    let = access(jwt_secret_file=tmp_path / "secret", jwt_audience="api")
    for claim in ({"exp": time.time() + at_s}, {"nbf": time.time() - at_s}):
        if holds:
            assert let.principal(f"Bearer {token(**claim)}", None).scopes
        else:
            with pytest.raises(CredentialsRefused):
                let.principal(f"Bearer {token(**claim)}", None)


def test_a_subject_has_one_name_in_a_process_and_nobody_can_try_names(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    names = set()
    for _ in range(2):
        let = access(jwt_secret_file=tmp_path / "secret", jwt_audience="api")
        name = let.principal(f"Bearer {token(sub='ana@example.org')}", None).name
        assert let.principal(f"Bearer {token(sub='ana@example.org', exp=time.time() + 99)}", None).name == name
        assert hashlib.sha256(b"ana@example.org").hexdigest()[:12] not in name
        names.add(name)
    assert len(names) == 2


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.1", "localhost.example.org", "")))

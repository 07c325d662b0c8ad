"""Loopback is no wall against a browser: which requests a service that asks for no credentials refuses. Pure.

Any page may send a form or a text to 127.0.0.1, and a name that its owner points there (DNS rebinding) makes the page's
origin the service's own. Browsers say in `Host`, `Origin` and `Sec-Fetch-Site` (Fetch Metadata) where a request comes
from, and no page can change these three. Programs send no more than `Host`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from streams.base.addresses import is_loopback

_SCHEMES = {"http": 80, "https": 443}
_OTHER_SITES = ("cross-site", "same-site")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


ForeignKind = Literal["bad-host", "foreign-host", "foreign-origin", "foreign-page", "no-json"]


class Foreign(NamedTuple):
    """Why a request is refused: a status, a short kind, and a sentence that repeats nothing of it."""

    status: int
    kind: ForeignKind
    detail: str


_BAD_HOST = Foreign(400, "bad-host", "Expected one header Host: a name or address, and a port or none.")
_NO_JSON = Foreign(415, "no-json", "Expected a body of application/json, and a Content-Type that says so.")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerRules:
    """Who may call: by which names, from which origins.

    `hosts`: names beside loopback's. `origins`: as browsers write them, `https://app.example`. `loopback`: whether
    loopback's own names are taken. `pages`: paths that a link of another site may lead to; they change nothing, and
    only the person who follows the link sees them. `setting`: what the refusal tells to set.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    loopback: bool = True
    pages: tuple[str, ...] = ()
    setting: str = ""

    def foreign(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]], version: str) -> Foreign | None:
        """Why a request is refused; None: it is not. `headers` have names in lower case."""
        given: dict[bytes, list[str]] = {
            name: [] for name in (b"host", b"origin", b"sec-fetch-site", b"sec-fetch-dest")
        }
        for name, value in headers:
            if name in given:
                given[name].append(value.decode("latin-1").strip().lower())
        if refused := self._host(given[b"host"], version):
            return refused
        if given[b"origin"]:
            return self._origin(given[b"origin"], given[b"host"])
        followed = method in ("GET", "HEAD") and given[b"sec-fetch-dest"] == ["document"] and self._is_page(path)
        if any(site in _OTHER_SITES for site in given[b"sec-fetch-site"]) and not followed:
            return Foreign(
                403, "foreign-page", f"The request comes from a page of another site.{self._hint('cors_origins')}"
            )
        return None

    def _host(self, hosts: list[str], version: str) -> Foreign | None:
        if not hosts and version == "1.0":
            return None  # no browser
        name = host_name(hosts[0]) if len(hosts) == 1 else None
        if name is None:
            return _BAD_HOST
        if name in self.hosts or (self.loopback and is_loopback(name)):
            return None
        return Foreign(421, "foreign-host", f"The header Host names none of this service's names.{self._hint('hosts')}")

    def _origin(self, origins: list[str], hosts: list[str]) -> Foreign | None:
        if len(origins) == 1 and (origins[0] in self.origins or [_authority(origins[0])] == hosts):
            return None
        detail = f"The request comes from a page of another origin.{self._hint('cors_origins')}"
        return Foreign(403, "foreign-origin", detail)

    def _is_page(self, path: str) -> bool:
        return path in self.pages or any(path.startswith(f"{page}/") for page in self.pages if page != "/")

    def _hint(self, setting: str) -> str:
        return f" `{self.setting}{setting}` may name more." if self.setting else ""


def no_json(method: str, headers: Iterable[tuple[bytes, bytes]]) -> Foreign | None:
    """Why the body of a request is refused where only JSON is taken: a form or plain text needs nobody's leave."""
    if method not in _WITH_BODY:
        return None
    kinds, empty = [], True
    for name, value in headers:
        if name == b"content-type":
            kinds.append(value.partition(b";")[0].strip().lower())
        elif name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            empty = False
    return None if kinds == [b"application/json"] or (empty and not kinds) else _NO_JSON


def host_name(host: str) -> str | None:
    """The name or address of a Host header, in lower case and without its port; None where it is no such header."""
    if not host or any(sign in host for sign in "/?#@\\") or not host.isprintable() or " " in host:
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    name = parts.hostname
    return name.lower().removesuffix(".") if name else None


def _authority(origin: str) -> str | None:
    """What of an origin stands in Host; None where it is no web page's."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc if parts.scheme in _SCHEMES and parts.netloc else None

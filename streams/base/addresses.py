"""Addresses of this machine and of others: IPv4, IPv6 and names, judged, written and listened on in one way."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from streams.base.errors import ConfigurationError

BACKLOG = 512
_SCHEMES = ("dns:", "unix:", "unix-abstract:", "ipv4:", "ipv6:")
_EXPECTED = "expected host:port with a port from 1 to 65535, an IPv6 address in brackets ([::1]:9092), and no http://"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address means this machine (RFC 6761 keeps `localhost` for it); nobody is asked.

    An IPv6 address may stand in brackets, and one that wraps an IPv4 address (`::ffff:127.0.0.1`) is that one.
    """
    name = bare(host).lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def stays_here(host: str, lookup: Callable[..., Iterable[Sequence[Any]]] = socket.getaddrinfo) -> bool:
    """Whether what listens on a host, or is sent to it, stays on this machine.

    `is_loopback` goes by the name alone. Here a name for loopback must also lead nowhere else: a resolver may answer
    `x.localhost`, and even `localhost`, with any address. Other names, and those without an address, do not count.
    """
    name = bare(host)
    if not is_loopback(name) or _is_address(name):
        return is_loopback(name)
    try:
        found = {row[4][0] for row in lookup(name, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(map(is_loopback, found))


def bare(host: str) -> str:
    """A host as sockets take it: an IPv6 address without its brackets."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def joined(host: str, port: int) -> str:
    """Host and port as addresses and URLs write them: an IPv6 address goes in brackets."""
    name = bare(host)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def host_of(address: str) -> str:
    """The host of `host:port`, `[::1]:port`, or of an address without a port."""
    address = address.strip()
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.count(":") > 1 else address.partition(":")[0]


def checked_host(host: str) -> str:
    """The host itself; ValueError where it is no host of the kind that a port is put behind."""
    name = bare(host)
    if not name or any(c.isspace() or c in "/[]," for c in name) or (":" in name and not _is_ipv6(name)):
        raise ValueError("expected a host name or an address, without scheme and port")
    return host


def checked_addresses(addresses: str) -> str:
    """`host`, `host:port`, `[::1]:port` or several, comma-separated, unchanged; ValueError where one is none of these.

    What names another scheme of gRPC (`dns:`, `unix:`) is left to it.
    """
    for address in addresses.split(","):
        text = address.strip()
        if text.startswith(_SCHEMES):
            continue
        host, separator, port = text.rpartition(":")
        if not separator or text.endswith("]"):
            host, separator, port = text, "", ""
        try:
            checked_host(host)
        except ValueError:
            raise ValueError(_EXPECTED) from None
        if (":" in host and not host.startswith("[")) or (separator and not _is_port(port)):
            raise ValueError(_EXPECTED)
    return addresses


def checked_url(url: str) -> str:
    """An address that begins with http:// or https://, unchanged; ValueError where it is none."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or any(char.isspace() for char in url):
        raise ValueError("expected an address that begins with http:// or https:// and names a host")
    return url


def checked_urls(urls: str) -> str:
    """Such addresses, comma-separated, unchanged; ValueError where one is none."""
    for url in urls.split(","):
        checked_url(url.strip())
    return urls


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def _is_ipv6(text: str) -> bool:
    return ":" in text and _is_address(text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def listen(host: str, port: int, port_setting: str, host_setting: str = "") -> socket.socket:
    """A listening socket, IPv4 or IPv6 as `host` is; 0 takes any free port.

    ConfigurationError, which names the settings that would mend it (the host's where it has one), where the host is no
    address of this machine or the port is taken.
    """
    try:
        found = socket.getaddrinfo(bare(host), port, type=socket.SOCK_STREAM)
        family, kind, _, _, address = found[0]
        # asyncio turns Nagle's algorithm off only where the socket names its protocol: else an answer waits 40 ms.
        listening = socket.socket(family, kind, socket.IPPROTO_TCP)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name that a resolver could be asked for
        why = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise ConfigurationError(f"{host_setting} {host}: {why}; set an address of this machine") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        settings = f"{host_setting} and {port_setting}" if host_setting else port_setting
        raise ConfigurationError(
            f"cannot listen on {joined(host, port)} ({error.strerror}): set {settings} to what is free"
        ) from error
    return listening

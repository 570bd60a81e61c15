"""Where a request came from. X-Forwarded-For counts only from a trusted proxy, and of it only the last hop, which that
proxy wrote itself; every other such header is the client's own word (A04)."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from services.identity.model import Client

_UNKNOWN = "0.0.0.0"  # noqa: S104  shown where a transport names no peer; shares one bucket


def client_of(scope: Mapping[str, Any], trusted: frozenset[str]) -> Client:
    """The client of an ASGI request."""
    peer = scope.get("client")
    address = _plain(peer[0]) if peer else _UNKNOWN
    user_agent = ""
    forwarded = ""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    for name, value in headers:
        if name == b"user-agent":
            user_agent = value.decode("latin-1")
        elif name == b"x-forwarded-for":
            forwarded = value.decode("latin-1")
    if forwarded and address in trusted:
        address = _plain(forwarded.rpartition(",")[2].strip()) or address
    printable = "".join(char for char in user_agent[:200] if char.isprintable())
    return Client(address or _UNKNOWN, printable)


def network_of(address: str) -> str:
    """The network that one person may be behind: /24 of IPv4, /48 of IPv6."""
    found = ipaddress.ip_address(address)
    return str(ipaddress.ip_network((found, 24 if found.version == 4 else 48), strict=False))


def subscriber_of(address: str) -> str:
    """What one subscriber surely has: an IPv4 address, a /64 of IPv6."""
    found = ipaddress.ip_address(address)
    return str(found) if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))


def _plain(candidate: str) -> str:
    """The address in one spelling ('' where it is none): IPv4 in IPv6 clothes is IPv4."""
    try:
        found = ipaddress.ip_address(candidate.partition("%")[0])
    except ValueError:
        return ""
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)

"""
The addresses and names of this machine.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache

PRIVATE_NETWORKS = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Return whether an address to listen on can be reached from this machine only."""
    address = _address(host)
    return address.is_loopback if address is not None else host.lower() == "localhost"


def is_everywhere(host: str) -> bool:
    """Return whether an address to listen on is every interface."""
    return host in ("", "::", "0.0.0.0")


@lru_cache(maxsize=256)
def classify_address(host: str) -> bool | None:
    """Return whether an address is this machine's or in a private network; None for a name."""
    address = None if host.startswith("[") else _address(host)
    if address is None:
        return None
    address = getattr(address, "ipv4_mapped", None) or address
    return (
        address.is_loopback
        or address.is_unspecified
        or any(address in network for network in PRIVATE_NETWORKS)
        or str(address) in _own_addresses()
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


@lru_cache(maxsize=1)
def own_names() -> frozenset[str]:
    """Return the names of this machine, in lower case."""
    return frozenset(("localhost", socket.gethostname().lower()))


@lru_cache(maxsize=1)
def _own_addresses() -> frozenset[str]:
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return frozenset()
    return frozenset(str(entry[4][0]) for entry in found)

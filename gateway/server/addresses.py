"""
The addresses and names of this machine.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from urllib.parse import urlsplit

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


def is_own_address(host: str) -> bool:
    """
    Return whether a numeric address belongs to this machine, without a lookup of names.

    Only an own address can be bound, and port 0 is always free.
    """
    address = _address(host)
    if address is None:
        return False
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        try:
            trial.bind((str(address), 0))
        except OSError:
            return False
    return True


def leads_to(url: str, listen_host: str, listen_port: int) -> bool:
    """
    Return whether a URL leads to a socket of this machine that listens on a host and a port.

    An address and a name of this machine are recognised. Any other name is not looked up, since
    that can take long. No host, `0.0.0.0` and `::` are every interface.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if port != listen_port:
        return False
    called, heard = _resolve_own(parts.hostname or ""), _resolve_own(listen_host)
    if is_everywhere(listen_host):
        return any(is_own_address(address) for address in called)
    return not called.isdisjoint(heard)


def _resolve_own(host: str) -> set[str]:
    """Return the addresses of an address or of a name of this machine; none for other names."""
    address = _address(host)
    if address is not None:
        return {str(getattr(address, "ipv4_mapped", None) or address)}
    name = host.lower()
    if name not in own_names() and not name.endswith(".localhost"):
        return set()
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    near = {"127.0.0.1", "::1"} if name.endswith("localhost") else set()
    return {str(entry[4][0]) for entry in found} | near


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

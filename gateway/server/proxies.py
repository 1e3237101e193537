"""
The address of a client that reaches the gateway through load balancers (`listen.proxies`).
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from ..observability.record import current
from ..settings.schema import Settings
from .asgi import ExtraHeaders, Scope

HEADER = b"x-forwarded-for"


def believe_proxies(scope: Scope, settings: Settings) -> ExtraHeaders:
    """
    Replace a balancer's address by the one that it states, in the scope and in the record.

    A gate for requests with the header. Anybody else's header is not believed.
    """
    address, *_ = scope.get("client") or ("",)
    if not settings.listen.proxies or not address:
        return ()
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == HEADER]
    client = find_client(address, ",".join(lines), settings.listen.proxies)
    if client != address:
        scope["client"] = (client, 0)
        current().client = client
    return ()


def find_client(peer: str, stated: str, trusted: tuple[str, ...]) -> str:
    """
    Return the address of the client, as far as trusted balancers state it.

    Each balancer adds the address that called it at the end. So the text is read from its end, and
    what stands before the first address that is not trusted may be anybody's invention.

    >>> find_client("10.0.0.1", "1.1.1.1, 192.0.2.7, 10.0.0.2", ("10.0.0.0/8",))
    '192.0.2.7'
    >>> find_client("192.0.2.7", "1.1.1.1", ("10.0.0.0/8",))
    '192.0.2.7'
    """
    client = peer
    for text in reversed(stated.split(",")):
        if not _is_in(client, trusted):
            break
        try:
            client = str(ipaddress.ip_address(text.strip()))
        except ValueError:
            break
    return client


def _is_in(address: str, networks: tuple[str, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        # The path of a socket, or an address with a zone.
        return False
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(parsed in network for network in _parse(networks))


@lru_cache(maxsize=8)
def _parse(
    networks: tuple[str, ...],
) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in networks)

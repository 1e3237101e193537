"""
Binding the listening socket, and the texts that explain why it cannot be bound.
"""

from __future__ import annotations

import errno
import socket
import sys

from ..faults import StartProblem
from ..settings.host_keys import HostKeys
from ..settings.more_ports import addresses_of
from ..settings.schema import ListenSettings, Settings
from .addresses import is_everywhere, leads_to


class ListenProblem(StartProblem):
    """The address cannot be bound; one sentence gives the likely reason and the next step."""


def bind_all(listen: ListenSettings) -> list[socket.socket]:
    """
    Bind the main address and every further one (`listen.more`), in the order of the settings.

    Raises ListenProblem; then none is bound.
    """
    bound: list[socket.socket] = []
    try:
        for address, port in addresses_of(listen):
            if port is not None and (port.port or None, address.host) == (listen.port, listen.host):
                raise ListenProblem(
                    f"port {listen.port} is the gateway's own, so it cannot stand for the key "
                    f"{port.key} as well: choose another port in [[listen.more]]"
                )
            bound.append(bind(address, is_main=port is None))
    except ListenProblem:
        for each in bound:
            each.close()
        raise
    return bound


def bind(listen: ListenSettings, *, is_main: bool = True) -> socket.socket:
    """
    Bind and listen; no host, `::` and `0.0.0.0` are every interface, with IPv6 and IPv4 if both
    exist, as in Go (docs/facts/ollama.md#ollama-host).

    Raises ListenProblem.
    """
    where = f"port {listen.port} on {listen.host or 'every interface'}"
    try:
        if is_everywhere(listen.host) and socket.has_dualstack_ipv6():
            return _as_tcp(
                socket.create_server(
                    ("", listen.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2048
                )
            )
        found = socket.getaddrinfo(
            listen.host or None, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # `localhost` can be both; Ollama's clients try IPv4.
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        return _as_tcp(socket.create_server(address[:2], family=family, backlog=2048))
    except socket.gaierror:
        raise ListenProblem(
            f"cannot listen on {listen.host}: unknown host; give an address of this machine "
            f"({'--host, OLGATE_LISTEN_HOST or OLLAMA_HOST' if is_main else 'listen.more'})"
        ) from None
    except OSError as failure:
        raise ListenProblem(_explain(where, failure, is_main=is_main)) from None


def refuse_missing_keys(settings: Settings) -> None:
    """Raise ListenProblem if a further port stands for a key that is not there."""
    for port in settings.listen.more:
        if port.key not in settings.keys:
            raise ListenProblem(
                f"port {port.port} (listen.more) stands for the key {port.key}, which is not "
                f"there: make it with `olgate keys add {port.key}`, or remove the port"
            )


def refuse_own_upstream(listen: ListenSettings, url: str, keys: HostKeys) -> None:
    """
    Raise ListenProblem if LM Studio's address is the one on which the gateway is to listen.

    `keys` are the names of that host's settings.

    Only what can be seen without a lookup is refused here; `LoopGate` stops what cannot.
    """
    if listen.port and leads_to(url, listen.host, listen.port):
        raise ListenProblem(
            f"the gateway would call itself: {url} ({keys.key('url')}) is LM Studio's address, and "
            f"port {listen.port} is where the gateway is to listen; choose another port with "
            f"--port, or set {keys.address} to where LM Studio runs"
        )


def _as_tcp(listener: socket.socket) -> socket.socket:
    """
    Return the listening socket with its protocol set.

    asyncio's own event loop disables Nagle's algorithm only for sockets that state TCP. Otherwise
    every answer on a reused connection waits for the client's delayed ACK.
    """
    family, kind = listener.family, listener.type
    return socket.socket(family, kind, socket.IPPROTO_TCP, fileno=listener.detach())


def _explain(where: str, failure: OSError, *, is_main: bool) -> str:
    place = "with --port" if is_main else "in [[listen.more]]"
    if failure.errno == errno.EADDRINUSE:
        return (
            f"{where} is taken, most likely by a running Ollama (or another olgate): "
            f"stop it, or choose another port {place}"
        )
    if failure.errno == errno.EACCES and sys.platform == "win32":
        # WSAEACCES: another program holds the port for itself, or Windows has reserved it.
        return (
            f"{where} is held by another program or reserved by Windows: choose another port "
            f"{place} (`netsh interface ipv4 show excludedportrange tcp` lists reserved ports)"
        )
    if failure.errno == errno.EACCES:
        return f"{where} is not allowed for this user: choose a port above 1023 {place}"
    if failure.errno == errno.EADDRNOTAVAIL:
        return f"{where} is not an address of this machine: " + (
            "check --host, OLGATE_LISTEN_HOST and OLLAMA_HOST" if is_main else "see listen.more"
        )
    return f"cannot listen on {where}: {failure.strerror or failure}"


def shown_address(listen: ListenSettings, listener: socket.socket) -> str:
    """Return the URL of a bound address."""
    host = listen.host or "0.0.0.0"
    port = listener.getsockname()[1]
    scheme = "http" if listen.tls_certificate is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

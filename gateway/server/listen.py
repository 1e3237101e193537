"""
Binding the listening socket, and the texts that explain why it cannot be bound.
"""

from __future__ import annotations

import errno
import socket
import sys

from ..faults import StartProblem
from ..settings.schema import ListenSettings
from .addresses import is_everywhere, leads_to


class ListenProblem(StartProblem):
    """The address cannot be bound; one sentence gives the likely reason and the next step."""


def bind(listen: ListenSettings) -> socket.socket:
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
            "(--host, OLGATE_LISTEN_HOST or OLLAMA_HOST)"
        ) from None
    except OSError as failure:
        raise ListenProblem(_explain(where, failure)) from None


def refuse_own_upstream(listen: ListenSettings, url: str) -> None:
    """
    Raise ListenProblem if LM Studio's address is the one on which the gateway is to listen.

    Only what can be seen without a lookup is refused here; `LoopGate` stops what cannot.
    """
    if listen.port and leads_to(url, listen.host, listen.port):
        raise ListenProblem(
            f"the gateway would call itself: {url} (upstream.url) is LM Studio's address, and port "
            f"{listen.port} is where the gateway is to listen; choose another port with --port, or "
            "set --upstream to where LM Studio runs"
        )


def _as_tcp(listener: socket.socket) -> socket.socket:
    """
    Return the listening socket with its protocol set.

    asyncio's own event loop disables Nagle's algorithm only for sockets that state TCP. Otherwise
    every answer on a reused connection waits for the client's delayed ACK.
    """
    family, kind = listener.family, listener.type
    return socket.socket(family, kind, socket.IPPROTO_TCP, fileno=listener.detach())


def _explain(where: str, failure: OSError) -> str:
    if failure.errno == errno.EADDRINUSE:
        return (
            f"{where} is taken, most likely by a running Ollama (or another olgate): "
            "stop it, or choose another port with --port"
        )
    if failure.errno == errno.EACCES and sys.platform == "win32":
        # WSAEACCES: another program holds the port for itself, or Windows has reserved it.
        return (
            f"{where} is held by another program or reserved by Windows: choose another port with "
            "--port (`netsh interface ipv4 show excludedportrange tcp` lists reserved ports)"
        )
    if failure.errno == errno.EACCES:
        return f"{where} is not allowed for this user: choose a port above 1023 with --port"
    if failure.errno == errno.EADDRNOTAVAIL:
        return (
            f"{where} is not an address of this machine: "
            "check --host, OLGATE_LISTEN_HOST and OLLAMA_HOST"
        )
    return f"cannot listen on {where}: {failure.strerror or failure}"


def shown_address(listen: ListenSettings, listener: socket.socket) -> str:
    """Return the URL of a bound address."""
    host = listen.host or "0.0.0.0"
    port = listener.getsockname()[1]
    scheme = "http" if listen.tls_certificate is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

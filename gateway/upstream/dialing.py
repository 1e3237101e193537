"""
Opening a connection to the upstream: name lookup, TCP, TLS, and their failures.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Callable

import aiohappyeyeballs

from ..faults import FaultId, shorten
from ..settings.host_keys import UPSTREAM_KEYS, HostKeys
from .address import Origin
from .body import TransportFault
from .connection import Connection
from .trust import trusting

_SECOND_FAMILY_S = 0.25
"""Delay after which IPv4 is tried in parallel with IPv6, as RFC 8305 advises."""


async def dial(
    origin: Origin,
    when_lost: Callable[[Connection], None],
    limit_s: float | None,
    tls: Callable[[], ssl.SSLContext] = trusting,
    keys: HostKeys = UPSTREAM_KEYS,
) -> Connection:
    """
    Return a new connection; `limit_s` covers the name, TCP and TLS together.

    Raises TransportFault: dns, connect, tls. Each may be retried, since nothing was sent.
    """
    try:
        async with asyncio.timeout(limit_s):
            wire = await _connect(origin, await _resolve(origin))
            return await _secure(origin, wire, when_lost, tls, keys)
    except TimeoutError as problem:
        detail = f"no connection to {origin} within the time limit"
        raise TransportFault("connect", detail, repeatable=True, timed_out=True) from _cut(problem)


async def _resolve(origin: Origin) -> list[aiohappyeyeballs.AddrInfoType]:
    host, port = origin.host, origin.port
    if _is_ipv4(host):
        # The usual case, which needs no thread for a name lookup.
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        return [*found]
    except OSError as problem:
        detail = f"the name of {origin} can't be resolved: {_words(problem)}"
        raise TransportFault("dns", detail, repeatable=True) from _cut(problem)


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


async def _connect(origin: Origin, addresses: list[aiohappyeyeballs.AddrInfoType]) -> socket.socket:
    try:
        return await aiohappyeyeballs.start_connection(
            addresses,
            happy_eyeballs_delay=_SECOND_FAMILY_S,
            interleave=1,
            socket_factory=_open_socket,
        )
    except TimeoutError as problem:
        # This is the limit of the operating system, not `connect_timeout_s`.
        detail = f"can't connect to {origin}: {_words(problem)}"
        raise TransportFault("connect", detail, repeatable=True, timed_out=True) from _cut(problem)
    except OSError as problem:
        detail = f"can't connect to {origin}: {_words(problem)}"
        raise TransportFault("connect", detail, repeatable=True) from _cut(problem)


async def _secure(
    origin: Origin,
    wire: socket.socket,
    when_lost: Callable[[Connection], None],
    tls: Callable[[], ssl.SSLContext],
    keys: HostKeys,
) -> Connection:
    loop = asyncio.get_running_loop()
    is_tls = origin.scheme == "https"
    try:
        _, connection = await loop.create_connection(
            lambda: Connection(str(origin), when_lost),
            sock=wire,
            ssl=tls() if is_tls else None,
            server_hostname=origin.host if is_tls else None,
        )
    except ssl.SSLCertVerificationError as problem:
        detail = (
            f"the certificate of {origin} is refused: {problem.verify_message} "
            f"({keys.key('ca_file')} names further certificates to trust)"
        )
        raise TransportFault("tls", detail, repeatable=True) from _cut(problem)
    except OSError as problem:
        # This includes a peer that closes during the handshake, after TCP was connected.
        verb = "agree on TLS with" if is_tls else "connect to"
        detail = f"can't {verb} {origin}: {_words(problem)}"
        fault: FaultId = "tls" if is_tls else "connect"
        raise TransportFault(fault, detail, repeatable=True) from _cut(problem)
    return connection


def _open_socket(address: aiohappyeyeballs.AddrInfoType) -> socket.socket:
    """Create a socket without Nagle's delay that detects a lost peer after about two minutes."""
    made = socket.socket(address[0], address[1], address[2])
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for names, value in _KEEP_ALIVE:
        number = next((getattr(socket, name) for name in names if hasattr(socket, name)), None)
        if number is not None:
            # Older Windows knows the names and refuses them: the system's own times apply then.
            with contextlib.suppress(OSError):
                made.setsockopt(socket.IPPROTO_TCP, number, value)
    return made


_KEEP_ALIVE = (
    (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), 60),
    (("TCP_KEEPINTVL",), 15),
    (("TCP_KEEPCNT",), 4),
)
"""Seconds to the first probe, seconds between probes, and their number. macOS has another name."""


def _cut(problem: Exception) -> Exception:
    """
    Return an exception without its frames.

    Among them are frames of libraries that hold the exception, or the task that will hold it.
    """
    return problem.with_traceback(None)


def _words(problem: OSError) -> str:
    return shorten(problem.strerror or str(problem) or type(problem).__name__, 200)

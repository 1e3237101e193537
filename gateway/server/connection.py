"""
A client's connection before anything is read from it: its addresses and flow, and what it shares
with the other connections of its server.

`protocol` reads requests from it. uvicorn makes connections with its arguments, and has them in its
state while they are open; nothing else of a connection is uvicorn's
(docs/decisions/0051-connections-are-the-gateways-own.md).
"""

import asyncio
import contextlib
import socket
from typing import Any, ClassVar, Final

import uvicorn
from uvicorn.server import ServerState

from ..settings.schema import LimitSettings, PortSettings
from .asgi import PORT
from .cycle import Cycle
from .flow import Flow
from .heads import Heads
from .idle import IdleTime
from .of_servers import OfServers
from .waves import Waves

_BLANK: Final[dict[str, Any]] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "root_path": "",
    # What each request has is named here, too: a copy of a whole dictionary is cheap.
    **dict.fromkeys(("method", "path", "raw_path", "query_string")),
    **dict.fromkeys(("headers", "state", "extensions")),
}
_UVLOOP: Final = "uvloop.loop"


class Shared:
    """What all connections of one server share."""

    __slots__ = ("heads", "waves")

    def __init__(self) -> None:
        """Know no head, and let nobody wait."""
        self.heads = Heads()
        self.waves: Waves[Cycle] = Waves()


_shared_of: Final = OfServers(Shared).of


class ClientConnection(asyncio.Protocol):
    """A connection that was accepted, until it is closed."""

    limits: ClassVar[LimitSettings] = LimitSettings()
    port: ClassVar[PortSettings | None] = None
    """The further port that the connection is of; None for the main one."""
    transport: asyncio.Transport
    flow: Flow

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Accept the arguments that uvicorn gives its protocols."""
        if not config.loaded:
            config.load()
        self.app: Any = config.loaded_app
        self.loop = _loop or asyncio.get_running_loop()
        self.server_state = server_state
        self.app_state = app_state
        self.shared = _shared_of(server_state)
        self.client: tuple[str, int] | None = None
        self.blank: dict[str, Any] = _BLANK
        """The scope of every request of the connection, before its head is read."""
        self._idle_s = config.timeout_keep_alive

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a server's transports are read and written
        """Take the connection's transport."""
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own classes, and needs `shutdown`
        self.transport = transport
        self.flow = Flow(transport, self.loop, self.limits.write_s)
        self.client = _address(transport, "peername")
        is_tls = transport.get_extra_info("sslcontext") is not None
        self.blank = {
            **_BLANK,
            "server": _address(transport, "sockname"),
            "client": self.client,
            "scheme": "https" if is_tls else "http",
        }
        if self.port is not None:
            self.blank[PORT] = self.port
        _send_at_once(transport)
        self.idle = IdleTime(self.loop, self._idle_s, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the server, and let those go who wait for the client to read."""
        self.server_state.connections.discard(self)
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.idle.stop()

    def pause_writing(self) -> None:
        """Have nothing more written: the client does not read what is there."""
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """Have more written."""
        self.flow.resume_writing()


def _address(transport: asyncio.Transport, end: str) -> tuple[str, int] | None:
    """Return the address and port of an end; None for one that has none, as a Unix socket."""
    found = transport.get_extra_info(end)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None


def _send_at_once(transport: asyncio.Transport) -> None:
    """
    Disable Nagle's delay, which holds back each token until the client has acknowledged the last.

    uvloop does that itself. asyncio does for sockets that name TCP, and those that its loop accepts
    on Windows do not.
    """
    if type(transport).__module__ == _UVLOOP:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

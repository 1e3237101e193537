"""Serves the application with uvicorn, in the running loop, on a socket of its own."""

import asyncio
import importlib.util
import socket
from types import TracebackType
from typing import Any, Self, cast

import msgspec
import uvicorn
from uvicorn._types import ASGI3Application

from conformance.standin.app import TRANSPORT, App
from conformance.standin.options import Options
from conformance.standin.seen import Exchange, Log
from conformance.standin.wire import Message, Receive, Send


def make_protocol() -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol, made to show its connection to the application."""
    base: Any
    if importlib.util.find_spec("httptools") is not None:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as base
    else:
        from uvicorn.protocols.http.h11_impl import H11Protocol as base

    def connection_made(self: Any, transport: asyncio.Transport) -> None:
        base.connection_made(self, transport)
        inner = self.app

        async def with_transport(scope: Message, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = transport
            await inner(scope, receive, send)

        self.app = with_transport

    made = type("ShownProtocol", (base,), {"connection_made": connection_made})
    return cast("type[asyncio.Protocol]", made)


def bind(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address. Raises OSError when it is taken.

    The protocol is named: without it asyncio leaves small writes to be held back by the kernel.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    ours = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind((host, port))
    except OSError:
        ours.close()
        raise
    return ours


class StandIn:
    """A running stand-in: ``async with StandIn(rate=50) as standin: standin.url``.

    Takes an `Options`, or changes to the default ones as keywords. What is asked of it stands in
    `standin.seen`; `standin.app` is the application with its script and host.
    """

    def __init__(self, options: Options | None = None, **changes: Any) -> None:
        self.options = msgspec.structs.replace(options or Options(), **changes)
        self.app = App(self.options)
        self.url = ""
        self.port = 0

    @property
    def log(self) -> Log:
        """The log of requests, which can be waited on."""
        return self.app.log

    @property
    def seen(self) -> list[Exchange]:
        """What was asked so far, in order."""
        return self.app.log.exchanges

    async def start(self) -> None:
        """Bind, and serve from now on. Raises OSError when the port is taken."""
        self.socket = bind(self.options.host, self.options.port)
        self.port = self.socket.getsockname()[1]
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        self.url = f"http://{host}:{self.port}"
        config = uvicorn.Config(
            cast("ASGI3Application", self.app),
            http=make_protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=self.options.keep_alive_s,
        )
        config.load()
        self.server = uvicorn.Server(config)
        self.server.lifespan = config.lifespan_class(config)
        await self.server.on_tick(0)
        await self.server.startup(sockets=[self.socket])
        self.ticker = asyncio.create_task(self.tick())

    async def tick(self) -> None:
        """Keep the Date header right."""
        while True:
            await asyncio.sleep(1)
            await self.server.on_tick(0)

    async def stop(self) -> None:
        """Stop serving: what is being answered is cut off, connections are closed."""
        self.ticker.cancel()
        for server in self.server.servers:
            server.close()
        self.socket.close()
        state = self.server.server_state
        for connection in list(state.connections):
            transport = cast("Any", connection).transport
            if transport is not None:
                transport.abort()
        self.app.stop()
        await asyncio.wait([self.ticker, *state.tasks], timeout=5)
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

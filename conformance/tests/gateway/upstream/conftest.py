"""Fixtures: servers that misbehave as told, and an Upstream that calls them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from conformance.tests.gateway.upstream.servers import Call, Connect, Handler, Serve, Server
from gateway.settings.schema import UpstreamSettings
from gateway.upstream.client import Upstream


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server on a free port that hands every request to a handler."""
    closers: list[tuple[asyncio.Server, set[asyncio.Task[Any]]]] = []

    async def start(handler: Handler) -> Server:
        server = Server()
        tasks: set[asyncio.Task[Any]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server.connections += 1
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    call = Call(head, reader, writer)
                    server.calls.append(call.request_line)
                    server.has_call.set()
                    await handler(call)
                    if writer.is_closing():
                        break
            except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):
                pass  # uvloop says RuntimeError when writing to who has left
            except asyncio.CancelledError:
                writer.transport.abort()
                return
            server.client_left.set()
            writer.close()

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        server.port = listener.sockets[0].getsockname()[1]
        closers.append((listener, tasks))
        return server

    yield start
    for listener, tasks in closers:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Make an Upstream for a URL, with settings as given; no time limits unless given."""
    made: list[Upstream] = []

    def make(url: str, **settings: Any) -> Upstream:
        limits: dict[str, Any] = {"first_byte_timeout_s": None, "silence_timeout_s": None}
        made.append(Upstream(UpstreamSettings(url=url, **(limits | settings))))
        return made[-1]

    yield make
    for upstream in made:
        await upstream.aclose()

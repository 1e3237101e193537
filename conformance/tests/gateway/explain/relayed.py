"""A host for explanations that has everything from a stand-in, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from gateway.explain.host import Request

LIMIT_S = 30.0


@dataclass
class RelayedHost:
    """Passes every request on to a stand-in, a connection each, and every byte back."""

    target: str
    url: str = ""
    seen: list[Request] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    urls: dict[str, str] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._running: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the port, and end what runs."""
        self._server.close()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._running.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = [line.partition(":") for line in lines]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        raw = b""
        if "chunked" in headers.get("transfer-encoding", ""):
            raw = await reader.readuntil(b"0\r\n\r\n")
        elif length := int(headers.get("content-length", "0")):
            raw = await reader.readexactly(length)
        self.seen.append(Request(method, target, headers, raw))
        parts = urlsplit(self.target)
        back, forth = await asyncio.open_connection(parts.hostname, parts.port)
        # One request a connection: the stand-in then ends each answer by closing.
        forth.write(head.removesuffix(b"\r\n") + b"connection: close\r\n\r\n" + raw)
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            while True:
                reading = asyncio.ensure_future(back.read(65536))
                await asyncio.wait([reading, leaving], return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    return
                if not (data := reading.result()):
                    return
                writer.write(data)
                await writer.drain()
        finally:
            leaving.cancel()
            forth.close()

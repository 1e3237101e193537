"""Tiny socket servers that do exactly as told: what a call is, and what they note of it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.upstream.client import Upstream

Handler = Callable[["Call"], Awaitable[None]]


@dataclass
class Call:
    """One request as the server sees it."""

    head: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: bytes | None = None

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    @property
    def headers(self) -> dict[bytes, bytes]:
        lines = self.head.rstrip(b"\r\n").split(b"\r\n")[1:]
        return {name.lower(): value for name, _, value in (x.partition(b": ") for x in lines)}

    async def read_body(self) -> bytes:
        if self.body is None:
            length = int(self.headers.get(b"content-length", b"0"))
            self.body = await self.reader.readexactly(length)
        return self.body

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def answer(
        self, body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json"
    ) -> None:
        await self.read_body()
        await self.send(
            b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s"
            % (status, kind, len(body), body)
        )

    async def start_events(self) -> None:
        await self.read_body()
        await self.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    async def send_chunks(self, *pieces: bytes) -> None:
        for piece in pieces:
            await self.send(b"%x\r\n%s\r\n" % (len(piece), piece))

    async def finish(self) -> None:
        await self.send(b"0\r\n\r\n")

    def cut(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()

    async def wait_for_hang_up(self) -> None:
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


@dataclass
class Server:
    """A server whose handler gets every request; `calls` is what came, `left` who hung up."""

    port: int = 0
    connections: int = 0
    calls: list[bytes] = field(default_factory=list)
    has_call: asyncio.Event = field(default_factory=asyncio.Event)
    client_left: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


Serve = Callable[[Handler], Awaitable[Server]]
Connect = Callable[..., Upstream]

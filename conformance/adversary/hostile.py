"""
The hostile LM Studio: a server of plain sockets that lists a model and answers by acts.

An act is found by the tag that stands in a request. A request without one that is known gets a good
answer, in which every tag of the request stands, so that an answer to the wrong client is seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from conformance.adversary.acts import Act, chunked, head, one_of, stream_of
from conformance.adversary.asks import MODEL

TAG = re.compile(rb"q[0-9a-f]{10}")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)\r\n")
_HOLD_S = 30.0

_LISTED = json.dumps(
    {
        "models": [
            {
                "type": "llm",
                "publisher": "grove",
                "key": MODEL,
                "display_name": "Fir",
                "architecture": "llama",
                "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
                "size_bytes": 1000,
                "params_string": "1B",
                "loaded_instances": [{"id": MODEL, "config": {"context_length": 4096}}],
                "max_context_length": 8192,
                "format": "gguf",
                "capabilities": {"vision": True, "trained_for_tool_use": True},
            }
        ]
    }
).encode()


@dataclass(eq=False)
class Hostile:
    """The server's side: the acts to come by their tags, and how often a tag was asked."""

    url: str = ""
    acts: dict[bytes, Act] = field(default_factory=dict)
    asked: Counter[bytes] = field(default_factory=Counter)
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.open.add(writer)
        try:
            while request := await _read_request(reader):
                if not await self._answer(request, writer):
                    return
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        except asyncio.CancelledError:
            # At the end of a run, while an answer is held back.
            return
        finally:
            self.open.discard(writer)
            writer.close()

    async def _answer(self, request: bytes, writer: asyncio.StreamWriter) -> bool:
        """Answer; return whether the connection goes on."""
        if request.startswith(b"GET "):
            status = "200 OK" if request.startswith(b"GET /api/v1/models ") else "404 Not Found"
            body = _LISTED if status == "200 OK" else b"{}"
            writer.write(head(body, "application/json", status) + body)
            await writer.drain()
            return True
        tags = TAG.findall(request)
        if tags:
            self.asked[tags[0]] += 1
        act = self.acts.get(tags[0]) if tags else None
        if act is None:
            text = b" ".join(tags).decode() or "nobody"
            is_stream = b'"stream":true' in request or b'"stream": true' in request
            body = stream_of(text)[0] if is_stream else one_of(text)[0]
            answer = head(None) + chunked(body, 60) if is_stream else b""
            writer.write(answer or head(body, "application/json") + body)
            await writer.drain()
            return True
        for piece in act.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if act.end == "hold":
            await asyncio.sleep(_HOLD_S)
        elif act.end == "half" and writer.can_write_eof():
            writer.write_eof()
            await asyncio.sleep(0.05)
        elif act.end == "reset":
            writer.transport.abort()
        return act.end == "keep"


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        start = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    if found := _LENGTH.search(start):
        return start + await reader.readexactly(int(found[1]))
    if b"chunked" in start.lower():
        parts = [start]
        while (line := await reader.readuntil(b"\r\n")).strip() != b"0":
            parts.append(await reader.readexactly(int(line, 16)))
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
        return b"".join(parts)
    return start


@asynccontextmanager
async def open_hostile() -> AsyncIterator[Hostile]:
    """Run the server on a free port."""
    hostile = Hostile()
    server = await asyncio.start_server(hostile.serve, "127.0.0.1", 0, limit=2**20)
    hostile.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield hostile
    finally:
        server.close()
        for writer in list(hostile.open):
            writer.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await server.wait_closed()

"""
The floor: uvicorn and aiohttp, bytes copied as they come, nothing parsed and nobody watched.

`python -m conformance.bench.yardsticks.passthrough --upstream URL`
"""

from __future__ import annotations

from typing import Any

import aiohttp

from conformance.bench.yardsticks.serving import serve

_HOP_BY_HOP = (b"host", b"transfer-encoding", b"connection", b"content-length")


class PassThrough:
    """Passes on what it is asked, and the answer piece by piece."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            if self._session is not None:
                await self._session.close()
            return
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
            )
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        headers = {
            name.decode(): value.decode()
            for name, value in scope["headers"]
            if name not in _HOP_BY_HOP
        }
        url = self._upstream + scope["path"]
        async with self._session.request(
            scope["method"], url, data=body or None, headers=headers
        ) as answer:
            await self.give(answer, scope["path"], send)

    async def give(self, answer: aiohttp.ClientResponse, path: str, send: Any) -> None:
        """Send an answer to the client; `path` is that of the request."""
        del path
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [
                    (name.lower(), value)
                    for name, value in answer.raw_headers
                    if name.lower() not in _HOP_BY_HOP or name.lower() == b"content-length"
                ],
            }
        )
        async for piece in answer.content.iter_any():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


if __name__ == "__main__":
    serve("passthrough", PassThrough)

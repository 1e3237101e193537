"""
Requests that the gateway makes of its own application, without a connection.

They pass the same layers as a client's. A page that acts, and an explanation, use them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from .asgi import ASGIApp

NEAR = ("127.0.0.1", 0)
"""The address of a client on this machine."""

_PATH_SAFE = "/%:@!$&'()*+,;=~-._\\"


@dataclass
class Sent:
    """What the client got."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    is_over: bool = False

    def take(self, part: bytes) -> None:
        """Take a part of the body."""
        self.body += part


def own_scope(
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    query: str = "",
    client: tuple[str, int] = NEAR,
) -> dict[str, Any]:
    """Return the ASGI scope of a request; `path` is as a client writes it, percent-encoded."""
    sent = {"host": "127.0.0.1:11434", **headers}
    if body is not None:
        sent.setdefault("content-type", "application/json")
        sent["content-length"] = str(len(body))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": quote(path, safe=_PATH_SAFE).encode("ascii"),
        "query_string": query.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in sent.items()
        ],
        "client": client,
        "server": ("127.0.0.1", 11434),
        "state": {},
        "extensions": {},
    }


async def send_own(
    app: ASGIApp, scope: dict[str, Any], body: bytes | None, leaving: asyncio.Event, sent: Sent
) -> None:
    """Send a request, and have `sent` take its answer; the client leaves once `leaving` is set."""
    pieces = [body or b""]

    async def receive() -> dict[str, Any]:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(), "more_body": False}
        await leaving.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            sent.status = int(message["status"])
            pairs = message.get("headers") or ()
            sent.headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in pairs]
        elif message["type"] == "http.response.body":
            sent.take(message.get("body", b""))
            sent.is_over = not message.get("more_body", False)

    await app(scope, receive, send)

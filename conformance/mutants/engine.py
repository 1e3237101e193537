"""
Broken engines: the sound gateway, with one thing wrong in how its answers leave.

Each is put around the application, so that no part of the gateway has to know of it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
Change = Callable[["Whole"], None]

NDJSON = b"application/x-ndjson"
JSON = b"application/json"


@dataclass
class Whole:
    """A whole answer as it is about to leave."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def is_stream(self) -> bool:
        """Say whether the answer is lines."""
        return self.headers.get(b"content-type", b"").startswith(NDJSON)

    @property
    def lines(self) -> list[bytes]:
        """Return the lines of a stream, each with its end."""
        return self.body.splitlines(keepends=True)


@dataclass(frozen=True)
class EngineMutant:
    """A way to break answers, and the words of which a failure must have one in its place."""

    name: str
    change: Change
    words: tuple[str, ...]

    def around(self, app: AsgiApp) -> AsgiApp:
        """Return the application with its answers broken."""

        async def broken(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            whole = Whole(0, {}, b"")

            async def collect(message: Any) -> None:
                if message["type"] == "http.response.start":
                    whole.status = message["status"]
                    whole.headers = {name.lower(): value for name, value in message["headers"]}
                elif message["type"] == "http.response.body":
                    whole.body += message.get("body", b"")
                    if not message.get("more_body", False):
                        await self._send(whole, send)

            # Without the server's own ways past `send`.
            await app({**scope, "extensions": {}}, receive, collect)

        return broken

    async def _send(self, whole: Whole, send: Any) -> None:
        self.change(whole)
        if b"content-length" in whole.headers:
            whole.headers[b"content-length"] = str(len(whole.body)).encode()
        headers = list(whole.headers.items())
        await send({"type": "http.response.start", "status": whole.status, "headers": headers})
        await send({"type": "http.response.body", "body": whole.body})


def _on_streams(change: Callable[[list[bytes]], list[bytes]]) -> Change:
    def apply(whole: Whole) -> None:
        if whole.is_stream and whole.body:
            whole.body = b"".join(change(whole.lines))

    return apply


def _on_json(change: Callable[[Any], Any]) -> Change:
    def apply(whole: Whole) -> None:
        if whole.headers.get(b"content-type", b"").startswith(JSON) and whole.body:
            value = json.loads(whole.body)
            whole.body = json.dumps(
                change(value), separators=(",", ":"), ensure_ascii=False
            ).encode()

    return apply


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, reverse=True)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _renamed(whole: Whole) -> None:
    if whole.is_stream:
        whole.headers[b"content-type"] = b"text/event-stream"


def _of_text(whole: Whole) -> None:
    if whole.headers.get(b"content-type", b"").startswith(JSON):
        whole.headers[b"content-type"] = b"text/plain"


def _created(whole: Whole) -> None:
    whole.status = {200: 201, 400: 422, 404: 400}.get(whole.status, whole.status)


def _without_frames(lines: list[bytes]) -> list[bytes]:
    return lines[-1:] if b'"done":true' in lines[-1] else lines


ENGINE = (
    EngineMutant("blank line", _on_streams(lambda x: [x[0], b"\n", *x[1:]]), ("line 2", "blank")),
    EngineMutant(
        "missing done",
        _on_streams(lambda x: [one for one in x if b'"done":true' not in one]),
        ("last line", "end of the stream", "end"),
    ),
    EngineMutant("two ends", _on_streams(lambda x: [*x, x[-1]]), ("end", "line")),
    EngineMutant("ends first", _on_streams(lambda x: [x[-1], *x[:-1]]), ("end", "line")),
    EngineMutant("lost frames", _on_streams(_without_frames), ("joined",)),
    EngineMutant("frames backwards", _on_streams(lambda x: [*x[-2::-1], x[-1]]), ("joined",)),
    EngineMutant(
        "no last newline", _on_streams(lambda x: [*x[:-1], x[-1].rstrip()]), ("line", "body")
    ),
    EngineMutant("wrong status", _created, ("status",)),
    EngineMutant("wrong type of a stream", _renamed, ("content-type",)),
    EngineMutant("wrong type of an object", _of_text, ("content-type",)),
    EngineMutant("keys in another order", _on_json(_sorted), ("order of keys",)),
)

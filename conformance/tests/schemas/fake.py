"""
A gateway that is none: it answers two operations by itself, well or with one fault.

It has only the parts with which tests make the suite fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jsonschema import Draft202012Validator

from conformance.schemas.ollama import Document
from conformance.suite.spec import NDJSON

JSON = "application/json; charset=utf-8"
ROUTES = {"/api/chat": "ChatRequest", "/api/embeddings": "EmbeddingRequest"}


@dataclass
class Reply:
    """An answer as it is sent."""

    status: int
    content_type: str
    body: bytes
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def as_json(value: Any, status: int = 200) -> Reply:
    """Return an answer of one value."""
    return Reply(status, JSON, json.dumps(value).encode())


def as_lines(lines: list[bytes]) -> Reply:
    """Return a stream of these lines."""
    return Reply(200, NDJSON, b"\n".join([*lines, b""]))


def frame(**more: Any) -> dict[str, Any]:
    """Return a line of a chat that is not the last, with some keys other than usual."""
    whole = {
        "model": "harbor/lantern-8b",
        "created_at": "2026-01-02T03:04:05Z",
        "message": {"role": "assistant", "content": "Ahoy"},
        "done": False,
    }
    return {**whole, **more}


LAST = frame(done=True, done_reason="stop")


def encode(value: Any) -> bytes:
    """Return a value as a line without its end."""
    return json.dumps(value).encode()


def stream(*frames: Any) -> Reply:
    """Return a stream of frames."""
    return as_lines([encode(one) for one in frames])


def answer_well(path: str, body: Any) -> Reply:
    """Return what a gateway without a fault might say to a valid request."""
    if path == "/api/embeddings":
        return as_json({"embedding": [0.5, 0.25]})
    return as_json(LAST) if body.get("stream") is False else stream(frame(), LAST)


Fault = Callable[[str, Any], Reply]


class FakeGateway:
    """Valid requests are answered by `fault`, all others refused as the spec has it."""

    def __init__(self, document: Document) -> None:
        self.fault: Fault = answer_well
        self.takes_anything = False
        self.refuses_methods = True
        self._validators = {
            path: Draft202012Validator(
                {
                    "$ref": f"#/components/schemas/{component}",
                    "components": document["components"],
                }
            )
            for path, component in ROUTES.items()
        }

    def mend(self) -> None:
        """Be without a fault again."""
        self.fault, self.takes_anything, self.refuses_methods = answer_well, False, True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or the start and the end."""
        if scope["type"] == "lifespan":
            for stage in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{stage}.complete"})
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        reply = self._answer(scope["method"], scope["path"], body)
        headers = [(b"content-type", reply.content_type.encode()), *reply.headers]
        headers.append((b"content-length", str(len(reply.body)).encode()))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def _answer(self, method: str, path: str, body: bytes) -> Reply:
        if path not in ROUTES:
            return Reply(404, "text/plain", b"404 page not found")
        if method != "POST" and self.refuses_methods:
            return Reply(405, "text/plain", b"405 method not allowed", [(b"allow", b"POST")])
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        if not self.takes_anything and not self._validators[path].is_valid(value):
            return as_json({"error": "not what the spec has"}, 400)
        return self.fault(path, value)

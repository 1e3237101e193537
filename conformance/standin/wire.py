"""The manners of an Express server over ASGI: a request as read, a reply as written.

Headers, indentation, event framing and error envelopes (docs/facts/lmstudio.md#headers,
docs/facts/lmstudio.md#indentation, docs/facts/lmstudio.md#error-envelopes), but no contents.
"""

import asyncio
import base64
import hashlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from conformance.standin.options import Options
from conformance.standin.seen import Exchange

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[str, str]]

JSON_TYPE = "application/json; charset=utf-8"


@dataclass
class Request:
    """One request as it came. `json` is the body when that is a JSON object, else None."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes
    json: dict[str, Any] | None = None
    malformed: str | None = None
    fault: str | None = None
    received: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if not self.raw:
            return
        try:
            value = msgspec.json.decode(self.raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.malformed = str(error)
            return
        self.json = value if isinstance(value, dict) else None

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of the body, empty when there is none."""
        return self.json or {}

    @property
    def wants_stream(self) -> bool:
        """Whether a stream of events is asked for."""
        return self.body.get("stream") is True

    @property
    def model(self) -> str:
        """The model asked for, or an empty string."""
        name = self.body.get("model")
        return name if isinstance(name, str) else ""


class Refused(Exception):
    """An answer that is an error, with its whole body. `indent` 0 is compact."""

    def __init__(self, status: int, body: Any, indent: int = 0) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body
        self.indent = indent


class StreamFailed(Exception):
    """An error that ends a stream with an error event; one-shot it has a status.

    `bare` is the envelope of the one-shot answer. With `done` the stream still ends with its mark.
    """

    def __init__(
        self, message: str, status: int = 400, *, bare: bool = True, done: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.bare = bare
        self.done = done


class Sprung(Exception):
    """The trap of a reply sprang: the fault takes over. `body` is a one-shot body not yet sent."""

    def __init__(self, body: bytes | None = None) -> None:
        super().__init__()
        self.body = body


def refusal(
    request: Request,
    message: str,
    status: int = 400,
    *,
    code: str | None = None,
    param: str | None = None,
    bare: bool = False,
) -> Refused:
    """
    Return an error in the envelope and indentation of the request's route
    (docs/facts/lmstudio.md#indentation).
    """
    if bare:
        return Refused(status, {"error": message})
    if request.path.startswith("/api/v1/"):
        native: dict[str, Any] = {"message": message, "type": "invalid_request"}
        if param is not None:
            native["param"] = param
        if code is not None:
            native["code"] = code
        return Refused(status, {"error": native}, 2)
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Refused(status, {"error": error}, 2 if request.path == "/v1/responses" else 4)


def unknown_endpoint(request: Request) -> dict[str, str]:
    """Return the body for a path or method that is not there; its status is 200."""
    return {"error": f"Unexpected endpoint or method. ({request.method} {request.path})"}


def etag_of(body: bytes) -> str:
    """Return a weak tag as Express makes it: length in hex and the start of a SHA-1."""
    digest = base64.b64encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()
    return f'W/"{len(body):x}-{digest[:27]}"'


def encode(value: Any, indent: int) -> bytes:
    """Encode JSON, compact with indent 0."""
    data = msgspec.json.encode(value)
    return msgspec.json.format(data, indent=indent) if indent else data


def encode_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Encode header names and values as ASGI wants them."""
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]


class Reply:
    """The answer to one request. A stream begins with its first event, never earlier.

    `trap` is the number of events after which a fault takes over; None is never. `hold_at` and
    `held` pause a stream after so many events until released. `pause_s` is waited before each event
    but the first, and before a fault.
    """

    def __init__(
        self,
        send: Send,
        transport: asyncio.Transport | None,
        options: Options,
        exchange: Exchange,
        cors: Headers = (),
    ) -> None:
        self.asgi_send = send
        self.transport = transport
        self.options = options
        self.exchange = exchange
        self.cors = cors
        self.started = False
        self.closed_by_us = False
        self.events = 0
        self.trap: int | None = None
        self.hold_at: int | None = None
        self.held: asyncio.Event | None = None
        self.pause_s = 0.0
        self.kept = bytearray()

    async def start(self, status: int, headers: Headers) -> None:
        """Send the head of the answer."""
        self.started = True
        self.exchange.note_start(status)
        await self.asgi_send(
            {"type": "http.response.start", "status": status, "headers": encode_headers(headers)}
        )

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send a part of the body in one write; the last one ends the answer."""
        message = {"type": "http.response.body", "body": data, "more_body": not last}
        await self.asgi_send(message)
        if last:
            self.exchange.note_finished()

    def common_headers(self) -> list[tuple[str, str]]:
        """Return the headers of every answer."""
        if self.options.host_version == "openai":
            return list(self.cors)
        return [("X-Powered-By", "Express"), *self.cors]

    async def body(
        self, data: bytes, status: int = 200, kind: str = JSON_TYPE, *, trapped: bool = True
    ) -> None:
        """Answer at once with a whole body."""
        if trapped and self.trap is not None:
            raise Sprung(data)
        await self.start(status, self.whole_headers(data, kind))
        await self.write(data, last=True)

    def whole_headers(self, data: bytes, kind: str = JSON_TYPE) -> list[tuple[str, str]]:
        """Return the headers of an answer with a whole body."""
        return [
            *self.common_headers(),
            ("Content-Type", kind),
            ("Content-Length", str(len(data))),
            ("ETag", etag_of(data)),
            ("Connection", "keep-alive"),
            ("Keep-Alive", f"timeout={self.options.keep_alive_s}"),
        ]

    async def json(self, value: Any, status: int = 200, indent: int = 2) -> None:
        """
        Answer with JSON; LM Studio indents what succeeds by two
        (docs/facts/lmstudio.md#indentation).
        """
        await self.body(encode(value, indent), status)

    async def start_stream(self) -> None:
        """Send the head of an event stream, once."""
        if not self.started:
            headers = [
                *self.common_headers(),
                ("Content-Type", "text/event-stream"),
                ("Cache-Control", "no-cache"),
                ("Connection", "keep-alive"),
            ]
            await self.start(200, headers)

    async def event(self, data: Any, name: str = "") -> None:
        """Send one event in one write; text goes as it is, anything else as compact JSON."""
        if self.pause_s and self.events:
            await asyncio.sleep(self.pause_s)
        if self.trap is not None and self.events >= self.trap:
            raise Sprung
        if self.held is not None and self.hold_at is not None and self.events >= self.hold_at:
            await self.held.wait()
        await self.send_event(data, name)

    async def send_event(self, data: Any, name: str = "") -> None:
        """Send one event past any trap."""
        text = data.encode() if isinstance(data, str) else msgspec.json.encode(data)
        head = f"event: {name}\n".encode() if name else b""
        self.events += 1
        await self.start_stream()
        await self.write_cut(head + b"data: " + text + b"\n\n")

    async def write_cut(self, data: bytes) -> None:
        """Write a part of a stream, cut as the options say."""
        match self.options.writes:
            case "event":
                await self.write(data)
            case "whole":
                self.kept += data
            case "bytes":
                for place in range(len(data)):
                    await self.write(data[place : place + 1])
                    await asyncio.sleep(0)

    async def flush(self) -> None:
        """Write what was kept back."""
        if self.kept:
            data, self.kept = bytes(self.kept), bytearray()
            await self.write(data)

    async def done(self) -> None:
        """End a stream as the chat route does, with its last mark."""
        await self.event("[DONE]")
        await self.finish()

    async def finish(self) -> None:
        """End a stream."""
        await self.start_stream()
        await self.flush()
        await self.write(b"", last=True)

    async def hang(self) -> None:
        """Send nothing more until the caller leaves."""
        await self.flush()
        await asyncio.Event().wait()

    async def close(self, *, reset: bool = False) -> None:
        """Close the connection where the answer stands, politely or by a reset."""
        await self.flush()
        self.closed_by_us = True
        self.exchange.note_closed()
        if self.transport is not None:
            if reset:
                set_linger(self.transport)
                self.transport.abort()
            else:
                self.transport.close()
        await asyncio.Event().wait()

    async def raw(self, data: bytes) -> None:
        """Write bytes past HTTP and close the connection."""
        if self.transport is not None:
            self.transport.write(data)
        await self.close()


def set_linger(transport: asyncio.Transport) -> None:
    """Make closing a connection a reset, so that the peer learns of it while it still writes."""
    ours = transport.get_extra_info("socket")
    if ours is None:
        return
    twin = socket.socket(fileno=ours.fileno())
    twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    twin.detach()


def read_query(text: str) -> dict[str, str]:
    """Read a query string; the last of equal names counts."""
    return dict(parse_qsl(text, keep_blank_values=True))


def header_map(pairs: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by their lower-case name; equal ones are joined by a comma."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def number(body: Mapping[str, Any], name: str) -> float | None:
    """
    Return a number field; LM Studio also takes numbers written as text
    (docs/facts/lmstudio.md#chat-lenient).
    """
    value = body.get(name)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value

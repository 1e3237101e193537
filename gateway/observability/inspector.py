"""
The last exchanges with their bodies, in memory only, for those who want to know what was said.

It is off unless a setting says how many are kept. Bodies are kept as they pass, up to a number of
bytes. Headers that can hold a key are never kept, and neither is a query string. What is shown has
images as their sizes, and no token.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Any

import msgspec

from ..wire import hops
from .record import Record

MOST_CALLS = 50
"""Calls of LM Studio that are kept of one request; those beyond are counted."""

KEPT_HEADERS = frozenset(
    (
        *("content-type", "content-encoding", "user-agent", "accept", "retry-after"),
        *("x-olgate-warning", "x-olgate-nearest", "x-olgate-hint", "x-powered-by"),
    )
)
"""Headers of either side that are kept: none of them can hold a key."""

_MOST_LETTERS = 256
"""A text of more letters that can only be an encoded one is shown as its size."""
_ENCODED = re.compile(r"(?:data:[\w.+-]+/[\w.+-]+;base64,)?[A-Za-z0-9+/_\r\n-]+={0,2}")
_TOKENS = re.compile(r"\b(?:sk|lm|sk-lm)-[A-Za-z0-9_:-]{12,}|(?i:\bbearer\s+)[\w.~+/=:-]{12,}")
_BY_COMMAND = (hops.HEADER, b"command")
"""The header of requests that a command of `olgate` makes."""
_IMAGE_URL = "data:image/"
_IMAGE_FIELDS = ("images", "image")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Push = Callable[[bytes], bool]


class Pieces:
    """A body as it passes, up to a number of bytes; each piece with its time."""

    __slots__ = ("_began_ns", "_most", "parts", "size")

    def __init__(self, most: int, began_ns: int) -> None:
        """Keep at most so many bytes; times count from `began_ns`, of the monotonic clock."""
        self._most = most
        self._began_ns = began_ns
        self.parts: list[tuple[int, bytes]] = []
        self.size = 0

    def add(self, data: bytes) -> None:
        """Keep a piece, if there is room for all of it."""
        self.size += len(data)
        if data and self.size <= self._most:
            self.parts.append(((perf_counter_ns() - self._began_ns) // 1_000_000, data))

    @property
    def whole(self) -> bytes | None:
        """The whole body; None if it was longer than what is kept."""
        if self.size > self._most:
            return None
        return b"".join(data for _, data in self.parts)


class KeptCall:
    """One request to LM Studio, and its answer."""

    __slots__ = ("fault", "headers", "host", "method", "path", "received", "sent", "status")

    def __init__(self, method: str, target: bytes, host: str, sent: Pieces, most: int) -> None:
        """Begin with the request; `host` is the address that it is sent to."""
        self.method = method
        self.path = target.partition(b"?")[0].decode("latin-1")
        self.host = host
        self.sent = sent
        self.received = Pieces(most, perf_counter_ns())
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.fault: str | None = None

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Note the head of the answer."""
        self.status, self.headers = status, _kept(headers)

    def through(
        self, sink: Callable[[bytes], Awaitable[None] | None]
    ) -> Callable[[bytes], Awaitable[None] | None]:
        """Return a sink that keeps what it passes on."""
        keep = self.received.add

        def take(data: bytes) -> Awaitable[None] | None:
            keep(data)
            return sink(data)

        return take


class KeptExchange:
    """One request of a client: what it sent, what it got, and what LM Studio was asked."""

    __slots__ = (
        *("_most", "answer", "at", "body", "calls", "headers", "id", "method", "path"),
        *("record", "status", "told", "uncounted"),
    )

    def __init__(self, scope: Mapping[str, Any], record: Record, most: int) -> None:
        """Begin with the request's head."""
        self._most = most
        self.record = record
        self.id = record.id
        self.at = datetime.now(UTC)
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers = _kept(scope["headers"])
        self.body = Pieces(most, record.started_ns)
        self.status: int | None = None
        self.told: dict[str, str] = {}
        self.answer = Pieces(most, record.started_ns)
        self.calls: list[KeptCall] = []
        self.uncounted = 0

    def call(self, method: str, target: bytes, host: str, body: object) -> KeptCall:
        """Note a request to LM Studio; a body that is streamed is not kept."""
        sent = Pieces(self._most, self.record.started_ns)
        if isinstance(body, bytes):
            sent.add(body)
        made = KeptCall(method, target, host, sent, self._most)
        if len(self.calls) < MOST_CALLS:
            self.calls.append(made)
        else:
            self.uncounted += 1
        return made


class Inspector:
    """Keeps the last exchanges."""

    def __init__(
        self, requests: int, body_bytes: int, skipped: tuple[str, ...], secrets: Iterable[str] = ()
    ) -> None:
        """
        Keep so many exchanges, and of each body so many bytes.

        Requests of `olgate` itself are not kept, nor are those whose path begins with one of
        `skipped`. `secrets` are never shown.
        """
        self._kept: deque[KeptExchange] = deque(maxlen=requests)
        self._most = body_bytes
        self._skipped = skipped
        self._secrets = [text for text in secrets if text]

    def begin(
        self,
        scope: MutableMapping[str, Any],
        record: Record,
        receive: Receive,
        send: Send,
        extension: str,
    ) -> tuple[Receive, Send]:
        """
        Keep a request from here on; return what its application receives and sends with.

        `extension` is the name under which the scope has the server (`server.asgi.Server`).
        """
        if scope["path"].startswith(self._skipped) or _BY_COMMAND in scope["headers"]:
            return receive, send
        kept = record.kept = KeptExchange(scope, record, self._most)
        self._kept.append(kept)
        extensions = scope.get("extensions") or {}
        if (server := extensions.get(extension)) is not None:
            scope["extensions"] = {**extensions, extension: _Seen(server, kept)}

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                kept.body.add(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept.status = int(message["status"])
                kept.told = _kept(message.get("headers", ()))
            else:
                kept.answer.add(message.get("body", b""))
            await send(message)

        return receiving, sending

    def ids(self) -> frozenset[str]:
        """Return the ids of all exchanges."""
        return frozenset(one.id for one in self._kept)

    def summaries(self) -> list[dict[str, Any]]:
        """Return a line for each exchange, the newest first."""
        return [
            {
                "id": one.id,
                "at": one.at.isoformat(timespec="milliseconds"),
                "method": one.method,
                "path": one.path,
                "status": one.status,
                "model": one.record.model,
                "bytes_in": one.body.size,
                "bytes_out": one.answer.size,
                "calls": len(one.calls) + one.uncounted,
            }
            for one in reversed(self._kept)
        ]

    def find(self, identifier: str) -> dict[str, Any] | None:
        """Return an exchange as it is shown; None if it is not kept, or no longer."""
        found = next((one for one in reversed(self._kept) if one.id == identifier), None)
        if found is None:
            return None
        shown = {
            "id": found.id,
            "at": found.at.isoformat(timespec="milliseconds"),
            "model": found.record.model,
            "client": {
                "method": found.method,
                "path": found.path,
                "headers": found.headers,
                **_request(found.body),
            },
            "answer": _answer(found.status, found.told, found.answer),
            "upstream": {"calls": [_call(one) for one in found.calls]},
        }
        clean: dict[str, Any] = self._cleaned(shown)
        return clean

    def _cleaned(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._secrets:
                value = value.replace(secret, "(secret)")
            return _TOKENS.sub("(token)", value)
        if isinstance(value, dict):
            return {key: self._cleaned(one) for key, one in value.items()}
        return [self._cleaned(one) for one in value] if isinstance(value, list) else value


class _Seen:
    """
    A server whose pieces are kept as they are sent.

    Whole answers and bodies, starts and ends are sent and received as messages, and so kept.
    """

    def __init__(self, server: Any, kept: KeptExchange) -> None:
        self.when_left = server.when_left
        self._server = server
        self._keep = kept.answer.add

    @property
    def push(self) -> Push:
        """What sends a part of an answer and keeps it."""
        push: Push = self._server.push
        keep = self._keep

        def take(part: bytes) -> bool:
            if not push(part):
                return False
            keep(part)
            return True

        return take

    def answer(self, *_: object) -> bool:
        """Leave it to `send`."""
        return False

    def start(self, *_: object, is_last: bool = False) -> bool:
        """Leave it to `send`."""
        return False

    def finish(self, _: bytes) -> bool:
        """Leave it to `send`."""
        return False

    def whole_body(self, _: int) -> None:
        """Leave it to `receive`."""


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    pairs = ((name.decode("latin-1").lower(), value) for name, value in headers)
    return {name: value.decode("latin-1") for name, value in pairs if name in KEPT_HEADERS}


def _request(body: Pieces) -> dict[str, Any]:
    """Return a body as a case has it: as JSON, as text, or as bytes; images as their sizes."""
    whole = body.whole
    if whole is None:
        return {"left_out": f"a body of {body.size:,} bytes, more than inspect.body_bytes"}
    if not whole:
        return {}
    try:
        return {"request": without_images(msgspec.json.decode(whole))}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"raw_body": _text(whole)}


def _call(call: KeptCall) -> dict[str, Any]:
    shown: dict[str, Any] = {"host": call.host, "method": call.method, "path": call.path}
    shown |= _request(call.sent)
    shown["response"] = None
    if call.status is not None:
        shown["response"] = _answer(call.status, call.headers, call.received)
    if call.fault is not None:
        shown["fault"] = call.fault
    return shown


def _answer(status: int | None, headers: dict[str, str], body: Pieces) -> dict[str, Any]:
    shown: dict[str, Any] = {"status": status, "headers": headers}
    if body.whole is None:
        shown["left_out"] = f"{body.size:,} bytes are more than inspect.body_bytes"
    shown["chunks"] = [[ms, _text(data)] for ms, data in body.parts]
    return shown


def _text(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def without_images(value: Any, name: str = "") -> Any:
    """
    Return a JSON value with images, and other long encoded texts, as their sizes.

    >>> without_images({"images": ["aGk="], "content": "hi"})
    {'images': ['(image, 2 bytes)'], 'content': 'hi'}
    """
    if isinstance(value, dict):
        return {key: without_images(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [without_images(one, name) for one in value]
    if isinstance(value, str) and (
        name in _IMAGE_FIELDS
        or value.startswith(_IMAGE_URL)
        or (len(value) > _MOST_LETTERS and _ENCODED.fullmatch(value))
    ):
        encoded = value.rpartition(",")[2]
        size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
        return f"(image, {size:,} bytes)"
    return value

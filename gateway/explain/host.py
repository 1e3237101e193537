"""
The host that an explanation is made against: it lists models, plays loads, and says one answer.

It listens on a free port of this machine, so that the gateway that is watched is the one that
serves, down to the bytes that it writes. It calls nobody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from ..upstream.identity import GREETING
from .asked import Answered
from .models import OPENAI, V0, V1, Models
from .report import Purpose

LOAD, UNLOAD, DOWNLOAD = f"{V1}/load", f"{V1}/unload", f"{V1}/download"
LISTS = (V1, V0, OPENAI)
_JSON = (("content-type", "application/json; charset=utf-8"),)
_REASONS = {200: "OK"}


@dataclass
class Request:
    """One request that the gateway made."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    host: str = ""
    """The name of the host that it was made of, where there are several."""

    @property
    def path(self) -> str:
        """The path without the query."""
        return self.target.partition("?")[0]

    @property
    def purpose(self) -> Purpose:
        """What it is for, as far as the route and the body tell."""
        known: dict[str, Purpose] = {LOAD: "load", UNLOAD: "unload"}
        if self.method == "GET" and self.path in LISTS:
            return "list"
        if self.method == "POST" and self.path in known:
            return known[self.path]
        if self.path.startswith(DOWNLOAD):
            return "download"
        return "warm" if _is_warming(self.body) else "answer"


class Host(Protocol):
    """What an explanation is made against."""

    seen: list[Request]
    reached: asyncio.Event
    """Set when a request came that nothing was given to answer with."""

    @property
    def url(self) -> str:
        """Its address, or that of the first of several."""

    @property
    def urls(self) -> Mapping[str, str]:
        """The addresses by the names in the settings' table of hosts; none without a table."""

    async def __aenter__(self) -> Self:
        """Listen."""

    async def __aexit__(self, *exc: object) -> None:
        """Close."""


@dataclass
class PlayedHost:
    """A host with the models of a list, and with one answer to whatever is asked of a model."""

    models: Models
    answer: Answered | None
    url: str = ""
    seen: list[Request] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    name: str = ""

    def __post_init__(self) -> None:
        self._lists: dict[str, Any] = deepcopy(dict(self.models.lists))
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        """Listen on a free port of 127.0.0.1; `url` says which."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the port and all connections."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while (request := await read_head(reader)) is not None:
                    request.body = await read_body(reader, request.headers)
                    if request.path == GREETING:
                        # Asked in the background, and of no request.
                        await _send(writer, _said({"lmstudio": True}))
                        continue
                    request.host = self.name
                    self.seen.append(request)
                    answer = self._answer(request)
                    if answer is None:
                        self.reached.set()
                        # The gateway is stopped now; it closes the connection.
                        await reader.read()
                        return
                    await _send(writer, answer)
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, request: Request) -> Answered | None:
        method, path = request.method, request.path
        if method == "GET" and path in LISTS:
            if path in self._lists:
                return _said(self._lists[path])
            return _said({"error": f"Unexpected endpoint or method. ({method} {path})"})
        match request.purpose:
            case "load":
                return _said(self._load(_object(request.body)))
            case "unload":
                return _said(self._unload(_object(request.body)))
            case "warm":
                return _said({"model": _object(request.body).get("model"), "choices": []})
        return self.answer

    def _load(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        key = str(wish.get("model"))
        config = {name: value for name, value in wish.items() if name != "model"}
        for row in self._rows():
            if key in (row.get("key"), *(row.get("variants") or ())):
                row["loaded_instances"] = [
                    *(row.get("loaded_instances") or []),
                    {"id": key, "config": {"context_length": 4096, **config}},
                ]
                break
        return {
            "type": "llm",
            "instance_id": key,
            "load_time_seconds": 0.1,
            "status": "loaded",
        }

    def _unload(self, wish: Mapping[str, Any]) -> dict[str, Any]:
        name = wish.get("instance_id")
        for row in self._rows():
            row["loaded_instances"] = [
                one for one in row.get("loaded_instances") or [] if one.get("id") != name
            ]
        return {"instance_id": name}

    def _rows(self) -> list[dict[str, Any]]:
        found = self._lists.get(V1) or {}
        return [row for row in found.get("models") or [] if isinstance(row, dict)]


async def read_head(reader: asyncio.StreamReader) -> Request | None:
    """Return the head of the next request of a connection, None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Request(method, target, headers, b"")


async def read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """Return the body of a request."""
    if "chunked" in headers.get("transfer-encoding", ""):
        whole = b""
        while size := int(await reader.readline(), 16):
            whole += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        return whole
    length = int(headers.get("content-length", "0"))
    return await reader.readexactly(length) if length else b""


async def _send(writer: asyncio.StreamWriter, answer: Answered) -> None:
    dropped = ("content-length", "transfer-encoding", "connection")
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Answer')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers if name.lower() not in dropped]
    lines.append("transfer-encoding: chunked")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace"))
    for piece in answer.pieces:
        if piece:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _said(value: Any) -> Answered:
    return Answered(headers=_JSON, pieces=(json.dumps(value).encode(),))


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_warming(body: bytes) -> bool:
    wish = _object(body)
    return wish.keys() <= {"model", "prompt", "max_tokens", "input"} and (
        wish.get("prompt") == "." or wish.get("input") == "."
    )

"""
Asking a live LM Studio what the fixtures are about, and keeping its answers chunk by chunk.

This module has the requests and sends them. `conformance.live.record` and
`conformance.live.against` use the answers. Every request is small, and none loads, unloads or
downloads anything by itself, though LM Studio may load the model that is asked.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

from conformance.suite.fixture import Chunk

LIMIT_S = 300.0
PATIENT_READ = 65536

TOOL = {
    "type": "function",
    "function": {
        "name": "tide",
        "description": "Say when the tide is high.",
        "parameters": {
            "type": "object",
            "properties": {"harbor": {"type": "string"}},
            "required": ["harbor"],
        },
    },
}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Unreachable(Exception):
    """LM Studio could not be asked; says what was tried and why it failed."""


@dataclass(frozen=True)
class Asked:
    """One request: its name as a fixture, and what is sent."""

    name: str
    method: str
    path: str
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Got:
    """The answer to one request, with its network chunks."""

    asked: Asked
    status: int
    headers: dict[str, str]
    chunks: tuple[Chunk, ...]

    @property
    def body(self) -> bytes:
        """Return all bytes of the answer."""
        return b"".join(data for _, data in self.chunks)


LISTS = (
    Asked("models-v1", "GET", "/api/v1/models"),
    Asked("models-v0", "GET", "/api/v0/models"),
    Asked("models-openai", "GET", "/v1/models"),
)


def list_requests(llm: str | None, embedding: str | None) -> Iterator[Asked]:
    """Yield the requests for these models; what needs a kind that is not there is left out."""
    if llm is not None:
        turn = {"model": llm, "messages": [{"role": "user", "content": "Name a boat."}]}
        short = {"max_tokens": 64, "temperature": 0}
        usage = {"stream": True, "stream_options": {"include_usage": True}}
        form = {"type": "json_schema", "json_schema": {"name": "boat", "schema": SCHEMA}}
        chat = "/v1/chat/completions"
        yield Asked("chat-one-shot", "POST", chat, {**turn, **short})
        yield Asked("chat-stream", "POST", chat, {**turn, **short, **usage})
        yield Asked("chat-stream-no-usage", "POST", chat, {**turn, **short, "stream": True})
        yield Asked("chat-length", "POST", chat, {**turn, **usage, "max_tokens": 1})
        yield Asked("chat-json", "POST", chat, {**turn, **short, **usage, "response_format": form})
        tools = {**usage, "max_tokens": 256, "temperature": 0, "tools": [TOOL]}
        question = [{"role": "user", "content": "When is high tide at Port Quill? Use the tool."}]
        yield Asked("chat-tools", "POST", chat, {**turn, **tools, "messages": question})
        yield Asked("chat-no-messages", "POST", chat, {"model": llm})
        raw = {"model": llm, "prompt": "Boats are", "max_tokens": 8, **usage}
        yield Asked("completions-stream", "POST", "/v1/completions", raw)
    if embedding is not None:
        for name, text in (("one", "tide"), ("several", ["tide", "quay"])):
            body = {"model": embedding, "input": text}
            yield Asked(f"embeddings-{name}", "POST", "/v1/embeddings", body)
        yield Asked("embeddings-no-input", "POST", "/v1/embeddings", {"model": embedding})


def choose_models(lists: list[Got]) -> tuple[str | None, str | None]:
    """Return a chat model and an embedding model from the lists, those that are loaded first."""
    found: dict[bool, list[tuple[bool, str]]] = {False: [], True: []}
    for got in lists:
        for row in read_rows(got):
            key = row.get("key", row.get("id"))
            kind = str(row.get("type", "embedding" if "embed" in str(key) else "llm"))
            loaded = bool(row.get("loaded_instances")) or row.get("state") == "loaded"
            if isinstance(key, str):
                found[kind.startswith("embed")].append((not loaded, key))
    first = {kind: min(rows)[1] if rows else None for kind, rows in found.items()}
    return first[False], first[True]


def read_rows(got: Got) -> list[dict[str, Any]]:
    """Return the models of a list in any of the three forms, none when it is no list."""
    try:
        value = json.loads(got.body)
    except ValueError:
        return []
    rows = value.get("models", value.get("data")) if isinstance(value, dict) else None
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


async def ask_all(
    url: str, token: str | None = None, llm: str | None = None, embedding: str | None = None
) -> list[Got]:
    """Ask for the lists, then everything else; raises `Unreachable` when nobody answers."""
    lists = [await ask_one(url, asked, token) for asked in LISTS]
    one, other = choose_models(lists)
    requests = list_requests(llm or one, embedding or other)
    return lists + [await ask_one(url, asked, token) for asked in requests]


async def ask_one(url: str, asked: Asked, token: str | None = None) -> Got:
    """Send one request on a connection of its own and keep when each chunk of the answer came."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    body = b"" if asked.body is None else json.dumps(asked.body).encode()
    headers = [("Host", f"{host}:{port}"), ("Content-Length", str(len(body)))]
    if asked.body is not None:
        headers.append(("Content-Type", "application/json"))
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    try:
        async with asyncio.timeout(LIMIT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await _exchange(reader, writer, asked, headers, body)
            finally:
                writer.close()
    except TimeoutError:
        raise Unreachable(f"{asked.method} {asked.path}: no answer within {LIMIT_S:g} s") from None
    except (OSError, h11.RemoteProtocolError) as error:
        raise Unreachable(f"{asked.method} {asked.path}: {url} failed: {error}") from None


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    asked: Asked,
    headers: list[tuple[str, str]],
    body: bytes,
) -> Got:
    connection = h11.Connection(h11.CLIENT)
    began = time.monotonic()
    request = h11.Request(method=asked.method, target=asked.path, headers=headers)
    writer.write((connection.send(request) or b"") + (connection.send(h11.Data(data=body)) or b""))
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    head: h11.Response | None = None
    chunks: list[Chunk] = []
    part = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(PATIENT_READ))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            part += bytes(event.data)
            is_chunked = head is not None and (b"transfer-encoding", b"chunked") in head.headers
            if event.chunk_end or not is_chunked:
                chunks.append((int((time.monotonic() - began) * 1000), part))
                part = b""
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            named = {name.decode(): value.decode("latin-1") for name, value in head.headers}
            return Got(asked, head.status_code, named, tuple(chunks))
        elif isinstance(event, h11.ConnectionClosed):
            raise OSError("the connection ended before the answer did")

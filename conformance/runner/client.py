"""
A client that sends exactly what it is told and hides nothing of what comes back.

One request, one connection, any bytes as target and headers. It judges nothing, and knows neither
cases nor routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import h11

from conformance.suite.judge import Answer

LIMIT_S = 60.0


class NoAnswer(Exception):
    """The server could not be reached, or sent no complete response head; says which."""


async def ask(
    base_url: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    limit_s: float = LIMIT_S,
) -> Answer:
    """
    Send one request and read the whole answer.

    `Host`, `Content-Length` and `Content-Type: application/json` are filled in unless given; an
    empty value leaves the header out. Raises `NoAnswer` when there is no response head in time.
    """
    url = urlsplit(base_url)
    host, port = url.hostname or "127.0.0.1", url.port or 80
    given = {name.lower(): (name, value) for name, value in (headers or {}).items()}
    filled: dict[str, tuple[str, str]] = {"host": ("Host", f"{host}:{port}")}
    if body is not None:
        filled["content-type"] = ("Content-Type", "application/json")
    if body is not None or method in {"POST", "PUT", "PATCH"}:
        filled["content-length"] = ("Content-Length", str(len(body or b"")))
    sent = [(name, value) for name, value in {**filled, **given}.values() if value != ""]
    try:
        async with asyncio.timeout(limit_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await _exchange(reader, writer, method, target, sent, body or b"")
            finally:
                writer.close()
    except TimeoutError:
        raise NoAnswer(f"{method} {target}: no answer within {limit_s:g} s") from None
    except OSError as error:
        raise NoAnswer(f"{method} {target}: {base_url} can't be reached: {error}") from None


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    target: str,
    headers: list[tuple[str, str]],
    body: bytes,
) -> Answer:
    connection = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method=method,
        target=target,
        # Encoded here, since a header under test may hold any letter.
        headers=[(name.encode(), value.encode()) for name, value in headers],
    )
    writer.write(connection.send(request) or b"")
    if body:
        writer.write(connection.send(h11.Data(data=body)) or b"")
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
    head: h11.Response | None = None
    parts: list[bytes] = []
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                return _answer(head, parts, cut=False, request=f"{method} {target}")
    except (h11.RemoteProtocolError, ConnectionError):
        return _answer(head, parts, cut=True, request=f"{method} {target}")


def _answer(head: h11.Response | None, parts: list[bytes], *, cut: bool, request: str) -> Answer:
    if head is None:
        raise NoAnswer(f"{request}: the connection ended before a response head")
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers)
    return Answer(status=head.status_code, headers=headers, body=b"".join(parts), cut=cut)

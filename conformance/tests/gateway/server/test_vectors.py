"""
Public vectors of HTTP/1.1, against the server as the gateway runs it and against plain uvicorn.

The server may refuse more than uvicorn does, where that is what Go does; it must not lose a vector
that uvicorn passes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from conformance.tests.gateway.server.vectors import (
    Unavailable,
    Vector,
    parser_vectors,
    server_vectors,
)
from gateway.server.protocol import ClientHttp

AT_A_TIME = 16
LAWFUL = {"invalid/003c"}
"""Vectors that are refused by plain uvicorn only: a method may be any token, as in Go."""
QUIET_S = 0.3
"""A server that has said nothing for this long says nothing more to what it got."""


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with what the application sees of a request."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    seen = {
        "method": scope["method"],
        "target": target.decode("latin-1"),
        "body": body.decode("latin-1"),
    }
    data = json.dumps(seen).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    # HEAD has no body.
    await send({"type": "http.response.body", "body": b"" if seen["method"] == "HEAD" else data})


class Answers:
    """The parser's callbacks: statuses and bodies."""

    def __init__(self) -> None:
        """Begin with none."""
        self.found: list[tuple[int, bytes]] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_headers_complete(self) -> None:
        """Note an answer."""
        self.found.append((self.parser.get_status_code(), b""))

    def on_body(self, body: bytes) -> None:
        """Note its body."""
        status, before = self.found[-1]
        self.found[-1] = (status, before + body)


async def talk(port: int, data: bytes) -> list[tuple[int, bytes]]:
    """Send bytes, and return the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = Answers()
    try:
        writer.write(data)
        while True:
            async with asyncio.timeout(QUIET_S):
                part = await reader.read(2**16)
            if not part:
                break
            answers.parser.feed_data(part)
    except (TimeoutError, OSError, httptools.HttpParserError, httptools.HttpParserUpgrade):
        pass
    finally:
        writer.close()
    return [one for one in answers.found if one[0] >= 200]


def passes(vector: Vector, answers: list[tuple[int, bytes]]) -> bool:
    """Return whether a server treats a vector as its suite says."""
    if not vector.is_valid:
        return not answers or answers[-1][0] != 200
    if vector.body is not None:
        # One message, after which some of them have bytes of another protocol.
        answers = answers[:1]
    if not answers or any(status != 200 for status, _ in answers):
        return False
    if vector.body is None or vector.method == "HEAD":
        return True
    seen = json.loads(answers[0][1])
    return bool(
        seen["method"] == vector.method
        and seen["body"].encode("latin-1") == vector.body
        and (seen["target"] == vector.target or "#" in vector.target or "://" in vector.target)
    )


async def passed(protocol: type[HttpToolsProtocol | ClientHttp], vectors: list[Vector]) -> set[str]:
    """Return the names of the vectors that a server passes."""
    config = uvicorn.Config(
        echo, http=protocol, lifespan="off", ws="none", log_config=None, access_log=False
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    found: set[str] = set()
    waiting = iter(vectors)

    async def work() -> None:
        for vector in waiting:
            if passes(vector, await talk(port, vector.data)):
                found.add(vector.name)

    try:
        await asyncio.gather(*(work() for _ in range(AT_A_TIME)))
    finally:
        server.close()
    return found


@pytest.mark.parametrize(
    ("vectors_of", "least"), [(server_vectors, 90), (parser_vectors, 25)], ids=["server", "parser"]
)
async def test_no_vector_is_lost_that_uvicorn_passes(
    vectors_of: Callable[[], list[Vector]], least: int
) -> None:
    """Of two public suites; how many there are is known, so that none gets lost in reading."""
    try:
        vectors = vectors_of()
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert least <= len(vectors), "vectors that could be read"
    ours = await passed(ClientHttp, vectors)
    plain = await passed(HttpToolsProtocol, vectors)
    print(f"{len(vectors)} vectors: {len(ours)} pass here, {len(plain)} on plain uvicorn")
    assert plain
    assert plain - ours <= LAWFUL, "what plain uvicorn passes and we do not"
    assert len(ours) >= len(plain)

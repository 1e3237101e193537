"""Clients that do not read their answers: whose slot they keep, and for how long."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from conformance.tests.gateway.support import CHAT, LOADED, Pair, chat, open_pair
from gateway.server.protocol import ClientHttp
from gateway.settings.schema import LimitSettings

MUCH = 8 << 20
"""Bytes of an answer that no buffer between the gateway and a client holds."""
PIECE = 1 << 16


def events(size: int) -> list[list[Any]]:
    """Return the chunks of an answer of LM Studio with about so many bytes."""
    told = {"object": "chat.completion.chunk", "model": LOADED, "id": "c", "created": 1}
    piece = {**told, "choices": [{"index": 0, "delta": {"content": "x" * PIECE}}]}
    last = {**told, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    data = [[0, f"data: {json.dumps(piece)}\n\n"]] * (size // PIECE)
    return [*data, [0, f"data: {json.dumps(last)}\n\ndata: [DONE]\n\n"]]


def answering(size: int, end: str = "finish") -> dict[str, Any]:
    """Return a rule for an answer to the next chat."""
    stream = {"content-type": "text/event-stream"}
    return {
        "match": {"path": CHAT},
        "nth": 1,
        "answer": {"chunks": events(size), "headers": stream, "end": end},
    }


def request(path: str, body: Any) -> bytes:
    """Return a request as bytes."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


async def connect(pair: Pair, *, takes_little: bool = True) -> socket.socket:
    """Return a connection; with `takes_little` its system reads ahead as little as it can."""
    stalled = socket.socket()
    if takes_little:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.setblocking(False)
    host, _, port = pair.url.removeprefix("http://").partition(":")
    await asyncio.get_running_loop().sock_connect(stalled, (host, int(port)))
    return stalled


Asking = tuple[str, Callable[[], dict[str, Any]]]
ROUTES: list[Asking] = [
    ("/api/chat", chat),
    ("/v1/chat/completions", lambda: {**chat(), "stream": False}),
]


@pytest.mark.parametrize(("path", "body"), ROUTES, ids=["ollama", "passed on"])
async def test_a_whole_answer_that_nobody_reads_keeps_no_slot(
    path: str, body: Callable[[], dict[str, Any]]
) -> None:
    """The second answer of a connection waits behind one that the client has not read."""
    async with open_pair(parallel=1) as pair:
        await pair.post("/api/chat", chat())
        pair.script(answering(MUCH))
        with await connect(pair) as stalled:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(stalled, request("/api/chat", chat()) + request(path, body()))
            await pair.until_asked(CHAT, 3)
            async with asyncio.timeout(30):
                answer = await pair.post("/api/chat", chat())
    assert 200 == answer.status_code


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_a_client_that_takes_nothing_is_dropped(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LM Studio is told to stop, and the slot goes to the next one."""
    monkeypatch.setattr(ClientHttp, "limits", LimitSettings(write_s=0.4))
    async with open_pair(parallel=1) as pair:
        await pair.post("/api/chat", chat())
        pair.script(answering(MUCH, end="hang"))
        with await connect(pair) as stalled:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(stalled, request(path, chat(stream=True)))
            await pair.until_asked(CHAT, 2)
            async with asyncio.timeout(30):
                answer = await pair.post("/api/chat", chat())
    assert 200 == answer.status_code


async def test_a_client_that_is_slow_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes something now and then, for much longer than the limit."""
    monkeypatch.setattr(ClientHttp, "limits", LimitSettings(write_s=0.2))
    async with open_pair(parallel=1) as pair:
        pair.script(answering(MUCH))
        taken, tail = 0, b""
        with await connect(pair, takes_little=False) as slow:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(slow, request("/api/chat", chat()))
            while not tail.endswith(b"}"):
                part = await loop.sock_recv(slow, PIECE)
                assert part, "it was cut off"
                taken += len(part)
                tail = part[-1:]
                # The pace of a slow client: all of it takes several times the limit.
                await asyncio.sleep(0.005)
    assert taken > MUCH

"""
In which order a wave of requests is served, counted and not timed.

Clients, gateway and upstream run in one event loop, so that nothing depends on the speed of the
machine: what comes before what is decided by the loop's turns alone.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from conformance.bench import standin
from conformance.bench.dialect import request
from conformance.bench.standin import Plan
from conformance.bench.wire import MODEL
from conformance.runner.runner import make_gateway
from conformance.tests.gateway.support import caching, serve

WAVE = 128
AHEAD = 40
"""
The most requests that have begun and have no first token yet: the four of each of some eight turns
of the loop. These are the task, the call that is written, its reading by the upstream, the answer,
its task, and the client's reading.
"""


class Client(asyncio.Protocol):
    """One client of the wave, which notes its first token."""

    def __init__(self, events: list[str]) -> None:
        self._events = events
        self._received = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        had_token = b'"content"' in self._received
        self._received += data
        if not had_token and b'"content"' in self._received:
            self._events.append("token")
        if self._received.endswith(b"0\r\n\r\n") and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, problem: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(problem or ConnectionError("closed early"))


async def serve_a_wave() -> list[str]:
    """Send a wave of chats at once; return what happened, `begun` or `token`, in its order."""
    loop = asyncio.get_running_loop()
    events: list[str] = []
    upstream = await loop.create_server(standin._Connection, "127.0.0.1", 0)
    port = upstream.sockets[0].getsockname()[1]
    app = make_gateway(f"http://127.0.0.1:{port}", caching())

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            events.append("begun")
        await app(scope, receive, send)

    message = request("ollama", "stream", MODEL)
    assert message is not None
    async with upstream, serve(noting) as url:
        here = "127.0.0.1", int(url.rpartition(":")[2])

        async def connect() -> Client:
            _, client = await loop.create_connection(lambda: Client(events), *here)
            return client

        # The first one fetches the list of models, which is not what is looked at.
        first = await connect()
        first.transport.write(message)
        await first.done
        wave = [await connect() for _ in range(WAVE)]
        events.clear()
        for each in wave:
            each.transport.write(message)
        await asyncio.gather(*(each.done for each in wave))
        for each in (first, *wave):
            each.transport.close()
    return events


def test_first_tokens_of_a_wave_are_not_behind_its_requests(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before the k-th first token, no more than a few requests after the k-th have begun."""
    uvloop = pytest.importorskip("uvloop")
    monkeypatch.setattr(standin, "_plan", Plan(tokens=2))
    monkeypatch.setenv("OLGATE_STORE_PATH", str(tmp_path / "store.sqlite"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        events = runner.run(serve_a_wave())

    assert WAVE == events.count("begun") == events.count("token")
    ahead = most = 0
    for event in events:
        ahead += 1 if event == "begun" else -1
        most = max(most, ahead)
    assert AHEAD >= most

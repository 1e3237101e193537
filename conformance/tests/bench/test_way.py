"""
A token's whole way through the gateway, from the callback with its bytes to the client's wire.

Counted as in `test_work`: a task for every token, or a layer more, shows here and is the same on
every machine for one version of Python.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from conformance.bench import wire
from conformance.bench.wire import MODEL
from conformance.bench.work import described
from conformance.tests.bench.test_work import count_calls
from gateway.engine.stream import Frames
from gateway.observability.record import Record
from gateway.plans import chat
from gateway.runtime.context import RequestContext
from gateway.runtime.outcome import StreamCall
from gateway.server.asgi import AsgiClient, Scope
from gateway.server.cycle import Cycle
from gateway.server.flow import Flow
from gateway.settings.schema import Settings
from gateway.types import ollama, openai
from gateway.upstream.answers import open_events
from gateway.upstream.connection import Connection
from gateway.upstream.exchange import Exchange
from gateway.wire.client_api import OLLAMA

CALLS = 17
"""The most calls of Python functions per token, the counter's own and the test's included."""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """A connection that leads nowhere."""

    def __init__(self, written: list[bytes]) -> None:
        super().__init__()
        # A server's transport is C, whose functions are not counted; so are these methods.
        self.write = written.append  # type: ignore[assignment]  # a list's method takes as much
        self.is_closing = False.__bool__  # type: ignore[method-assign]  # and this says no

    def abort(self) -> None:
        """Have nothing to close."""


def token(text: str, *, is_first: bool = False) -> bytes:
    """Return one token as it comes off the wire."""
    return wire.in_http_chunk(wire.event(wire.chunk("chat", text, is_first=is_first)))


async def count_way(sent: list[bytes], count: Callable[[Callable[[], object]], int]) -> int:
    """Open a stream, count what one token of it costs, and leave it."""

    client_wire = Wire(sent)
    scope: Scope = {"http_version": "1.1", "method": "POST"}
    flow = Flow(client_wire, asyncio.get_running_loop(), 0)
    cycle = Cycle(scope, client_wire, flow, [], lambda: None, expects=False, keep_alive=True)
    context = RequestContext(Settings(), "bench")
    context.model = described()
    request = ollama.ChatRequest(model=MODEL)
    plan = StreamCall(
        method="POST",
        path="/",
        body=openai.ChatCompletionRequest(model=MODEL, messages=[]),
        chunks=chat.DECODE_CHAT_COMPLETION_CHUNK,
        pieces=(),
        translator=lambda: chat.ChatStream(request, context),
        fold=chat.ChatFold,
        streamed=True,
    )
    connection = Connection("http://upstream", lambda _: None)
    connection.connection_made(Wire([]))
    asking = asyncio.ensure_future(connection.carry("POST", b"", b"", is_chunked=False))
    await asyncio.sleep(0)
    connection.data_received(HEAD + token("a", is_first=True))
    status, headers, body = await asking
    exchange = Exchange(None, None)
    exchange.take(status, headers, body)
    client = AsgiClient(scope, cycle.receive, cycle.send, Record())
    frames = Frames(plan, context, await open_events(exchange), client, OLLAMA, lambda _: None)
    translating = asyncio.ensure_future(frames.run())
    await asyncio.sleep(0)
    assert sent, "the first token"
    connection.data_received(token("b"))
    next_one = token("c")
    counted = min(count(lambda: connection.data_received(next_one)) for _ in range(20))
    translating.cancel()
    await asyncio.gather(translating, return_exceptions=True)
    return counted


def test_a_token_takes_few_calls_and_no_task() -> None:
    """A token is with the server when the callback that brought it returns, after few calls."""
    sent: list[bytes] = []
    counts: list[int] = []

    def count(work: Callable[[], object]) -> int:
        before = len(sent)
        counted = count_calls(work)
        assert before + 1 == len(sent), "a token waits for something"
        counts.append(counted)
        return counted

    least = asyncio.run(count_way(sent, count))

    assert 22 == len(sent)
    assert CALLS >= least, "every token calls more functions than before"
    assert 0 < least

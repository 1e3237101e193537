"""
A fast LM Studio: `python -m conformance.bench.standin [--port P]`, a process of its own.

Answers from prepared bytes with as little work as Python allows, so that what stands in front of it
is what is measured. How it streams is set over HTTP: `POST /__bench/plan` with a Plan. LM Studio's
behaviour is in `conformance.standin`.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import socket
import sys
import threading
import time
from typing import cast

import httptools
import msgspec

from conformance.bench import loops, wire

PIECE_TOKENS = 200
"""How many tokens of a burst are written at once."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """
    How the next streams are sent.

    With an interval every token is an event, a network chunk and a write of its own, and its text
    is the time at which it is sent; without one, all is written as fast as it is taken. In steps,
    the interval is the least one: a token waits until the one before it has been read, so that no
    two of them are read at once, however slow the reader is (Linux only).
    """

    tokens: int = 200
    interval_s: float = 0.0
    in_steps: bool = False


class _Asked(msgspec.Struct):
    """What matters of a request's body."""

    stream: bool = False
    input: str | list[str] = ""


_plan = Plan()
_read_plan = msgspec.json.Decoder(Plan).decode
_read_asked = msgspec.json.Decoder(_Asked).decode

_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"
_FIRST = {route: wire.stamped_halves(route, is_first=True) for route in ("chat", "completions")}
_NEXT = {route: wire.stamped_halves(route) for route in ("chat", "completions")}


@functools.lru_cache(maxsize=64)
def _end_of_stream(route: wire.Route, tokens: int) -> bytes:
    events = (wire.in_http_chunk(wire.event(each)) for each in wire.ending(route, tokens))
    return b"".join(events) + _LAST_CHUNK


@functools.lru_cache(maxsize=64)
def _burst_piece(route: wire.Route, tokens: int, is_first: bool) -> bytes:
    word = wire.in_http_chunk(wire.event(wire.chunk(route, " word")))
    if not is_first:
        return word * tokens
    first = wire.in_http_chunk(wire.event(wire.chunk(route, " word", is_first=True)))
    return first + word * (tokens - 1)


@functools.lru_cache(maxsize=16)
def _whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    return (
        b"HTTP/1.1 %b\r\ncontent-type: application/json; charset=utf-8\r\n"
        b"content-length: %d\r\n\r\n%b" % (status, len(body), body)
    )


_embeddings = functools.lru_cache(maxsize=16)(wire.embeddings)
_plain_answer = functools.lru_cache(maxsize=16)(wire.plain_answer)
_LISTS = {
    b"/api/v1/models": wire.models_v1(),
    b"/api/v0/models": wire.models_v0(),
    b"/v1/models": wire.models_openai(),
    b"/lmstudio-greeting": b'{"lmstudio":true}',
}
_ROUTES: dict[bytes, wire.Route] = {
    b"/v1/chat/completions": "chat",
    b"/api/v0/chat/completions": "chat",
    b"/v1/completions": "completions",
    b"/api/v0/completions": "completions",
}
_UNKNOWN = b'{"error":"Unexpected endpoint or method."}'


def unread_bytes(transport: asyncio.Transport) -> int:
    """Return how much of what was sent the reader's system holds for it (IPv4, both ends here)."""
    ends = [transport.get_extra_info(end)[1] for end in ("peername", "sockname")]
    ports = [b"%04X" % port for port in ends]
    with open("/proc/net/tcp", "rb") as table:
        for line in table:
            words = line.split()
            if [word[-4:] for word in words[1:3]] == ports:
                return int(words[4].partition(b":")[2], 16)
    return 0


def _set_plan(plan: Plan) -> None:
    global _plan
    _plan = plan


class _Connection(asyncio.Protocol):
    """One connection: requests one after another, streams by timer or as fast as they are taken."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._resume_burst: tuple[wire.Route, int, int] | None = None

    # -- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def connection_lost(self, _problem: Exception | None) -> None:
        self._resume_burst = None
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._resume_burst is not None:
            self._burst(*self._resume_burst)

    # -- what the parser calls

    def on_message_begin(self) -> None:
        self._url = b""
        self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        path = self._url.partition(b"?")[0]
        if (listing := _LISTS.get(path)) is not None:
            self.transport.write(_whole(listing))
        elif (route := _ROUTES.get(path)) is not None:
            if _read_asked(self._body).stream:
                self._stream(route)
            else:
                self.transport.write(_whole(_plain_answer(_plan.tokens)))
        elif path in (b"/v1/embeddings", b"/api/v0/embeddings"):
            texts = _read_asked(self._body).input
            self.transport.write(_whole(_embeddings(1 if isinstance(texts, str) else len(texts))))
        elif path == b"/__bench/plan":
            _set_plan(_read_plan(self._body))
            self.transport.write(_whole(b"{}"))
        elif path == b"/api/v1/models/load":
            self.transport.write(
                _whole(b'{"type":"llm","instance_id":"bench/model","status":"loaded"}')
            )
        else:
            self.transport.write(_whole(_UNKNOWN))

    # -- streams

    def _stream(self, route: wire.Route) -> None:
        plan = _plan
        if not plan.interval_s:
            self.transport.write(_STREAM_HEAD)
            self._burst(route, plan.tokens, plan.tokens)
            return
        before, after = _FIRST[route]
        self.transport.write(_STREAM_HEAD + before + b"%020d" % time.monotonic_ns() + after)
        self._paced(route, plan, 1, self._loop.time())

    def _paced(self, route: wire.Route, plan: Plan, sent: int, started_s: float) -> None:
        if sent == plan.tokens and not plan.in_steps:
            self.transport.write(_end_of_stream(route, plan.tokens))
            return
        due_s = started_s + sent * plan.interval_s
        if plan.in_steps:
            due_s = self._loop.time() + plan.interval_s
        self._timer = self._loop.call_at(due_s, self._tick, route, plan, sent, started_s)

    def _tick(self, route: wire.Route, plan: Plan, sent: int, started_s: float) -> None:
        if plan.in_steps:
            if unread_bytes(self.transport):
                self._paced(route, plan, sent, started_s)
                return
            if sent == plan.tokens:
                self.transport.write(_end_of_stream(route, plan.tokens))
                return
        before, after = _NEXT[route]
        self.transport.write(before + b"%020d" % time.monotonic_ns() + after)
        self._paced(route, plan, sent + 1, started_s)

    def _burst(self, route: wire.Route, tokens: int, left: int) -> None:
        self._resume_burst = None
        while left and not self._is_paused:
            size = min(left, PIECE_TOKENS)
            piece = _burst_piece(route, size, left == tokens)
            left -= size
            self.transport.write(piece if left else piece + _end_of_stream(route, tokens))
        if left:
            self._resume_burst = (route, tokens, left)


async def _serve(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, sock=listener, backlog=2048)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    ended = asyncio.Event()

    def wait_for_parent() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    await ended.wait()
    server.close()


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m conformance.bench.standin")
    parser.add_argument("--port", type=int, default=0)
    port: int = parser.parse_args().port
    loops.allow_open_files()
    loops.run(_serve(port))


if __name__ == "__main__":
    main()

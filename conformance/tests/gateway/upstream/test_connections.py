"""Connections: used again only when alive, left at once, read no faster than asked."""

import asyncio
import gzip
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import suppress

import httpx
import pytest

from conformance.tests.gateway.upstream.servers import Call, Connect, Serve
from gateway.faults import UpstreamFailure
from gateway.upstream import body as body_module
from gateway.upstream import exchange as exchange_module
from gateway.upstream.client import Upstream
from gateway.upstream.httpx_transport import HttpxTransport
from gateway.upstream.pool import ConnectionPool
from gateway.upstream.sse import Event

PATH = "/v1/chat/completions"
EVENT = b'data: {"choices":[]}\n\n'


class Flood:
    """A server's answer of many events, sent as fast as the reader takes them."""

    def __init__(self, total: int) -> None:
        """Send `total` bytes of data."""
        self.total = total
        self.sent = 0

    async def handle(self, call: Call) -> None:
        """Answer."""
        await call.start_events()
        while self.sent < self.total:
            await call.send_chunks(b"data: " + b"x" * 65536 + b"\n\n")
            self.sent += 65536
        await call.finish()


class IdleCloser:
    """A server in a thread that answers once and hangs up on its idle connection when told."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.requests = 0
        self.may_close = threading.Event()
        self.has_closed = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    self.answer(connection)
                    self.may_close.wait()
                self.has_closed.set()

    def answer(self, connection: socket.socket) -> None:
        got = b""
        while b"\r\n\r\n" not in got:
            got += connection.recv(65536)
        self.requests += 1
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.fixture
def idle_closer() -> Iterator[IdleCloser]:
    server = IdleCloser()
    yield server
    server.may_close.set()
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()
    server.thread.join()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_stale_connection_is_replaced(
    idle_closer: IdleCloser, connect: Connect, method: str
) -> None:
    """A hang-up not yet noticed costs no request, not even one that must not be repeated."""
    upstream = connect(idle_closer.url)
    await upstream.fetch(method, "/x", None)
    idle_closer.may_close.set()
    idle_closer.has_closed.wait()  # blocks the loop, so that the hang-up stays unnoticed

    assert b"{}" == await upstream.fetch(method, "/x", None)
    assert 2 == idle_closer.requests


async def hang_up_on_the_second(serve: Serve) -> tuple[str, list[bytes]]:
    """Start a server that takes the second request on its first connection and hangs up."""
    seen: list[bytes] = []

    async def handle(call: Call) -> None:
        seen.append(call.request_line)
        if len(seen) == 2:
            await call.read_body()
            call.cut()
        else:
            await call.answer(b"{}")

    return (await serve(handle)).url, seen


async def test_a_get_lost_on_a_used_connection_is_repeated_once(
    serve: Serve, connect: Connect
) -> None:
    """A GET that crossed with the hang-up of an idle connection is sent once more."""
    url, seen = await hang_up_on_the_second(serve)
    upstream = connect(url)
    await upstream.fetch("GET", "/1")

    assert b"{}" == await upstream.fetch("GET", "/2")
    assert [b"GET /1 HTTP/1.1", b"GET /2 HTTP/1.1", b"GET /2 HTTP/1.1"] == seen


async def test_a_post_lost_on_a_used_connection_is_not(serve: Serve, connect: Connect) -> None:
    """A POST that the server took before it hung up may have been run: it is sent once."""
    url, seen = await hang_up_on_the_second(serve)
    upstream = connect(url)
    await upstream.fetch("GET", "/1")
    with pytest.raises(UpstreamFailure) as caught:
        await upstream.fetch("POST", "/2", b"{}")

    assert ("closed_before_headers", False) == (caught.value.fault, caught.value.repeatable)
    assert [b"GET /1 HTTP/1.1", b"POST /2 HTTP/1.1"] == seen


async def test_repeats_are_bounded(serve: Serve, connect: Connect) -> None:
    """A GET that fails again after its repeat is given up."""
    seen: list[bytes] = []

    async def handle(call: Call) -> None:
        seen.append(call.request_line)
        if len(seen) > 1:
            call.cut()
        else:
            await call.answer(b"{}")

    upstream = connect((await serve(handle)).url)
    await upstream.fetch("GET", "/")
    with pytest.raises(UpstreamFailure):
        await upstream.fetch("GET", "/")

    assert 3 == len(seen)


# Leaving


async def enter(upstream: Upstream, entered: asyncio.Event) -> None:
    async with upstream.stream("POST", PATH, b"{}") as stream:
        await stream.each(lambda _: entered.set())


async def test_cancelling_before_headers(serve: Serve, connect: Connect) -> None:
    """Cancelling while the server is silent closes its connection."""

    async def handle(call: Call) -> None:
        await call.wait_for_hang_up()

    server = await serve(handle)
    task = asyncio.create_task(enter(connect(server.url), asyncio.Event()))
    await server.has_call.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await server.client_left.wait()


async def test_cancelling_mid_stream(serve: Serve, connect: Connect) -> None:
    """Cancelling while waiting for the next event closes the server's connection."""

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await call.wait_for_hang_up()

    server = await serve(handle)
    entered = asyncio.Event()
    task = asyncio.create_task(enter(connect(server.url), entered))
    await entered.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await server.client_left.wait()


async def test_cancelling_an_upload(serve: Serve, connect: Connect) -> None:
    """Cancelling while the server does not read drops what is left to send, and closes."""
    may_read = asyncio.Event()
    received = 0

    async def handle(call: Call) -> None:
        nonlocal received
        await may_read.wait()
        with suppress(ConnectionError):
            while got := await call.reader.read(65536):
                received += len(got)

    server = await serve(handle)
    body = b"x" * (64 * 1024 * 1024)
    task = asyncio.create_task(connect(server.url).fetch("POST", PATH, body))
    await server.has_call.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_read.set()
    await server.client_left.wait()

    assert received < len(body) / 2


async def test_closing_everything_tells_who_waits(serve: Serve, connect: Connect) -> None:
    """A request under way when all connections are closed ends with a fault, and at once."""

    async def handle(call: Call) -> None:
        if b"later" in call.request_line:
            await call.start_events()
        await call.wait_for_hang_up()

    server = await serve(handle)
    upstream = connect(server.url)
    for path, fault in (("/never", "closed_before_headers"), ("/later", "closed_mid_stream")):
        server.has_call.clear()
        waiting = asyncio.create_task(upstream.fetch("POST", path, b"{}"))
        await server.has_call.wait()
        await asyncio.sleep(0.05)
        await upstream.aclose()
        with pytest.raises(UpstreamFailure) as caught:
            await waiting

        assert fault == caught.value.fault


@pytest.mark.parametrize("is_too_long", [False, True])
async def test_an_answer_of_many_reads(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch, is_too_long: bool
) -> None:
    """It is returned as it was received, up to a limit; the next one is not hurt by it."""
    long = b'["%b"]' % (bytes(range(97, 123)) * 40_000)
    monkeypatch.setattr(exchange_module, "MAX_ANSWER_BYTES", len(long) - is_too_long)

    async def handle(call: Call) -> None:
        await call.answer(b"{}" if b"short" in call.request_line else long)

    upstream = connect((await serve(handle)).url)
    if is_too_long:
        with pytest.raises(UpstreamFailure, match="longer than") as caught:
            await upstream.fetch("POST", PATH, b"{}")

        assert "not_json" == caught.value.fault
    else:
        pieces = await upstream.fetch_unchecked("POST", PATH, b"{}")

        assert len(pieces) > 1
        assert long == b"".join(pieces)
    assert b"{}" == await upstream.fetch("POST", "/short", b"{}")


async def test_leaving_early(serve: Serve, connect: Connect) -> None:
    """Leaving the context closes the connection of an answer not read to its end."""

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await call.wait_for_hang_up()

    server = await serve(handle)
    upstream = connect(server.url, max_connections=1)
    for _ in range(2):
        server.client_left.clear()
        async with upstream.stream("POST", PATH, b"{}"):
            pass
        await server.client_left.wait()

    assert 2 == server.connections


async def test_reads_only_when_asked(serve: Serve, connect: Connect) -> None:
    """A reader that stops holds the server back: what is sent ahead is bounded."""
    flood = Flood(64 * 1024 * 1024)
    upstream = connect((await serve(flood.handle)).url)
    received = 0

    def take(events: list[Event]) -> None:
        nonlocal received
        received += sum(len(event.data) for event in events)

    async with upstream.stream("POST", PATH, b"{}") as stream:
        for _ in range(2000):
            await asyncio.sleep(0)
        held_at = flood.sent
        await stream.each(take)

    assert held_at < flood.total / 2
    assert flood.total == received


async def test_a_slow_taker_holds_the_server_back(serve: Serve, connect: Connect) -> None:
    """What a taker waits for is waited for before it gets more, and nothing is lost meanwhile."""
    flood = Flood(32 * 1024 * 1024)
    is_free = asyncio.Event()
    has_taken = asyncio.Event()
    upstream = connect((await serve(flood.handle)).url)
    received = 0

    async def wait() -> None:
        await is_free.wait()

    def take(events: list[Event]) -> Awaitable[None] | None:
        nonlocal received
        received += sum(len(event.data) for event in events)
        if received > flood.total / 4 and not has_taken.is_set():
            has_taken.set()
            return wait()
        return None

    async def read() -> None:
        async with upstream.stream("POST", PATH, b"{}") as stream:
            await stream.each(take)

    reading = asyncio.create_task(read())
    await has_taken.wait()
    for _ in range(2000):
        await asyncio.sleep(0)
    held = (received, flood.sent)
    is_free.set()
    await reading

    assert held[0] < flood.total / 2
    assert held[1] < flood.total * 3 / 4
    assert flood.total == received


class Refused(Exception):
    """What a taker raises."""


async def test_connections_change_hands_at_once(serve: Serve, connect: Connect) -> None:
    """A connection may be another's before who used it last has looked at what came for it."""

    async def handle(call: Call) -> None:
        await call.answer(call.request_line.split(b" ")[1].replace(b"/", b""))

    server = await serve(handle)
    upstream = connect(server.url)

    async def ask(worker: int) -> list[bytes]:
        return [await upstream.fetch("GET", f"/{worker}{number:03}") for number in range(100)]

    got = await asyncio.gather(*(ask(worker) for worker in range(1, 5)))

    assert [[b"%d%03d" % (w, n) for n in range(100)] for w in range(1, 5)] == got
    assert server.connections <= 4


async def test_who_leaves_late_cuts_nobody_off(serve: Serve, connect: Connect) -> None:
    """Leaving when the answer is there, and not yet looked at, does no harm to who is next."""

    async def handle(call: Call) -> None:
        await call.answer(b"1")

    server = await serve(handle)
    upstream = connect(server.url)
    await upstream.fetch("GET", "/")
    late: set[asyncio.Task[bytes]] = set()

    async def ask() -> None:
        for _ in range(100):
            late.add(asyncio.create_task(upstream.fetch("GET", "/late")))
            assert b"1" == await upstream.fetch("GET", "/")
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            late.clear()

    await ask()


async def test_what_a_taker_raises_comes_out(serve: Serve, connect: Connect) -> None:
    """A taker that fails ends the reading with its own error, and the connection is closed."""
    may_go_on = asyncio.Event()

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await may_go_on.wait()
        await call.send_chunks(EVENT)
        await call.wait_for_hang_up()

    def take(events: list[Event]) -> None:
        if may_go_on.is_set():
            raise Refused
        may_go_on.set()

    server = await serve(handle)
    with pytest.raises(Refused):
        async with connect(server.url).stream("POST", PATH, b"{}") as stream:
            await stream.each(take)
    await server.client_left.wait()


async def stop_at_the_second(upstream: Upstream, seen: asyncio.Event) -> None:
    """Read until the second event, and take no more then."""
    async with upstream.stream("POST", PATH, b"{}") as stream:

        def take(events: list[Event]) -> None:
            if seen.is_set():
                stream.stop()
            seen.set()

        await stream.each(take)


async def test_an_end_that_comes_late_keeps_the_connection(serve: Serve, connect: Connect) -> None:
    """A stream left at its last event gives its connection back when its end comes after that."""
    seen, has_left = asyncio.Event(), asyncio.Event()

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await seen.wait()
        await call.send_chunks(EVENT)
        await has_left.wait()
        await call.finish()

    server = await serve(handle)
    upstream = connect(server.url, max_connections=1)
    await stop_at_the_second(upstream, seen)
    has_left.set()
    await stop_at_the_second(upstream, seen)

    assert (1, 2) == (server.connections, len(server.calls))


async def test_an_end_that_never_comes_is_not_waited_for(
    serve: Serve, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream left at its last event is cut when its end does not come, and its slot is free."""
    monkeypatch.setattr(body_module, "LAST_BYTES_S", 0.01)
    seen = asyncio.Event()

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await seen.wait()
        await call.send_chunks(EVENT)
        await call.wait_for_hang_up()

    server = await serve(handle)
    upstream = connect(server.url, max_connections=1)
    for _ in range(2):
        seen.clear()
        await stop_at_the_second(upstream, seen)
        await server.client_left.wait()
        server.client_left.clear()

    assert 2 == server.connections


async def test_interim_answers_are_passed_over(serve: Serve, connect: Connect) -> None:
    """What comes before the answer, as 100 or 103, is none of it, its headers included."""

    async def handle(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
        )
        await call.answer(b"{}")

    status, headers, body = await forward(connect((await serve(handle)).url), body=b"{}")

    assert (200, b"{}") == (status, body)
    assert [b"content-type", b"content-length"] == [name for name, _ in headers]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_answers_without_a_body_end_at_once(
    serve: Serve, connect: Connect, head: bytes
) -> None:
    """A status that has no body, and a length of none, end the answer; the connection is kept."""

    async def handle(call: Call) -> None:
        await call.read_body()
        await call.send(head)

    server = await serve(handle)
    upstream = connect(server.url)
    answers = [await forward(upstream, body=b"{}") for _ in range(2)]

    assert [b"", b""] == [body for _, _, body in answers]
    assert 1 == server.connections


async def test_a_body_may_end_with_the_connection(serve: Serve, connect: Connect) -> None:
    """A body of neither length nor chunks ends when the connection does, and that is no loss."""

    async def handle(call: Call) -> None:
        await call.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nabc", b"def")
        call.cut()

    assert b"abcdef" == (await forward(connect((await serve(handle)).url), body=b"{}"))[2]


async def test_bytes_that_nobody_asked_for(serve: Serve, connect: Connect) -> None:
    """What comes after an answer's end belongs to no answer: the connection is not used again."""

    async def handle(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n")

    server = await serve(handle)
    upstream = connect(server.url)
    answers = [await forward(upstream, body=b"{}") for _ in range(2)]

    assert [b"{}", b"{}"] == [body for _, _, body in answers]
    assert 2 == server.connections


async def test_a_head_without_end_is_refused(serve: Serve, connect: Connect) -> None:
    """A head that only grows is no answer, whatever its lines look like; the connection is cut."""

    async def handle(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await call.send(b"X-More: " + b"x" * 1000 + b"\r\n")

    server = await serve(handle)
    with pytest.raises(UpstreamFailure) as caught:
        await forward(connect(server.url), body=b"{}")
    await server.client_left.wait()

    assert "bad_http" == caught.value.fault


async def test_an_idle_connection_is_not_kept_for_ever(serve: Serve, connect: Connect) -> None:
    """A connection that nobody uses is closed in time, before LM Studio closes it."""

    async def handle(call: Call) -> None:
        await call.answer(b"{}")

    server = await serve(handle)
    await connect(server.url, idle_connection_s=0.01).fetch("GET", "/")

    await server.client_left.wait()


@pytest.mark.parametrize("name", ["x-mine: 1\r\nx-yours", "x-\0mine"])
async def test_a_header_can_t_become_two(connect: Connect, name: str) -> None:
    """A line break that would make another header, or another request, is refused."""
    with pytest.raises(UpstreamFailure) as caught:
        await forward(connect("http://127.0.0.1:9"), headers=[(name.encode(), b"2")])

    assert "write" == caught.value.fault


# Passing through


async def forward(
    upstream: Upstream,
    method: str = "POST",
    target: str = "/v1/x",
    headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes | AsyncIterator[bytes] | None = None,
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    async with upstream.forward(method, target, headers or [], body) as answer:
        return answer.status, answer.headers, b"".join([x async for x in answer.chunks()])


async def test_forwards_what_belongs_to_both_ends(serve: Serve, connect: Connect) -> None:
    """End-to-end headers pass; the connection's, the host's and the credentials stay behind."""
    seen: list[bytes] = []

    async def handle(call: Call) -> None:
        seen.append(call.head)
        await call.answer(await call.read_body())

    server = await serve(handle)
    headers = [
        (b"host", b"gateway:11434"),
        (b"authorization", b"Bearer client"),
        (b"x-api-key", b"client"),
        (b"cookie", b"a=b"),
        (b"connection", b"keep-alive, X-Mine"),
        (b"x-mine", b"1"),
        (b"te", b"trailers"),
        (b"upgrade", b"h2c"),
        (b"expect", b"100-continue"),
        (b"transfer-encoding", b"chunked"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip"),
        (b"x-twice", b"1"),
        (b"x-twice", b"caf\xc3\xa9"),
        (b"x-olgate-via", b"another"),
    ]
    upstream = connect(server.url, token="t0")
    answer = await forward(upstream, headers=headers, body=b"[1]")

    assert b"[1]" == answer[2]
    lines = seen[0].rstrip(b"\r\n").split(b"\r\n")
    assert b"POST /v1/x HTTP/1.1" == lines[0]
    assert sorted(line.lower() for line in lines[1:]) == sorted(
        [
            b"host: " + server.url.removeprefix("http://").encode(),
            b"authorization: bearer t0",
            b"accept: */*",
            b"accept-encoding: identity",
            b"x-twice: 1",
            b"x-twice: caf\xc3\xa9",
            b"x-olgate-via: another",
            b"x-olgate-via: " + upstream.name.encode(),
            b"content-length: 3",
        ]
    )


async def test_the_client_s_key_stays_behind_without_a_token(
    serve: Serve, connect: Connect
) -> None:
    """Without a token of the gateway's own no credentials are sent at all."""
    seen: list[dict[bytes, bytes]] = []

    async def handle(call: Call) -> None:
        seen.append(call.headers)
        await call.answer(b"")

    upstream = connect((await serve(handle)).url)
    await forward(upstream, "GET", headers=[(b"Authorization", b"Bearer client")])

    assert [b"host", b"accept-encoding", b"x-olgate-via"] == list(seen[0])


@pytest.mark.parametrize(
    "target",
    ["/v1/models/a%2Fb%41%c3", "/v1/../x/./y", "//x//", "/x?a=%20b+c&d", "/x?a=b?c", "/x;y=z@!$"],
)
async def test_the_target_is_not_touched(serve: Serve, connect: Connect, target: str) -> None:
    """Path and query are sent as the client wrote them."""

    async def handle(call: Call) -> None:
        await call.answer(call.request_line.split(b" ")[1])

    upstream = connect((await serve(handle)).url)

    assert target.encode() == (await forward(upstream, "GET", target))[2]


async def test_the_answer_is_not_touched(serve: Serve, connect: Connect) -> None:
    """Status, end-to-end headers and bytes arrive as sent, redirects included."""

    async def handle(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 302 Found\r\nContent-Language: de\r\nLocation: /y\r\nSet-Cookie: a=1\r\n"
            b"Set-Cookie: b=2\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\n"
            b'Keep-Alive: timeout=5\r\nETag: W/"1"\r\nTransfer-Encoding: chunked\r\n\r\n'
        )
        await call.send_chunks(b"\x1f\x8b no", b" text")
        await call.finish()

    status, headers, body = await forward(connect((await serve(handle)).url), "GET")

    assert (302, b"\x1f\x8b no text") == (status, body)
    assert headers == [
        (b"content-language", b"de"),
        (b"location", b"/y"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"etag", b'W/"1"'),
    ]


async def test_a_packed_answer_is_unpacked(serve: Serve, connect: Connect) -> None:
    """A proxy in front of LM Studio may pack what nobody asked it to, cut anywhere."""
    packed = gzip.compress(b"high water ") + gzip.compress(b"at noon")

    async def handle(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await call.send_chunks(*(packed[at : at + 1] for at in range(len(packed))))
        await call.finish()

    answer = await forward(connect((await serve(handle)).url), "GET")

    assert (200, [], b"high water at noon") == answer


@pytest.mark.parametrize(
    ("encoding", "body", "fault"),
    [
        (b"gzip", gzip.compress(b"fog")[:-4], "closed_mid_stream"),
        (b"gzip", b"fog", "bad_http"),
        (b"br", b"fog", "bad_http"),
        (b"gzip", gzip.compress(bytes(80_000_000), 1), "bad_http"),
    ],
    ids=["cut", "not packed", "unknown", "bomb"],
)
async def test_an_answer_that_cannot_be_unpacked(
    serve: Serve, connect: Connect, encoding: bytes, body: bytes, fault: str
) -> None:
    """It is a failure of the host, and never half a text."""

    async def handle(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b"
            % (encoding, len(body), body)
        )

    with pytest.raises(UpstreamFailure) as failure:
        await forward(connect((await serve(handle)).url), "GET")

    assert fault == failure.value.fault


async def test_errors_are_answers_too(serve: Serve, connect: Connect) -> None:
    """A status of 400 and above, and a 200 that holds an error, pass as they are."""
    body = b'{"error":"Unexpected endpoint or method. (POST /v1/x)"}'

    async def handle(call: Call) -> None:
        await call.answer(body, b"418 Teapot")

    status, headers, got = await forward(connect((await serve(handle)).url), body=b"")

    assert (418, body) == (status, got)
    assert (b"content-length", b"%d" % len(body)) in headers


async def test_a_head_has_its_length_and_no_body(serve: Serve, connect: Connect) -> None:
    """The answer to HEAD keeps the length of the body that it does not have."""

    async def handle(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")

    answer = await forward(connect((await serve(handle)).url), "HEAD")

    assert (200, [(b"content-length", b"5")], b"") == answer


async def source(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_streamed_body(serve: Serve, connect: Connect) -> None:
    """A streamed body keeps the length its sender gave, and is chunked without one."""
    seen: list[tuple[bytes | None, bytes]] = []

    async def handle(call: Call) -> None:
        length = call.headers.get(b"content-length")
        end = b"0\r\n\r\n" if length is None else b"def"
        seen.append((length, await call.reader.readuntil(end)))
        call.body = b""
        await call.answer(b"{}")

    upstream = connect((await serve(handle)).url)
    await forward(upstream, body=source(b"abc", b"def"), headers=[(b"content-length", b"6")])
    await forward(upstream, body=source(b"abc", b"def"))

    assert [(b"6", b"abcdef"), (None, b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")] == seen


async def test_a_slow_sender_is_not_the_server_s_silence(serve: Serve, connect: Connect) -> None:
    """An upload longer than the first-byte limit is fine while its own gaps are shorter."""
    count, gap_s = 12, 0.05

    async def send_slowly() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x"
            await asyncio.sleep(gap_s)

    async def handle(call: Call) -> None:
        await call.answer(await call.read_body())

    upstream = connect((await serve(handle)).url, first_byte_timeout_s=10 * gap_s)
    headers = [(b"content-length", b"%d" % count)]

    assert b"x" * count == (await forward(upstream, headers=headers, body=send_slowly()))[2]


class SenderLeft(Exception):
    """What a streamed body's source raises."""


async def test_a_source_that_fails(serve: Serve, connect: Connect) -> None:
    """What a streamed body's source raises comes out as it is, and the connection is closed."""

    async def leave() -> AsyncIterator[bytes]:
        yield b"abc"
        raise SenderLeft

    async def handle(call: Call) -> None:
        await call.wait_for_hang_up()

    server = await serve(handle)
    with pytest.raises(SenderLeft):
        await forward(connect(server.url), body=leave())
    await server.client_left.wait()


async def test_forwarded_faults_are_named(serve: Serve, connect: Connect) -> None:
    """Faults before and within a forwarded answer are those of every other call."""

    async def handle(call: Call) -> None:
        if call.request_line.startswith(b"GET"):
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        call.cut()

    upstream = connect((await serve(handle)).url)
    for method, fault in (("GET", "closed_mid_stream"), ("DELETE", "closed_before_headers")):
        with pytest.raises(UpstreamFailure) as caught:
            await forward(upstream, method)

        assert (fault, False) == (caught.value.fault, caught.value.repeatable)


async def test_forwarded_answers_keep_the_limits(serve: Serve, connect: Connect) -> None:
    """A forwarded answer that starts and stops, or never starts, is ended by the limits."""

    async def handle(call: Call) -> None:
        await call.start_events()
        if b"later" in call.request_line:
            await call.send_chunks(EVENT)
        await call.wait_for_hang_up()

    server = await serve(handle)
    limits = {"first_byte_timeout_s": 0.05, "silence_timeout_s": 0.05}
    upstream = connect(server.url, **limits)
    for target, fault in (("/never", "first_byte_timeout"), ("/later", "silence_timeout")):
        async with upstream.forward("GET", target, [], None) as answer:
            assert 200 == answer.status
            with pytest.raises(UpstreamFailure) as caught:
                [chunk async for chunk in answer.chunks()]

        assert fault == caught.value.fault


async def test_httpx_can_use_the_transport(serve: Serve) -> None:
    """A client of httpx's gets its answers over it, bodies both whole and in pieces."""

    async def handle(call: Call) -> None:
        if b"transfer-encoding" in call.headers:
            call.body = await call.reader.readuntil(b"0\r\n\r\n")
        await call.answer(await call.read_body())

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    server = await serve(handle)
    async with httpx.AsyncClient(transport=HttpxTransport(ConnectionPool())) as client:
        whole = await client.post(f"{server.url}/a?b=c", content=b"one two")
        parts = await client.put(f"{server.url}/", content=pieces())

    assert (200, b"one two") == (whole.status_code, whole.content)
    assert b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n" == parts.content
    assert [b"POST /a?b=c HTTP/1.1", b"PUT / HTTP/1.1"] == server.calls
    assert 1 == server.connections


async def test_httpx_is_told_of_faults_as_its_callers_expect(serve: Serve) -> None:
    """A refused connection, a cut answer and a full pool are httpx's own errors."""

    async def handle(call: Call) -> None:
        if b"/cut" in call.request_line:
            call.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        elif b"/slow" in call.request_line:
            await asyncio.Event().wait()
        call.writer.close()

    server = await serve(handle)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused = f"http://127.0.0.1:{free.getsockname()[1]}/"
        pool = ConnectionPool(max_connections=1)
        async with httpx.AsyncClient(transport=HttpxTransport(pool)) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(unused)
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"{server.url}/cut")
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"{server.url}/gone")
            server.has_call.clear()
            slow = asyncio.ensure_future(client.get(f"{server.url}/slow", timeout=None))
            await server.has_call.wait()
            with pytest.raises(httpx.PoolTimeout):
                await client.get(server.url, timeout=httpx.Timeout(None, pool=0.01))
            slow.cancel()
            await asyncio.gather(slow, return_exceptions=True)

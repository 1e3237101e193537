"""How an answer reaches the wire: in how few writes, and what becomes of what waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from gateway.observability.record import Record
from gateway.server.asgi import AsgiClient
from gateway.server.protocol import QUEUED_REQUESTS, ClientHttp
from gateway.settings.schema import LimitSettings

GET = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nhost: here\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
END = b"0\r\n\r\n"

NO_LIMITS = LimitSettings(header_s=0, body_s=0)
CHUNKED = b"POST / HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"

PATIENCE_S = 10
"""After this time a test that waits for what does not come fails, instead of hanging."""

Answer = Callable[[AsgiClient, Any], Awaitable[None]]


class Wire(asyncio.Transport):
    """A client's connection that keeps every write as one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.part_sizes: list[list[int]] = []
        """The sizes of the parts of each write that came in parts."""
        self.is_closed = self.is_full = self.is_ended = False
        self.is_read = True
        self.has_write = asyncio.Event()
        self.has_closed = asyncio.Event()
        self.protocol: ClientHttp | None = None

    def get_write_buffer_size(self) -> int:
        """Return that nothing waits here, as every write is kept at once."""
        return 0

    def write(self, data: Any) -> None:
        assert not self.is_closed, "who has hung up gets nothing"
        self.writes.append(bytes(data))
        self.has_write.set()
        if self.is_full and self.protocol is not None:
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.part_sizes.append([len(part) for part in list_of_data])
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True
        self.has_closed.set()

    abort = close

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_ended = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    async def bodies(self) -> bytes:
        """Wait for a write, and return all that was written behind the first head."""
        await self.has_write.wait()
        return b"".join(self.writes).partition(b"\r\n\r\n")[2]


@asynccontextmanager
async def serving(
    answer: Answer, limits: LimitSettings = NO_LIMITS
) -> AsyncIterator[tuple[Wire, ClientHttp, set[asyncio.Task[Any]]]]:
    """Have requests of one connection answered, and wait for the answers in the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(AsgiClient(scope, receive, send, Record()), receive)

    state = ServerState()
    config = Config(cast("Any", app), http=ClientHttp, ws="none", log_config=None, access_log=False)
    wire = Wire()
    protocol = ClientHttp.limited_by(limits)(config, state, {})
    wire.protocol = protocol
    protocol.connection_made(wire)
    async with asyncio.timeout(PATIENCE_S):
        yield wire, protocol, state.tasks
        await asyncio.gather(*state.tasks, return_exceptions=True)
    protocol.connection_lost(ConnectionResetError())


def chunk(text: bytes) -> bytes:
    """Return a part of a body as it is on the wire."""
    return b"%x\r\n%b\r\n" % (len(text), text)


async def push(client: AsgiClient, part: bytes) -> None:
    """Send a part, and wait for it if need be."""
    if (pending := client.push(part)) is not None:
        await pending


async def test_the_head_and_the_first_part_are_one_write() -> None:
    """A stream's client is woken once for both, and once for every part and for the end."""

    async def answer(client: AsgiClient, _receive: Any) -> None:
        for part in (b"one", b"two"):
            await push(client, part)
            await asyncio.sleep(0)
        await client.finish(b"last")

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(GET)

    first, *rest = wire.writes
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\n" + chunk(b"one"))
    assert [chunk(b"two"), chunk(b"last") + END] == rest


@pytest.mark.parametrize(("request_head", "body"), [(GET, b"whole"), (HEAD, b"")])
async def test_a_whole_answer_is_one_write(request_head: bytes, body: bytes) -> None:
    """An answer of known length takes one write, and one to HEAD, which has no body, does too."""

    async def answer(client: AsgiClient, _receive: Any) -> None:
        await client.answer(200, b"text/plain", b"whole")

    async with serving(answer) as (wire, protocol, tasks):
        for times in (1, 2):
            protocol.data_received(request_head)
            await asyncio.gather(*tasks)
            await wire.has_write.wait()
            await asyncio.sleep(0)
            assert times == len(wire.writes)

    assert all(b"content-length: 5\r\n" in each for each in wire.writes)
    assert all(each.endswith(b"\r\n\r\n" + body) for each in wire.writes)


@pytest.mark.parametrize("size", [3, 1024 * 1024])
@pytest.mark.parametrize("request_head", [GET, HEAD])
async def test_a_body_in_parts_is_one_write(request_head: bytes, size: int) -> None:
    """Large parts are not copied to be joined."""
    parts: list[bytes | memoryview] = [b"a" * size, b"b", b"c" * size]

    async def answer(client: AsgiClient, _receive: Any) -> None:
        await client.answer(200, b"text/plain", parts)

    async with serving(answer) as (wire, protocol, tasks):
        protocol.data_received(request_head)
        await asyncio.gather(*tasks)
        await wire.has_write.wait()

    (written,) = wire.writes
    assert b"content-length: %d\r\n" % (2 * size + 1) in written
    assert written.endswith(b"\r\n\r\n" + (b"".join(parts) if request_head is GET else b""))
    is_apart = request_head is GET and size > 3
    assert [[*map(len, parts)]] * is_apart == [sizes[1:] for sizes in wire.part_sizes]


async def test_a_head_with_nothing_behind_it_is_written_all_the_same() -> None:
    """What begins an answer early waits for the step of the loop to end, and for nothing else."""
    may_go_on = asyncio.Event()

    async def answer(client: AsgiClient, _receive: Any) -> None:
        client.start_after(0)
        await may_go_on.wait()
        await push(client, b"one")
        await client.finish()

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(GET)
        assert b"" == await wire.bodies()
        may_go_on.set()

    assert [chunk(b"one"), END] == wire.writes[1:]


async def test_a_head_is_not_lost_when_the_answer_fails() -> None:
    """A fault right behind the head leaves it to the client, and the connection is closed."""

    async def answer(client: AsgiClient, _receive: Any) -> None:
        await client.start(200, [])
        raise RuntimeError("a fault")

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(GET)

    assert wire.is_closed
    assert 1 == len(wire.writes)
    assert wire.writes[0].endswith(b"transfer-encoding: chunked\r\n\r\n")


async def test_a_head_is_not_written_to_who_has_left() -> None:
    """A connection that is cut while a head waits gets nothing any more, nor do later parts."""
    has_left = asyncio.Event()

    async def answer(client: AsgiClient, _receive: Any) -> None:
        await client.start(200, [])
        protocol.transport.abort()
        protocol.connection_lost(ConnectionResetError())
        has_left.set()
        await asyncio.sleep(0)
        await push(client, b"one")
        await push(client, b"two")

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(GET)
        await has_left.wait()

    assert [] == wire.writes


async def test_asking_for_the_body_does_not_wait() -> None:
    """A client that wants to be asked for its body is, before there is any answer."""

    async def answer(client: AsgiClient, receive: Any) -> None:
        assert b"ab" == (await receive())["body"]
        await client.answer(200, b"text/plain", b"whole")

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(UPLOAD)
        await wire.has_write.wait()
        assert [b"HTTP/1.1 100 Continue\r\n\r\n"] == wire.writes
        protocol.data_received(b"ab")

    assert 2 == len(wire.writes)
    assert wire.writes[1].endswith(b"\r\n\r\nwhole")


async def test_a_part_waits_for_a_slow_client() -> None:
    """What does not fit is not written: it is returned to be waited for, and goes out later."""
    steps: list[str] = []
    is_waiting = asyncio.Event()

    async def answer(client: AsgiClient, _receive: Any) -> None:
        await push(client, b"one")
        wire.is_full = True
        assert client.push(b"two") is None, "there was room"
        pending = client.push(b"three")
        assert pending is not None
        steps.append("waits")
        is_waiting.set()
        await pending
        steps.append("went on")
        await client.finish()

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(GET)
        await is_waiting.wait()
        await asyncio.sleep(0)
        assert (["waits"], chunk(b"two")) == (steps, wire.writes[-1])
        wire.is_full = False
        protocol.resume_writing()

    assert ["waits", "went on"] == steps
    assert chunk(b"one") + chunk(b"two") + chunk(b"three") + END == await wire.bodies()


async def test_parts_of_an_answer_without_chunks_are_counted() -> None:
    """A body of stated length goes uvicorn's way, which knows how much of it is left."""

    async def answer(client: AsgiClient, _receive: Any) -> None:
        await client.start(200, [(b"content-length", b"6")])
        for part in (b"one", b"two"):
            await push(client, part)
        await client.finish()

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(GET)

    assert b"onetwo" == await wire.bodies()
    assert not wire.is_closed


async def test_lines_of_one_burst_are_chunks_of_their_own() -> None:
    """In one write: some clients in Node take a chunk for a line (ollama.md#stream-lines)."""

    async def answer(client: AsgiClient, _: Any) -> None:
        await push(client, b"1\n22\n")
        await push(client, b"3\n")
        await push(client, b"4\n5\n")
        await client.finish(b"6\n7\n")

    async with serving(answer) as (wire, protocol, tasks):
        protocol.data_received(GET)
        await asyncio.gather(*tasks)

    head, *rest = wire.writes
    assert head.endswith(chunk(b"1\n") + chunk(b"22\n"))
    assert [
        chunk(b"3\n"),
        chunk(b"4\n") + chunk(b"5\n"),
        chunk(b"6\n") + chunk(b"7\n") + END,
    ] == rest


async def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    """Plain lines, and the connection's end is the end (ollama.md#http-1-0)."""

    async def answer(client: AsgiClient, _: Any) -> None:
        await push(client, b"1\n2\n")
        await push(client, b"3\n")
        await client.finish(b"4\n")

    async with serving(answer) as (wire, protocol, tasks):
        protocol.data_received(b"GET / HTTP/1.0\r\n\r\n")
        await asyncio.gather(*tasks)

    sent = b"".join(wire.writes)
    head, _, body = sent.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"1\n2\n3\n4\n" == body
    assert wire.is_closed


@pytest.mark.parametrize("method", [b"FOO", b"get", b"A-B"])
async def test_any_token_is_a_method(method: bytes) -> None:
    """What the application does with it is its own business (ollama.md#malformed-requests)."""
    seen: list[str] = []

    async def answer(client: AsgiClient, _: Any) -> None:
        await client.answer(200, b"", b"")

    async with serving(answer) as (wire, protocol, tasks):
        protocol.data_received(GET.replace(b"GET", method))
        seen.append(protocol.scope["method"])
        await asyncio.gather(*tasks)

    assert [method.decode()] == seen
    assert wire.writes[0].startswith(b"HTTP/1.1 200 ")


async def test_an_answer_starts_once() -> None:
    """Whoever sends: a second start is refused before it reaches the server."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    client = AsgiClient({"method": "GET"}, receive, send, Record())
    assert not client.is_started
    await client.answer(200, b"text/plain", b"whole")
    with pytest.raises(RuntimeError, match="already started"):
        await client.send({"type": "http.response.start", "status": 500, "headers": []})

    assert ["http.response.start", "http.response.body"] == sent
    assert (True, 200, "complete") == (client.is_started, client.status, client.outcome)
    await client.receive()
    assert "complete" == client.outcome


# -- what counts as head ---------------------------------------------------------------------------


async def say_body(client: AsgiClient, receive: Any) -> None:
    """Answer with the body, or with nothing if the client leaves before its end."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            await client.answer(200, b"text/plain", body)
            return


@pytest.mark.parametrize("cut", [1, 50, 4096])
async def test_the_bytes_of_a_body_are_not_counted_as_head(cut: int) -> None:
    """A large body passes under a small limit, in one read with its head or in many."""
    body = b"x" * 2000
    small = LimitSettings(header_bytes=100, header_s=0, body_s=0)
    for head, sent in (
        (b"POST / HTTP/1.1\r\ncontent-length: 2000\r\n\r\n", body),
        (CHUNKED, chunk(body) + END),
    ):
        async with serving(say_body, small) as (wire, protocol, _):
            request = head + sent
            for start in range(0, len(request), cut):
                protocol.data_received(request[start : start + cut])
        assert await wire.bodies() == body


@pytest.mark.parametrize("size", [80, 81])
async def test_the_limit_of_a_head_is_exact(size: int) -> None:
    """So many bytes are taken, one more is refused, whatever comes in the same read."""
    head = b"POST / HTTP/1.1\r\ncontent-length: 1000\r\nx: "
    head += b"a" * (size - len(head) - 4) + b"\r\n\r\n"
    small = LimitSettings(header_bytes=80, header_s=0, body_s=0)
    async with serving(say_body, small) as (wire, protocol, _):
        protocol.data_received(head + b"x" * 1000)
    assert wire.writes[0].startswith(b"HTTP/1.1 431" if size > 80 else b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "flood",
    [b"0\r\nx: " + b"a" * 300, b"0\r\n" + b"x: a\r\n" * 60, b"1;" + b"a" * 300],
    ids=["a long trailer", "many trailers", "an extension of a chunk"],
)
@pytest.mark.parametrize("cut", [7, 4096])
async def test_what_stands_in_a_body_but_is_not_of_it_is_limited(flood: bytes, cut: int) -> None:
    """Trailers and a chunk's extension count as head; the application sees a client that left."""
    small = LimitSettings(header_bytes=100, header_s=0, body_s=0)
    async with serving(say_body, small) as (wire, protocol, _):
        request = CHUNKED + chunk(b"body") + flood
        for start in range(0, len(request), cut):
            protocol.data_received(request[start : start + cut])
    assert 1 == len(wire.writes)
    assert wire.writes[0].startswith(b"HTTP/1.1 431 ")
    assert wire.is_ended


@pytest.mark.parametrize("number", [4, 5])
async def test_trailers_are_counted_among_the_headers(number: int) -> None:
    """Two headers and four trailers are six; a seventh is refused."""
    few = LimitSettings(headers=6, header_s=0, body_s=0)
    async with serving(say_body, few) as (wire, protocol, _):
        protocol.data_received(CHUNKED + b"0\r\n" + b"x: a\r\n" * number + b"\r\n")
    assert wire.writes[0].startswith(b"HTTP/1.1 431" if number > 4 else b"HTTP/1.1 200")


async def test_a_trailer_is_no_header() -> None:
    """It opens nothing and goes nowhere: the application does not see it at any time."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        client = AsgiClient(scope, receive, send, Record())
        await say_body(client, receive)
        seen.append([name for name, _ in scope["headers"]])

    state = ServerState()
    config = Config(cast("Any", app), http=ClientHttp, ws="none", log_config=None, access_log=False)
    protocol = ClientHttp(config, state, {})
    protocol.connection_made(Wire())
    trailers = b"0\r\nAuthorization: Bearer key\r\nContent-Length: 7\r\n\r\n"
    protocol.data_received(CHUNKED + trailers)
    await asyncio.gather(*state.tasks)
    assert [[b"host", b"transfer-encoding"]] == seen


# -- several requests on one connection ------------------------------------------------------------


async def until_left(client: AsgiClient, receive: Any, left: list[str]) -> None:
    """Stream until the client has left."""
    await push(client, b"one")
    while (await receive())["type"] != "http.disconnect":
        pass
    left.append("left")


@pytest.mark.parametrize("queued", [0, 1, QUEUED_REQUESTS])
async def test_the_running_request_is_told_of_its_client_leaving(queued: int) -> None:
    """Requests that wait behind it do not hide that, and reading goes on, so that it is seen."""
    left: list[str] = []

    async def answer(client: AsgiClient, receive: Any) -> None:
        await until_left(client, receive, left)

    async with serving(answer) as (wire, protocol, tasks):
        protocol.data_received(GET + GET * queued)
        await wire.has_write.wait()
        assert wire.is_read
        protocol.connection_lost(None)
        await asyncio.gather(*tasks)
        assert ["left"] == left


async def test_reading_stops_before_too_many_requests_are_queued() -> None:
    """More than are read ahead have to wait on the wire."""
    left: list[str] = []

    async def answer(client: AsgiClient, receive: Any) -> None:
        await until_left(client, receive, left)

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(GET)
        await wire.has_write.wait()
        protocol.data_received(GET * (QUEUED_REQUESTS + 1))
        assert not wire.is_read
        protocol.connection_lost(None)


BROKEN = {
    "a head without end": (b"GET / HTTP/1.1\r\n" + b"x: a\r\n" * 300, b"431"),
    "no HTTP": (b"\0\0\0\0", b"400"),
    "a broken body": (CHUNKED + b"nonsense\r\n", b"400"),
    "endless trailers": (CHUNKED + b"0\r\n" + b"x: a\r\n" * 300, b"431"),
}


@pytest.mark.parametrize(("bad", "status"), BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("queued", [0, 1])
@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_refusal_waits_for_the_answers_before_it(
    bad: bytes, status: bytes, queued: int, is_stream: bool
) -> None:
    """It is written into no running answer, and never instead of one."""
    may_go_on = asyncio.Event()

    async def answer(client: AsgiClient, _receive: Any) -> None:
        if is_stream:
            await push(client, b"one")
        await may_go_on.wait()
        if is_stream:
            await client.finish(b"two")
        else:
            await client.answer(200, b"text/plain", b"whole")

    async with serving(answer) as (wire, protocol, tasks):
        protocol.data_received(GET + GET * queued)
        await asyncio.sleep(0)
        protocol.data_received(bad)
        protocol.data_received(GET)
        assert status not in b"".join(wire.writes)
        may_go_on.set()
        while tasks:
            await asyncio.gather(*tasks)

    whole = b"".join(wire.writes)
    answers = whole.split(b"HTTP/1.1 ")[1:]
    assert [b"200"] * (1 + queued) + [status] == [each[:3] for each in answers]
    ends = END if is_stream else b"whole"
    assert all(each.endswith(ends) for each in answers[:-1])
    assert wire.is_ended


async def test_an_answer_that_has_begun_is_cut_when_its_body_breaks() -> None:
    """Nothing else can be said any more, and no second head is written."""

    async def answer(client: AsgiClient, receive: Any) -> None:
        await push(client, b"one")
        await receive()

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(CHUNKED)
        await wire.has_write.wait()
        protocol.data_received(b"nonsense\r\n")
        assert wire.is_closed
        protocol.connection_lost(None)
    assert 1 == b"".join(wire.writes).count(b"HTTP/1.1 ")


async def test_one_refusal_is_enough() -> None:
    """What is refused for its size and then is no HTTP either gets one answer."""
    async with serving(say_body) as (wire, protocol, _):
        protocol.data_received(b"GET / HTTP/1.1\r\n" + b"x: a\r\n" * 300 + b"\0\0\r\n\r\n")
    assert [b"HTTP/1.1 431"] == [each[:12] for each in wire.writes]


# -- a client that sends nothing more, and one of HTTP/1.0 -----------------------------------------


@pytest.mark.parametrize("request_head", [GET, HEAD])
@pytest.mark.parametrize("end", ["half-close", "shutdown"])
async def test_what_is_held_is_written_before_the_close(request_head: bytes, end: str) -> None:
    """A client that half-closes at once gets its answer, and so does one at the shutdown."""

    async def answer(client: AsgiClient, _receive: Any) -> None:
        await client.answer(200, b"text/plain", b"whole")

    async with serving(answer) as (wire, protocol, tasks):
        protocol.data_received(request_head)
        await asyncio.gather(*tasks)
        if end == "shutdown":
            protocol.shutdown()
        elif not protocol.eof_received():
            wire.close()
    assert wire.is_closed
    assert wire.writes[0].startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_answer_that_is_about_to_come_is_waited_for() -> None:
    """The half-close may be seen before the application has run; the close follows soon."""

    async def answer(client: AsgiClient, _receive: Any) -> None:
        await client.answer(200, b"text/plain", b"whole")

    async with serving(answer) as (wire, protocol, tasks):
        protocol.data_received(GET)
        assert protocol.eof_received(), "the connection stays open"
        await asyncio.gather(*tasks)
        await wire.has_closed.wait()
    assert await wire.bodies() == b"whole"


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_stream_to_http_1_0_is_plain_bytes_and_a_close(version: bytes) -> None:
    """Chunks came with HTTP/1.1: who speaks the older version would take them for the body."""

    async def answer(client: AsgiClient, _receive: Any) -> None:
        for part in (b"one\n", b"", b"0\r\n\r\n"):
            await push(client, part)
        await client.finish(b"last\n")

    async with serving(answer) as (wire, protocol, _):
        protocol.data_received(b"GET / HTTP/" + version + b"\r\n\r\n")
    head = wire.writes[0].partition(b"\r\n\r\n")[0]
    is_plain = version == b"1.0"
    assert is_plain == (b"transfer-encoding" not in head)
    assert is_plain == (b"connection: close" in head)
    assert is_plain == wire.is_closed
    lines = (b"one\n", b"0\r\n", b"\r\n", b"last\n")
    expected = b"".join(lines) if is_plain else b"".join(chunk(line) for line in lines) + END
    assert await wire.bodies() == expected


async def test_requests_that_are_sent_on_are_read_wherever_they_are_cut() -> None:
    """The second request begins in the midst of a read, and its head ends in the next one."""
    requests = b"".join(
        b"POST /api/%b HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\nhi" % name
        for name in (b"first", b"second")
    )

    async def tell(client: AsgiClient, receive: Any) -> None:
        await receive()
        await client.answer(200, b"text/plain", b"seen")

    for place in range(1, len(requests)):
        async with serving(tell) as (wire, protocol, tasks):
            protocol.data_received(requests[:place])
            await asyncio.sleep(0)
            protocol.data_received(requests[place:])
            async with asyncio.timeout(PATIENCE_S):
                while b"".join(wire.writes).count(b"seen") < 2:
                    assert b" 400 " not in b"".join(wire.writes), place
                    await asyncio.gather(*tasks)
                    await asyncio.sleep(0)

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
from gateway.server.protocol import ClientHttp

GET = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nhost: here\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
END = b"0\r\n\r\n"

Answer = Callable[[AsgiClient, Any], Awaitable[None]]


class Wire(asyncio.Transport):
    """A client's connection that keeps every write as one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = self.is_full = False
        self.has_write = asyncio.Event()
        self.protocol: ClientHttp | None = None

    def write(self, data: Any) -> None:
        assert not self.is_closed, "who has hung up gets nothing"
        self.writes.append(bytes(data))
        self.has_write.set()
        if self.is_full and self.protocol is not None:
            self.protocol.pause_writing()

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    async def bodies(self) -> bytes:
        """Wait for a write, and return all that was written behind the first head."""
        await self.has_write.wait()
        return b"".join(self.writes).partition(b"\r\n\r\n")[2]


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[tuple[Wire, ClientHttp, set[asyncio.Task[Any]]]]:
    """Have requests of one connection answered, and wait for the answers in the end."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(AsgiClient(scope, receive, send, Record()), receive)

    state = ServerState()
    config = Config(cast("Any", app), http=ClientHttp, ws="none", log_config=None, access_log=False)
    wire = Wire()
    protocol = ClientHttp(config, state, {})
    wire.protocol = protocol
    protocol.connection_made(wire)
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

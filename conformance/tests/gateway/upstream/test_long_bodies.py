"""The rest of a long body of a known length goes to no parser: it stays in the bytes received."""

import asyncio
from typing import Any

import pytest

from gateway.upstream.body import AnswerBody, TransportFault
from gateway.upstream.connection import Connection

BODY = bytes(range(256)) * 1024
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


def head_with(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%b\r\n" % (status, b"".join(lines))


HEAD = head_with(LENGTH)


class Wire(asyncio.Transport):
    """A transport that passes nothing on, and notes whether it may read and is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read = True
        self.is_closed = False

    def write(self, data: Any) -> None:
        """Take a request."""

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self.is_closed

    def pause_reading(self) -> None:
        """Read nothing more."""
        self.may_read = False

    def resume_reading(self) -> None:
        """Read on."""
        self.may_read = True

    def abort(self) -> None:
        """Close."""
        self.is_closed = True

    close = abort


def connected() -> Connection:
    connection = Connection("there", lambda _: None)
    connection.connection_made(Wire())
    return connection


def wire_of(connection: Connection) -> Wire:
    wire = connection.wire
    assert isinstance(wire, Wire)
    return wire


async def ask(connection: Connection, *reads: bytes, method: str = "POST") -> AnswerBody:
    """Make a request, and receive its answer in these reads."""
    asking = asyncio.ensure_future(connection.carry(method, b"", b"", is_chunked=False))
    await asyncio.sleep(0)
    for data in reads:
        connection.data_received(data)
    return (await asking)[2]


async def whole(body: AnswerBody) -> list[bytes]:
    """Return what is read of a body, piece by piece."""
    pieces = []
    while data := await body.read():
        pieces.append(data)
    return pieces


@pytest.mark.parametrize("together", [0, 1, 1000, len(BODY) - 1, len(BODY)])
async def test_an_answer_is_what_it_was_and_the_next_one_follows(together: int) -> None:
    """However much of the body came with the head, and whatever comes on the connection next."""
    connection = connected()
    for _ in range(2):
        rest = [BODY[at : at + 99_999] for at in range(together, len(BODY), 99_999)]
        body = await ask(connection, HEAD[:9], HEAD[9:] + BODY[:together], *rest)
        assert BODY == b"".join(await whole(body))
        assert connection.may_carry_more
        assert [b"{}"] == await whole(await ask(connection, SHORT))
        assert connection.may_carry_more


async def test_what_is_read_is_not_copied() -> None:
    """Each read is a piece of the body, and the very bytes that were received."""
    connection = connected()
    body = await ask(connection, HEAD + BODY[:10])
    assert BODY[:10] == await body.read()
    for data in (BODY[10:70_000], BODY[70_000:]):
        connection.data_received(data)
        assert data is await body.read()
    assert b"" == await body.read()


@pytest.mark.parametrize("after", [SHORT, b"x"])
async def test_nothing_may_follow(after: bytes) -> None:
    """The answer is whole, and its connection is not used again."""
    connection = connected()
    body = await ask(connection, HEAD, BODY + after)

    assert BODY == b"".join(await whole(body))
    assert not connection.may_carry_more
    assert wire_of(connection).is_closed


async def test_a_body_that_is_cut_is_told() -> None:
    """After what came of it."""
    connection = connected()
    body = await ask(connection, HEAD, BODY[:-1])
    assert BODY[:-1] == await body.read()
    connection.connection_lost(None)
    with pytest.raises(TransportFault, match="in the middle"):
        await body.read()


@pytest.mark.parametrize(
    ("head", "method", "is_closed"),
    [
        (HEAD, "HEAD", True),
        (head_with(LENGTH, status=b"204 No Content"), "POST", False),
        (head_with(LENGTH, status=b"304 Not Modified"), "POST", False),
    ],
)
async def test_where_no_body_follows_none_is_awaited(
    head: bytes, method: str, is_closed: bool
) -> None:
    """Whatever length is stated."""
    connection = connected()
    assert [] == await whole(await ask(connection, head, method=method))
    assert is_closed == wire_of(connection).is_closed


async def test_an_interim_answer_s_length_is_not_that_of_the_answer() -> None:
    """It has no body; that of the answer ends with the connection."""
    interim = head_with(LENGTH, status=b"103 Early Hints")
    connection = connected()
    body = await ask(connection, interim + head_with(), BODY, b"more")
    connection.connection_lost(None)
    assert BODY + b"more" == b"".join(await whole(body))


@pytest.mark.parametrize("is_asked_to_close", [True, False])
async def test_a_connection_that_is_to_close_is_closed(is_asked_to_close: bool) -> None:
    """As its head says, however its body was taken."""
    connection = connected()
    end = b"Connection: close\r\n" if is_asked_to_close else b""
    body = await ask(connection, head_with(LENGTH, end), BODY)
    assert BODY == b"".join(await whole(body))
    assert is_asked_to_close is not connection.may_carry_more


async def test_reading_stops_until_a_slow_taker_goes_on() -> None:
    """What was received stays, and its end is seen then."""
    connection = connected()
    free = asyncio.Event()
    taken: list[bytes] = []

    async def wait() -> None:
        await free.wait()

    def take(data: bytes) -> Any:
        taken.append(data)
        return wait()

    body = await ask(connection, HEAD)
    pushing = asyncio.ensure_future(body.push(take))
    await asyncio.sleep(0)
    connection.data_received(BODY[:200_000])
    pending = await pushing
    assert not wire_of(connection).may_read
    connection.data_received(BODY[200_000:])
    free.set()
    while pending is not None:
        await pending
        pending = await body.push(take)
    assert b"".join(taken) == BODY
    assert wire_of(connection).may_read

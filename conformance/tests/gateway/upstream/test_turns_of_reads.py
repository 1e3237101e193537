"""Of a host that sends much, one read is taken in a step of the loop, however uvloop reads."""

import asyncio
from typing import Any

import pytest

from gateway.upstream.connection import Connection

READ = b"x" * 256_000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"
READS_OF_UVLOOP = 32


class Flood(asyncio.Transport):
    """A transport that reads as uvloop's does: on and on, while it may and buffers are full."""

    def __init__(self, connection: Connection, left: int) -> None:
        super().__init__()
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self.left = left
        self.most = 0
        """Reads in one step at most."""
        self._may_read = True
        connection.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Know nothing."""
        return default

    def is_closing(self) -> bool:
        """Stay open."""
        return False

    def write(self, data: Any) -> None:
        """Answer the request."""
        self._loop.call_soon(self._connection.data_received, HEAD)
        self._loop.call_soon(self._step)

    def pause_reading(self) -> None:
        """Read nothing more."""
        self._may_read = False

    def resume_reading(self) -> None:
        """Read on in the next step."""
        assert not self._may_read, "it reads already"
        self._may_read = True
        self._loop.call_soon(self._step)

    def abort(self) -> None:
        """End."""
        self._may_read = False

    close = abort

    def _step(self) -> None:
        read = 0
        while self._may_read and self.left and read < READS_OF_UVLOOP:
            self.left -= 1
            read += 1
            self._connection.data_received(READ)
        self.most = max(self.most, read)
        if self._may_read and self.left:
            self._loop.call_soon(self._step)
        elif self._may_read:
            self._connection.connection_lost(None)


async def start(reads: int) -> tuple[Flood, Any]:
    """Return a transport with an answer of so many reads, and the answer's body."""
    connection = Connection("there", lambda _: None)
    flood = Flood(connection, reads)
    _, _, body = await connection.carry("GET", b"GET / HTTP/1.1\r\n\r\n", b"", is_chunked=False)
    return flood, body


@pytest.mark.parametrize("is_pushed", [True, False])
async def test_one_read_is_taken_in_a_step(is_pushed: bool) -> None:
    """Others come in between, however much there is; and all of it arrives."""
    flood, body = await start(100)
    received = 0

    def take(data: bytes) -> None:
        nonlocal received
        received += len(data)

    if is_pushed:
        await body.push(take)
    else:
        while data := await body.read():
            take(data)

    assert 1 == flood.most
    assert 100 * len(READ) == received


async def test_a_body_that_is_paused_meanwhile_stays_paused() -> None:
    """The next step reads on only where the body still wants it."""
    flood, body = await start(100)
    is_free = asyncio.Event()
    received = 0

    async def wait() -> None:
        await is_free.wait()

    def take(data: bytes) -> Any:
        nonlocal received
        received += len(data)
        return wait()

    pending = await body.push(take)
    for _ in range(20):
        await asyncio.sleep(0)
    assert flood.left >= 98
    is_free.set()
    while pending is not None:
        await pending
        pending = await body.push(take)
    assert 100 * len(READ) == received

"""
What the processes of one gateway (`--workers`) ask each other for the page and for `/health`, over
ports of this machine.

Nobody asks while no page is open and nobody asks for `/health`. A process that does not answer is
left out after `KEPT_S`, and the page says for how long it has been silent.

A connection begins with the gateway's secret. Then each question and each answer is a frame: its
length in four bytes, and MessagePack.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from ..observability.journal import get_logger
from ..server.meeting import Meeting
from .records import Part

T = TypeVar("T")

LIMIT_S: Final = 2.0
"""Seconds that an answer may take."""
FIRST_S: Final = 1.0
"""Seconds that a page waits for the other processes before it is shown without those missing."""
KEPT_S: Final = 10.0
"""Seconds for which the last word of a silent process is shown."""
IDLE_S: Final = 60.0
"""Seconds after which a connection is closed on which nobody asks."""
MOST_BYTES: Final = 16 << 20
"""Bytes that a frame may have."""
MOST_LINES: Final = 600
"""How many connections a process accepts at a time; there are at most 256 processes."""

_SIZE: Final = 4


class Look(msgspec.Struct, frozen=True, tag=True):
    """Asks for a `Part`."""


class CountWaiting(msgspec.Struct, frozen=True, tag=True):
    """Asks how many requests wait for a slot, in a `Waits`."""


class TellSessions(msgspec.Struct, frozen=True, tag=True):
    """Asks for all sessions, as a list of `KeepSession`."""


class KeepSession(msgspec.Struct, frozen=True, tag=True):
    """Tells of a session: the digest of its text, its key, and the seconds that it lasts."""

    digest: bytes
    key: str
    lasts_s: float


class EndSession(msgspec.Struct, frozen=True, tag=True):
    """Tells that a session has ended."""

    digest: bytes


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Stops an action; the answer is a sentence, "" if it does not run there."""

    id: str


class Find(msgspec.Struct, frozen=True, tag=True):
    """Asks for a kept exchange, in a `Found`."""

    id: str


class Found(msgspec.Struct, frozen=True):
    """A kept exchange, None if there is none."""

    exchange: dict[str, Any] | None


Question: TypeAlias = Look | CountWaiting | TellSessions | KeepSession | EndSession | Stop | Find


class Other(NamedTuple):
    """Another process: its last word if it is new enough, and for how many seconds it is silent."""

    number: int
    part: Part | None
    silent_s: float


class Peers:
    """The other processes of a gateway; of a gateway with one process there are none."""

    def __init__(
        self, number: int, meeting: Meeting | None, answer: Callable[[Question], object]
    ) -> None:
        """Be the process `number`. `answer` answers the questions of the others."""
        self._number = number
        self._meeting = meeting
        self._answer = answer
        ports = [] if meeting is None else meeting.ports
        secret = b"" if meeting is None else meeting.secret
        self._lines = {
            each: _Line(port, secret) for each, port in enumerate(ports) if each != number
        }
        self._heard: dict[int, tuple[Part, float]] = {}
        self._asked_since: dict[int, float] = {}
        self._looks: dict[int, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[Any]] = set()
        self._log = get_logger()

    async def start(self) -> None:
        """Answer the others from now on."""
        if self._meeting is not None:
            listener = self._meeting.take(self._number)
            self._server = await asyncio.start_server(self._serve, sock=listener)

    async def aclose(self) -> None:
        """Answer and ask nobody any more."""
        looks = [*self._looks.values()]
        self.rest()
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*looks, *self._serving, return_exceptions=True)

    # -- asking -------------------------------------------------------------------------------

    async def ask(self, question: Question, kind: type[T]) -> list[T]:
        """Ask all others at once; return the answers of those that answer in time."""
        found = await asyncio.gather(
            *(self._asked(line, question, kind) for line in self._lines.values())
        )
        if not self._asked_since:
            self.rest()
        return [each[0] for each in found if each is not None]

    def look(self) -> None:
        """Begin to ask the others what they do, but those that are asked already."""
        for number, line in self._lines.items():
            if number in self._looks:
                continue
            self._asked_since.setdefault(number, time.monotonic())
            # Without the record of the request that looks.
            task = asyncio.get_running_loop().create_task(
                self._look_at(number, line), context=Context()
            )
            self._looks[number] = task

    async def look_first(self) -> None:
        """Ask the others, and wait a short time for their answers."""
        self.look()
        if self._looks:
            await asyncio.wait([*self._looks.values()], timeout=FIRST_S)

    def others(self) -> list[Other]:
        """Return what is known of the others."""
        now = time.monotonic()
        found = []
        for number in self._lines:
            part, at = self._heard.get(number, (None, self._asked_since.get(number, now)))
            silent_s = now - at
            found.append(Other(number, part if silent_s <= KEPT_S else None, silent_s))
        return found

    def rest(self) -> None:
        """Forget what the others have said, and close the connections to them."""
        for look in self._looks.values():
            look.cancel()
        self._looks.clear()
        self._heard.clear()
        self._asked_since.clear()
        for line in self._lines.values():
            line.rest()

    async def _look_at(self, number: int, line: _Line) -> None:
        try:
            answer = await self._asked(line, Look(), Part)
            if answer is not None:
                self._heard[number] = (answer[0], time.monotonic())
        finally:
            if self._looks.get(number) is asyncio.current_task():
                del self._looks[number]

    async def _asked(self, line: _Line, question: Question, kind: type[T]) -> tuple[T] | None:
        """Ask one; return its answer alone in a tuple, None if there is none in time."""
        try:
            async with asyncio.timeout(LIMIT_S):
                answer = await line.ask(msgspec.msgpack.encode(question))
            return (msgspec.msgpack.decode(answer, type=kind),)
        except (OSError, EOFError, msgspec.MsgspecError):
            # It ends, or is started again just now. A TimeoutError is an OSError.
            return None

    # -- answering ----------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        assert self._meeting is not None
        try:
            if len(self._serving) > MOST_LINES:
                return
            async with asyncio.timeout(LIMIT_S):
                told = await reader.readexactly(len(self._meeting.secret))
            if not hmac.compare_digest(told, self._meeting.secret):
                self._log.warning("somebody asked the page's port without the secret")
                return
            while True:
                async with asyncio.timeout(IDLE_S):
                    question = await _read(reader)
                for part in _frame(self._answer_to(question)):
                    writer.write(part)
                async with asyncio.timeout(LIMIT_S):
                    await writer.drain()
        except (OSError, EOFError, msgspec.MsgspecError):
            return
        except asyncio.CancelledError:
            # The gateway ends. A task of a stream that ends cancelled would be logged as a fault.
            return
        finally:
            writer.close()

    def _answer_to(self, question: bytes) -> bytes:
        try:
            return msgspec.msgpack.encode(
                self._answer(msgspec.msgpack.decode(question, type=Question))
            )
        except Exception:
            self._log.exception("could not tell another process of this gateway (internal error)")
            raise EOFError from None


class _Line:
    """The connection to one process, which is opened when something is asked."""

    def __init__(self, port: int, secret: bytes) -> None:
        self._port = port
        self._secret = secret
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, question: bytes) -> bytes:
        """Return the answer. Raises OSError or EOFError if there is none."""
        async with self._turn:
            is_old = self._streams is not None
            try:
                return await self._ask(question)
            except (OSError, EOFError):
                if not is_old:
                    raise
            # An old connection may be one to a process that has ended since.
            return await self._ask(question)

    async def _ask(self, question: bytes) -> bytes:
        is_done = False
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                self._streams[1].write(self._secret)
            reader, writer = self._streams
            for part in _frame(question):
                writer.write(part)
            await writer.drain()
            answer = await _read(reader)
            is_done = True
            return answer
        finally:
            if not is_done:
                # What comes later would be the answer to another question.
                self._close()

    def rest(self) -> None:
        """Close the connection, unless somebody waits for an answer on it."""
        if not self._turn.locked():
            self._close()

    def _close(self) -> None:
        if self._streams is not None:
            with suppress(RuntimeError):
                self._streams[1].close()
            self._streams = None


def _frame(data: bytes) -> Iterator[bytes]:
    if len(data) > MOST_BYTES:
        raise EOFError
    yield len(data).to_bytes(_SIZE, "big")
    yield data


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Return the next frame. Raises EOFError at the end, and for a frame that is too long."""
    size = int.from_bytes(await reader.readexactly(_SIZE), "big")
    if size > MOST_BYTES:
        raise EOFError
    return await reader.readexactly(size)

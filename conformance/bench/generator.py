"""
The load generator, a process of its own: a Job as JSON on standard input, a Yield on its output.

It speaks HTTP on raw callbacks and looks into what it received only after the load is over, so that
it takes less time per token than anything that it measures.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from typing import cast
from urllib.parse import urlsplit

import msgspec

from conformance.bench import loops
from conformance.bench.dialect import STAMP, Dialect, Task, request

MAX_SAMPLES = 20_000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """
    `workers` clients, each with its connection, make `cycles` requests one after another.

    They start within `stagger_s`; after `limit_s` what still runs counts as a failure.
    """

    url: str
    dialect: Dialect
    task: Task
    model: str
    workers: int = 1
    cycles: int = 1
    stagger_s: float = 0.0
    limit_s: float = 120.0


class Yield(msgspec.Struct, kw_only=True):
    """What came of a job; times in nanoseconds."""

    requests: int = 0
    tokens: int = 0
    """How many stamped ones came; of their times a part may be kept."""
    bytes: int = 0
    wall_ns: int = 0
    cpu_ns: int = 0
    first_token: list[int] = []
    """From the request's last byte out to the first token in."""
    token: list[int] = []
    """From the stand-in's sending of a token to the generator's receiving it."""
    problems: list[str] = []


class _Client(asyncio.Protocol):
    """One connection, and what its requests have yielded."""

    def __init__(self, message: bytes, cycles: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received: list[list[tuple[int, bytes]]] = []
        self.sent: list[int] = []
        self._message = message
        self._left = cycles
        self._tail = b""
        self._need: int | None = None  # bytes still to come; None until the head is whole, or
        self._is_chunked = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self.received[-1].append((time.monotonic_ns(), data))
        if self._is_chunked:
            tail = self._tail + data if len(data) < 5 else data
            self._tail = tail[-5:]
            if self._tail == b"0\r\n\r\n":
                self._next()
        elif self._need is not None:
            self._need -= len(data)
            if not self._need:
                self._next()
        else:
            self._take_head()

    def _take_head(self) -> None:
        start = b"".join(data for _, data in self.received[-1])
        head, found, rest = start.partition(b"\r\n\r\n")
        if not found:
            return
        head = head.lower()
        if not head.startswith(b"http/1.1 200"):
            self._fail(f"answered {head[:40]!r} {rest[:200]!r}")
        elif b"transfer-encoding: chunked" in head:
            self._is_chunked = True
            self._tail = rest[-5:]
            if self._tail == b"0\r\n\r\n":
                self._next()
        else:
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            self._need = length - len(rest)
            if not self._need:
                self._next()

    def connection_lost(self, _problem: Exception | None) -> None:
        if not self.done.done():
            self._fail("the connection was closed in the middle of an answer")

    def _fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))
        self._transport.abort()

    def _next(self) -> None:
        if not self._left:
            if not self.done.done():
                self.done.set_result(None)
            self._transport.close()
            return
        self._left -= 1
        self._need = None
        self._is_chunked = False
        self.received.append([])
        self.sent.append(time.monotonic_ns())
        self._transport.write(self._message)


async def _drive(job: Job) -> Yield:
    message = request(job.dialect, job.task, job.model)
    assert message is not None, "the bench asks only for what a dialect has"
    where = urlsplit(job.url)
    assert where.hostname is not None
    assert where.port is not None
    host, port = where.hostname, where.port
    loop = asyncio.get_running_loop()
    result = Yield()
    clients: list[_Client] = []

    async def work(number: int) -> None:
        await asyncio.sleep(job.stagger_s * number / job.workers)
        _, client = await loop.create_connection(lambda: _Client(message, job.cycles), host, port)
        clients.append(client)
        await client.done

    wall, cpu = time.monotonic_ns(), time.process_time_ns()
    tasks = [asyncio.ensure_future(work(number)) for number in range(job.workers)]
    _, late = await asyncio.wait(tasks, timeout=job.limit_s)
    result.wall_ns = time.monotonic_ns() - wall
    result.cpu_ns = time.process_time_ns() - cpu
    for task in late:
        task.cancel()
    await asyncio.wait(tasks)
    if late:
        result.problems.append(f"{len(late)} of {job.workers} clients were late")
    failures = [task.exception() for task in tasks if not task.cancelled()]
    result.problems += sorted({str(each) for each in failures if each is not None})[:5]
    for client in clients:
        _look_into(client, result)
    result.tokens = len(result.token)
    step = math.ceil(len(result.token) / MAX_SAMPLES)
    if step > 1:
        result.token = sorted(result.token)[step // 2 :: step]
    return result


def _look_into(client: _Client, result: Yield) -> None:
    for sent, pieces in zip(client.sent, client.received, strict=True):
        result.requests += 1
        is_first = True
        held = b""
        for at, data in pieces:
            result.bytes += len(data)
            held += data
            # A stamp split over two reads counts for the second; what is before it is done with.
            end = 0
            for found in STAMP.finditer(held):
                end = found.end()
                if is_first:
                    result.first_token.append(at - sent)
                    is_first = False
                result.token.append(at - int(found.group(1)))
            held = held[end:][-64:]


def main() -> None:
    """Do one job."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    loops.allow_open_files()
    sys.stdout.buffer.write(msgspec.json.encode(loops.run(_drive(job))))


if __name__ == "__main__":
    main()

"""Requests behind one another on one connection, with each event loop that the gateway runs on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from conformance.soak.gateway import run_gateway
from conformance.standin import Options, StandIn
from conformance.standin.catalogue import PLAIN

PATIENCE_S = 60
LOOPS = ["asyncio", "uvloop"]
GET = b"GET /api/version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
ENDLESS = b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: a\r\n" % number for number in range(300))
BROKEN = {"an endless head": (ENDLESS, b"431"), "no HTTP": (b"\0\0\0\0", b"400")}


@asynccontextmanager
async def served(loop: str, folder: Path) -> AsyncIterator[tuple[StandIn, int]]:
    """Run a gateway on a loop, and give its port."""
    more = {}
    if loop == "asyncio":
        # A package of this name that cannot be imported hides the real one.
        (folder / "uvloop.py").write_text("raise ImportError('hidden')\n")
        more["PYTHONPATH"] = str(folder)
    async with (
        asyncio.timeout(PATIENCE_S),
        StandIn(Options(rate=50)) as standin,
        run_gateway(standin.url, more) as gateway,
    ):
        yield standin, int(gateway.url.rpartition(":")[2])


def chat() -> bytes:
    """Return a request for a stream."""
    message = {"role": "user", "content": "Why?"}
    body = json.dumps({"model": PLAIN.key, "messages": [message]}).encode()
    head = b"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(("bad", "status"), BROKEN.values(), ids=BROKEN.keys())
async def test_a_refusal_stands_behind_the_running_answers(
    loop: str, bad: bytes, status: bytes, tmp_path: Path
) -> None:
    """Neither in a stream that runs, nor in place of the answer that waits for its end."""
    async with served(loop, tmp_path) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat() + GET)
        begun = await reader.readuntil(b'"done":false')
        writer.write(bad)
        whole = begun + await reader.read()
        writer.close()

    streamed, version, refused = whole.split(b"HTTP/1.1 ")[1:]
    assert streamed.startswith(b"200 ")
    assert streamed.endswith(b"\r\n0\r\n\r\n")
    assert b'"done":true' in streamed
    assert version.startswith(b"200 ")
    assert refused.startswith(status + b" ")


@pytest.mark.parametrize("loop", LOOPS)
async def test_the_running_request_is_told_that_its_client_has_left(
    loop: str, tmp_path: Path
) -> None:
    """A queued one does not hide it: the call below ends before its answer does."""
    async with served(loop, tmp_path) as (standin, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(chat() + GET)
        await reader.readuntil(b'"done":false')
        writer.close()
        (exchange,) = [each for each in standin.seen if b"Why?" in each.raw]
        await standin.log.wait_until(lambda: exchange.finished or exchange.left, PATIENCE_S)

    assert exchange.left

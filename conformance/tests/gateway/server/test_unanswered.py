"""Applications that fail, or end without an answer: what their client gets, and what is logged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from conformance.tests.gateway.server.test_protocol import GET, HEAD, Answer, Wire, serving
from gateway.server.asgi import AsgiClient
from gateway.server.protocol import ClientHttp

BODY = b"Internal Server Error"


async def fail(_client: AsgiClient, _receive: Any) -> None:
    """Raise before an answer."""
    raise RuntimeError("a fault")


async def forget(_client: AsgiClient, _receive: Any) -> None:
    """Answer nothing."""


async def stop_amid(client: AsgiClient, _receive: Any) -> None:
    """Begin an answer and do not end it."""
    await client.start(200, [])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (fail, "an application has failed (internal error)"),
        (forget, "an application has not answered"),
    ],
)
@pytest.mark.parametrize(("head", "body"), [(GET, BODY), (HEAD, b"")])
async def test_a_client_without_an_answer_gets_500(
    answer: Answer, said: str, head: bytes, body: bytes
) -> None:
    """And its connection is closed: what it has sent besides is not read."""
    with capture_logs() as lines:
        async with serving(answer) as (wire, protocol, tasks):
            protocol.data_received(head)
            await wire.has_closed.wait()
            assert not tasks

    told, _, sent = b"".join(wire.writes).partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 500 ")
    assert b"\r\ncontent-length: %d\r\nconnection: close" % len(BODY) in told
    assert body == sent
    assert [(said, "error", "/")] == [
        (line["event"], line["log_level"], line["path"]) for line in lines
    ]


async def test_an_answer_without_an_end_is_cut() -> None:
    """Nobody can take it for whole."""
    async with serving(stop_amid) as (wire, protocol, _):
        protocol.data_received(GET)
        await wire.has_closed.wait()
    assert 1 == len(wire.writes)
    assert b" 200 " in wire.writes[0]
    assert not wire.writes[0].endswith(b"0\r\n\r\n")


async def test_a_client_that_has_left_gets_nothing() -> None:
    """Nor is anything logged for an application that ends without an answer then."""
    has_left = asyncio.Event()

    async def leave(_client: AsgiClient, _receive: Any) -> None:
        await has_left.wait()

    with capture_logs() as lines:
        async with serving(leave) as (wire, protocol, tasks):
            protocol.data_received(GET)
            await asyncio.sleep(0)
            left(wire, protocol)
            has_left.set()
            await asyncio.gather(*tasks)
    assert [] == wire.writes
    assert [] == lines


async def test_a_task_that_is_cancelled_before_its_first_step_is_over() -> None:
    """Whoever waits for running requests does not wait for it, and its client is told."""
    with capture_logs() as lines:
        async with serving(forget) as (wire, protocol, tasks):
            protocol.data_received(GET)
            (task,) = tasks
            task.cancel()
            await wire.has_closed.wait()
            assert not tasks
    assert b"".join(wire.writes).startswith(b"HTTP/1.1 500 ")
    # It is no fault: it is how a shutdown ends.
    assert [] == lines


def left(wire: Wire, protocol: ClientHttp) -> None:
    """Have the client leave."""
    wire.close()
    protocol.connection_lost(ConnectionResetError())

"""The limit on all bodies in memory: who waits, who goes on, and what is counted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.faults import ClientGone, Refusal
from gateway.observability.record import Record
from gateway.server.asgi import AsgiClient, Message
from gateway.server.bodies import Bodies
from gateway.settings.schema import LimitSettings

KB = 1000


def limited(**limits: Any) -> Bodies:
    """Return bodies of at most 4 kB each and 10 kB in all."""
    given: dict[str, Any] = {"body_bytes": 4 * KB, "bodies_total": 10 * KB, "bodies_wait_s": 0}
    return Bodies(LimitSettings(**(given | limits)))


def client() -> AsgiClient:
    """Return the client of a request."""

    async def nothing(*_: Any) -> Any:
        raise AssertionError("not called")

    return AsgiClient({"type": "http", "method": "POST"}, nothing, nothing, Record())


def sending(*sizes: int, leaves: bool = False) -> Callable[[], Awaitable[Message]]:
    """Return a `receive` that gives pieces of these sizes."""
    messages: list[Message] = [
        {"type": "http.request", "body": b"x" * size, "more_body": True} for size in sizes
    ]
    if leaves:
        messages.append({"type": "http.disconnect"})
    else:
        messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive() -> Message:
        await asyncio.sleep(0)
        return next(waiting)

    return receive


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_body_is_whole_and_counted() -> None:
    """Its pieces are joined, and its bytes count until its request ends."""
    bodies, one = limited(), client()
    assert b"x" * 3000 == await bodies.receive(sending(1000, 0, 2000), one)
    assert 3000 == bodies.used
    bodies.release(one)
    bodies.release(one)
    assert 0 == bodies.used
    assert b"" == await bodies.receive(sending(0), one)


async def test_a_body_waits_for_room() -> None:
    """The third of 4 kB waits until one of the others is gone; then they go on in their order."""
    bodies = limited()
    held = [client(), client()]
    for one in held:
        await bodies.receive(sending(4 * KB), one)
    third, fourth = client(), client()
    coming = [
        asyncio.ensure_future(bodies.receive(sending(4 * KB), third)),
        asyncio.ensure_future(bodies.receive(sending(2 * KB), fourth)),
    ]
    await settle()
    assert [False, False] == [one.done() for one in coming]
    assert (8 * KB, 2) == (bodies.used, bodies.waiting)
    bodies.release(held[0])
    assert [4 * KB, 2 * KB] == [len(body) for body in await asyncio.gather(*coming)]
    assert (10 * KB, 0) == (bodies.used, bodies.waiting)


async def test_a_body_that_waits_too_long_is_refused() -> None:
    """With a status that says so, and with a time after which to try again."""
    bodies, holder, late = limited(bodies_wait_s=0.01), client(), client()
    for _ in range(2):
        await bodies.receive(sending(4 * KB), holder := client())
    with pytest.raises(Refusal, match=r"limits\.bodies_total") as caught:
        await bodies.receive(sending(1 * KB, 3 * KB), late)
    assert (503, "retry-after") == (caught.value.status, caught.value.headers[0][0])
    # What had come of it is let go with its request, as with any other.
    bodies.release(late)
    bodies.release(holder)
    assert (4 * KB, 0) == (bodies.used, bodies.waiting)


async def test_one_body_alone_is_always_taken() -> None:
    """A limit on all that is below that on one refuses nobody."""
    bodies, one = limited(bodies_total=1 * KB), client()
    assert 4 * KB == len(await bodies.receive(sending(2 * KB, 2 * KB), one))
    bodies.release(one)
    assert 4 * KB == len(await bodies.receive(sending(4 * KB), one))


async def test_bodies_that_wait_for_one_another_come_through() -> None:
    """Halves of bodies fill the room: one after the other goes beyond the limit, and no two."""
    bodies = limited(bodies_total=6 * KB)
    clients = [client() for _ in range(3)]
    most = 0

    async def serve(one: AsgiClient) -> None:
        nonlocal most
        await bodies.receive(sending(*[500] * 8), one)
        most = max(most, bodies.used)
        await asyncio.sleep(0)
        bodies.release(one)

    await asyncio.wait_for(asyncio.gather(*(serve(one) for one in clients)), 30)
    assert (0, 0) == (bodies.used, bodies.waiting)
    assert 6 * KB < most <= 10 * KB


async def test_every_end_lets_go() -> None:
    """A body that is too large, a client that leaves, a wait that is cancelled."""
    bodies, one = limited(), client()
    with pytest.raises(Refusal, match="larger than 4000 bytes"):
        await bodies.receive(sending(3 * KB, 3 * KB), one)
    bodies.release(one)
    with pytest.raises(ClientGone):
        await bodies.receive(sending(3 * KB, leaves=True), one)
    bodies.release(one)
    held = [client() for _ in range(2)]
    for each in held:
        await bodies.receive(sending(4 * KB), each)
    waiting = asyncio.ensure_future(bodies.receive(sending(4 * KB), one))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    bodies.release(one)
    for each in held:
        bodies.release(each)
    assert (0, 0) == (bodies.used, bodies.waiting)


async def test_unpacked_bytes_count() -> None:
    """What a packed body becomes is in memory, too."""
    bodies, one = limited(), client()
    await bodies.receive(sending(100), one)
    await bodies.take(one, 3 * KB)
    assert 3100 == bodies.used
    bodies.release(one)
    assert 0 == bodies.used

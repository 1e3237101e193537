"""
Sending a passed-through answer on to the client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ..faults import Refusal, UpstreamFailure, afresh
from ..observability.record import STATED, current
from ..server.asgi import AsgiClient
from ..server.dialects import (
    END_BYTES,
    ends_well,
    envelope,
    error_body,
    error_event,
    is_in_dialect,
)
from ..upstream.answers import RawAnswer
from ..upstream.body import BODILESS, Sink
from ..wire.writing import JSON, encode
from .answers import Start
from .rewriting import Rewriter
from .signs_of_life import SignsOfLife

_OF_REPEATING = (b"retry-after", b"retry-after-ms", b"x-should-retry")
"""Headers that tell a client when to try again; they outlive the body that they came with."""

Rest: TypeAlias = Callable[[Sink], Awaitable[None]]
"""Passes on the rest of an answer's body."""
Rewrite: TypeAlias = Callable[[Sink], Rewriter]
"""Makes the rewriter of a stream that rules change."""


async def conclude(
    answer: RawAnswer,
    start: Start,
    rest: Rest | None,
    path: str,
    client: AsgiClient,
    sign_of_life_s: float,
    rewrite: Rewrite | None = None,
    *,
    is_ollama: bool = False,
) -> None:
    """
    Send an answer on, an error in the caller's dialect. Raises UpstreamFailure.

    `rewrite` changes the events of a stream. With `is_ollama` an error is written anew in any case.
    """
    failure = start.failure
    if failure is not None and answer.status < 400:
        raise afresh(failure)
    if failure is not None:
        current().fault = failure.fault or STATED
    if failure is not None and (is_ollama or not is_in_dialect(path, b"".join(start.held))):
        error = envelope(path, answer.status, failure.message)
        for name, value in answer.headers:
            if name in _OF_REPEATING:
                client.add_header(name.decode("ascii"), value.decode("latin-1"))
        await client.answer(answer.status, JSON, encode(error))
        return
    await _send_on(answer, start, rest, path, client, sign_of_life_s, rewrite)


async def _send_on(
    answer: RawAnswer,
    start: Start,
    rest: Rest | None,
    path: str,
    client: AsgiClient,
    sign_of_life_s: float,
    rewrite: Rewrite | None,
) -> None:
    """Send an answer on as it arrives. Raises UpstreamFailure for a stream that ends too early."""
    await client.start(answer.status, answer.headers)
    end = b""

    def send_chunk(chunk: bytes) -> Awaitable[None] | None:
        nonlocal end
        end = (end + chunk)[-END_BYTES:]
        return client.push(chunk)

    rewriter = rewrite(send_chunk) if rewrite is not None and client.is_event_stream else None
    take = send_chunk if rewriter is None else rewriter.take
    for chunk in start.held:
        if (pending := take(chunk)) is not None:
            await pending
    if rest is not None and client.is_event_stream:
        signs = SignsOfLife(sign_of_life_s, lambda: end, client.push_if_idle)
        try:
            await rest(take)
        finally:
            signs.close()
    elif rest is not None:
        await rest(take)
    if rewriter is not None and (pending := rewriter.close()) is not None:
        await pending
    current().note_usage(b"".join(start.held[:1])[:END_BYTES] + end)
    may_end = answer.status in BODILESS or ends_well(path, end)
    if client.is_event_stream and not may_end:
        raise UpstreamFailure(
            "its stream ended without saying that the answer is complete", fault="closed_mid_stream"
        )
    await client.finish()


async def refuse(refusal: Refusal, path: str, client: AsgiClient) -> None:
    """
    Send an error of the gateway.

    An event stream that has started gets it as its last event. Any other started answer is left
    without its end: the server then cuts the connection, so that it does not look complete.
    """
    if not client.is_started:
        for name, value in refusal.headers:
            client.add_header(name, value)
        error = error_body(path, refusal.status, refusal.error)
        await client.answer(refusal.status, JSON, error)
    elif client.is_event_stream:
        # Part of an event may have been sent: a blank line ends it.
        await client.finish(b"\n\n" + error_event(path, refusal.status, refusal.error))

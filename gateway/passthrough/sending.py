"""
Sending a passed-through answer on to the client.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

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
from .cut_events import LONE_HALF, is_utf8
from .given import Given
from .rewriting import EventRewriter
from .signs_of_life import SignsOfLife

_OF_REPEATING = (b"retry-after", b"retry-after-ms", b"x-should-retry")
"""Headers that tell a client when to try again; they outlive the body that they came with."""

Rest: TypeAlias = Callable[[Sink], Awaitable[None]]
"""Passes on the rest of an answer's body."""
Rewriting: TypeAlias = Callable[[Sink], EventRewriter]
"""Makes the rewriter of a stream."""

_SOUND: Final = re.compile(
    rb'(?>(?:event: [a-z_.]++\n)?data: \{"(?:id|object|choices|created|model|type)"[^\n]*+\n\n)++'
    rb"(?:data: \[DONE\]\n\n)?"
    rb"|data: \[DONE\]\n\n"
)
"""Whole events of one line each, as LM Studio sends them (docs/facts/lmstudio.md#sse)."""
_CR, _BACKSLASH = b"\r\\"  # as numbers: looking for one is ten times as fast


async def conclude(
    answer: RawAnswer,
    start: Start,
    rest: Rest | None,
    path: str,
    client: AsgiClient,
    sign_of_life_s: float,
    rewriting: Rewriting | None = None,
    marks: tuple[bytes, ...] | None = None,
    *,
    is_ollama: bool = False,
    given: Given | None = None,
    when_whole: Callable[[], None],
) -> None:
    """
    Send an answer on, an error in the caller's dialect. Raises UpstreamFailure.

    `when_whole` is called when the host has nothing more to do for it, before the client has read.

    `rewriting` mends the events of a stream, and changes them: all for None as `marks`, else those
    in which one of these is. With `is_ollama` an error is written anew in any case. `given` looks
    at what is sent before it is.
    """
    failure = start.failure
    if failure is not None and (answer.status < 400 or client.is_started):
        raise afresh(failure)
    if client.is_started and not answer.is_event_stream:
        raise UpstreamFailure("it answered a request for a stream without one", fault="not_sse")
    if failure is not None:
        current().fault = failure.fault or STATED
    if failure is not None and (is_ollama or not is_in_dialect(path, b"".join(start.held))):
        error = envelope(path, answer.status, failure.message)
        for name, value in answer.headers:
            if name in _OF_REPEATING:
                client.add_header(name.decode("ascii"), value.decode("latin-1"))
        when_whole()
        await client.answer(answer.status, JSON, encode(error))
        return
    if start.is_whole or rest is None:
        when_whole()
    await _send_on(
        answer, start, rest, path, client, sign_of_life_s, rewriting, marks, given, when_whole
    )


async def _send_on(
    answer: RawAnswer,
    start: Start,
    rest: Rest | None,
    path: str,
    client: AsgiClient,
    sign_of_life_s: float,
    rewriting: Rewriting | None,
    marks: tuple[bytes, ...] | None,
    given: Given | None,
    when_whole: Callable[[], None],
) -> None:
    """Send an answer on as it arrives. Raises UpstreamFailure for a stream that ends too early."""
    if not client.is_started:
        await client.start(answer.status, answer.headers)
    end = b""
    record = current()

    def send_chunk(chunk: bytes) -> Awaitable[None] | None:
        nonlocal end
        record.events += 1
        end = (end + chunk)[-END_BYTES:]
        return client.push(chunk)

    rewriter: EventRewriter | None = None

    def watch(chunk: bytes) -> Awaitable[None] | None:
        """Send a chunk in which nothing is odd as it is, and others by way of the rewriter."""
        # One function with `send_chunk`: it is entered for every token, and a token's bytes are
        # searched only.
        nonlocal end, rewriter
        if (
            (rewriter is None or rewriter.is_idle)
            and marks is not None
            and _SOUND.fullmatch(chunk)
            and _CR not in chunk
            and chunk.find(b"error") < 0
            and (_BACKSLASH not in chunk or LONE_HALF.search(chunk) is None)
            and (chunk.isascii() or is_utf8(chunk))
        ):
            for mark in marks:
                if chunk.find(mark) >= 0:
                    break
            else:
                record.events += 1
                end = (end + chunk)[-END_BYTES:]
                return client.push(chunk)
        if rewriter is None:
            assert rewriting is not None, "only a stream with a rewriter is watched"
            rewriter = rewriting(send_chunk)
        return rewriter.take(chunk)

    take: Sink = watch if rewriting is not None and client.is_event_stream else send_chunk
    if given is not None:
        take = _looked_at(given, take)
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
    when_whole()
    if given is not None:
        given.end()
    if rewriter is not None and (pending := rewriter.close()) is not None:
        await pending
    record.note_usage(b"".join(start.held[:1])[:END_BYTES] + end)
    may_end = answer.status in BODILESS or ends_well(path, end)
    if client.is_event_stream and not may_end:
        raise UpstreamFailure(
            "its stream ended without saying that the answer is complete", fault="closed_mid_stream"
        )
    await client.finish()


def _looked_at(given: Given, take: Sink) -> Sink:
    def look(chunk: bytes) -> Awaitable[None] | None:
        given.take(chunk)
        return take(chunk)

    return look


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

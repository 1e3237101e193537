"""
The start of a passed-through answer: its kind, the error in it, and the changes to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec

from ..faults import UpstreamFailure, afresh
from ..runtime.context import RequestContext
from ..runtime.patching import Change, Rewrite, changed
from ..upstream.answers import RawAnswer, check_json, may_be_error, raise_error_event
from ..upstream.exchange import MAX_ERROR_BYTES
from ..upstream.sse import FIELD_STARTS, Event, SseDecoder
from ..upstream.stated_errors import describe_body, is_unknown_endpoint, read_error
from ..wire.lenient import BOM, UNREADABLE
from .cut_events import LONE_HALF, is_utf8, mended_body
from .json_members import join_members, members_of, strict_members_of

_JSON_BYTES = 1024 * 1024
"""Most bytes of an inference's answer that are held to check it; a longer one is not checked."""

_OF_THE_BYTES = (b"content-length", b"content-md5", b"digest", b"etag", b"last-modified")
"""Headers that describe a body's bytes, and are wrong once the body is changed."""

_ERROR = "error"
_ERROR_START = b'{"error":'
_ERROR_START_BYTES = len(BOM) + len(_ERROR_START)
_MOST_BLANKS = 1024
"""Bytes of one read in which an error's first key is looked for."""

_BACKSLASH = 92

_WIRE_FAULTS = ("first_byte_timeout", "silence_timeout", "closed_mid_stream", "bad_http")


class Start(NamedTuple):
    """The bytes that were read of an answer to classify it, and the result."""

    held: list[bytes]
    failure: UpstreamFailure | None = None
    model: str = ""
    is_whole: bool = False
    members: dict[str, msgspec.Raw] | None = None
    """Those of a whole answer, if they were read already."""


async def look_at(
    answer: RawAnswer,
    chunks: AsyncIterator[bytes],
    *,
    is_inference: bool,
    most_changed: int,
    named_by: tuple[str, ...],
) -> Start:
    """
    Read as much of an answer as shows whether it is an error, and which model answered.

    That is an error's whole body, an event stream's first event, and the whole JSON, up to a limit,
    of an inference and of an answer that is changed: of that one `most_changed` bytes, 0 for one
    that is not. Raises UpstreamFailure for a longer one. Of other JSON the start is read, since LM
    Studio answers 200 on a route that it lacks (docs/facts/lmstudio.md#unknown-path). The first
    member of `named_by` that is present names the model.
    """
    if answer.status >= 400:
        held = await _read_up_to(chunks, MAX_ERROR_BYTES)
        return Start(held, _stated(b"".join(held), answer.status))
    if answer.status != 200:
        return Start([])
    if not (is_inference or most_changed or answer.is_event_stream):
        return await _look_for_lacking_route(chunks) if answer.is_json else Start([])
    held = []
    async for chunk in chunks:
        held.append(chunk)
        if chunk.strip():
            break
    start = b"".join(held).lstrip()
    try:
        if start.startswith(FIELD_STARTS) or answer.is_event_stream:
            return await _first_event(held, chunks, is_inference, named_by)
        if not start.startswith((b"{", b"[", b"<")) and start:
            return Start(held)
        limit = most_changed or _JSON_BYTES
        held += await _read_up_to(chunks, limit)
        body = b"".join(held)
        if most_changed and len(body) >= limit:
            raise UpstreamFailure(f"an answer of more than {limit} bytes", fault="bad_http")
        if len(body) >= limit and not start.startswith(b"<"):
            return Start(held)
        # One decode for all: that of vectors looks at megabytes.
        members = strict_members_of(body.removeprefix(BOM))
        if members is None or _ERROR in members:
            members = members_of(check_json(body))
        return Start([body], model=_model_in(members, named_by), is_whole=True, members=members)
    except UpstreamFailure as failure:
        if failure.fault in _WIRE_FAULTS:
            raise
        # The one that was raised leads to frames that will hold it (on Python 3.13, in a cycle).
        return Start(held, afresh(failure))


async def _look_for_lacking_route(chunks: AsyncIterator[bytes]) -> Start:
    """Read a JSON answer's start, and the whole of it when that is an error's."""
    held: list[bytes] = []
    start = b""
    while len(start) < _ERROR_START_BYTES and (chunk := await anext(chunks, b"")):
        held.append(chunk)
        start += b"".join(chunk[:_MOST_BLANKS].split())
    if start.removeprefix(BOM).startswith(_ERROR_START):
        held += await _read_up_to(chunks, MAX_ERROR_BYTES)
        stated = read_error(b"".join(held))
        if stated is not None and is_unknown_endpoint(stated.message):
            return Start(
                held, UpstreamFailure(stated.message, status=200, fault="unknown_endpoint")
            )
    return Start(held)


async def _first_event(
    held: list[bytes], chunks: AsyncIterator[bytes], is_inference: bool, named_by: tuple[str, ...]
) -> Start:
    decoder, size = SseDecoder(), 0
    events: list[Event] = []
    for chunk in held:
        events += decoder.feed(chunk)
    while not events and size < MAX_ERROR_BYTES:
        chunk = await anext(chunks, b"")
        if not chunk:
            events = decoder.close()
            break
        held.append(chunk)
        size += len(chunk)
        events = decoder.feed(chunk)
    if not events:
        if is_inference and size < MAX_ERROR_BYTES:
            raise UpstreamFailure("the event stream ended without an event", fault="empty")
        return Start(held)
    if may_be_error(events[0]):
        raise_error_event(events[0])
    is_checked = is_inference and events[0].data.startswith(b"{")
    members = members_of(check_json(events[0].data)) if is_checked else None
    model = _model_in(members, named_by)
    return Start(held, model=model)


async def _read_up_to(chunks: AsyncIterator[bytes], limit: int) -> list[bytes]:
    held: list[bytes] = []
    size = 0
    while size < limit and (chunk := await anext(chunks, b"")):
        held.append(chunk)
        size += len(chunk)
    return held


def patch_answer(
    answer: RawAnswer,
    start: Start,
    changes: tuple[Change, ...],
    rewrites: tuple[Rewrite, ...],
    context: RequestContext,
) -> Start:
    """
    Return the start of an answer that was read whole, mended and with what rules change in it.

    An answer with nothing to mend or to change keeps its bytes. Raises what rewriters raise.
    """
    came = b"".join(start.held)
    body = came
    if (_BACKSLASH in came and LONE_HALF.search(came)) or not (came.isascii() or is_utf8(came)):
        body = mended_body(came)
    is_changed = bool(changes) or body is not came
    # Plain loops: a generator would be entered once for every mark.
    wanted: list[Rewrite] = []
    for rewrite in rewrites:
        for mark in rewrite.marks or (b"",):
            if mark in body:
                wanted.append(rewrite)
                break
    if not (is_changed or wanted):
        return start
    members = start.members
    if members is None or body is not came:
        members = members_of(body.removeprefix(BOM))
    if members is None:
        return start
    before = members
    for rewrite in wanted:
        made = rewrite.make(context)
        members = [members, *made.take(members), *made.end()][-1]
    after = changed(members, changes, context)
    if after is None and members is before and body is came:
        return start
    body = join_members(members if after is None else after)
    answer.headers = [item for item in answer.headers if item[0] not in _OF_THE_BYTES]
    answer.headers.append((b"content-length", str(len(body)).encode("ascii")))
    return start._replace(held=[body], members=None)


def _model_in(members: dict[str, msgspec.Raw] | None, named_by: tuple[str, ...]) -> str:
    """Return the model that an answer of these members names, "" when it names none."""
    for name in named_by:
        try:
            named = msgspec.json.decode((members or {}).get(name, b"null"))
        except UNREADABLE:
            continue
        if isinstance(named, str):
            return named
    return ""


def _stated(body: bytes, status: int) -> UpstreamFailure:
    stated = read_error(body)
    if stated is not None and stated.message:
        return UpstreamFailure(stated.message, status=status, code=stated.code)
    code = None if stated is None else stated.code
    return UpstreamFailure(f"status {status} with {describe_body(body)}", status=status, code=code)

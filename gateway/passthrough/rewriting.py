"""
The events of a stream with changes of their members, and tool calls that come whole.

This is for streams that rules change; every other stream is passed on byte by byte.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..runtime.context import RequestContext
from ..runtime.patching import Change, changed
from ..transforms import merge_tool_calls
from ..types import internal, openai
from ..upstream.body import Sink
from ..upstream.sse import Event, SseDecoder
from ..wire.lenient import UNREADABLE
from .json_members import join_members, members_of

_decode_fragments = msgspec.json.Decoder(list[openai.ToolCallFragment]).decode
_decode_choices = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


class Rewriter:
    """Rewrites the events of one stream on their way to `sink`."""

    def __init__(self, changes: tuple[Change, ...], context: RequestContext, sink: Sink) -> None:
        self._changes = changes
        self._context = context
        self._sink = sink
        self._decoder = SseDecoder()
        self._calls: list[internal.AssembledToolCall] | UnsetType = UNSET

    def take(self, data: bytes) -> Awaitable[None] | None:
        """Take the next bytes; the caller must await a returned awaitable before it goes on."""
        return self._pass_on(self._decoder.feed(data))

    def close(self) -> Awaitable[None] | None:
        """Pass on an event at the end that lacks its blank line."""
        return self._pass_on(self._decoder.close())

    def _pass_on(self, events: list[Event]) -> Awaitable[None] | None:
        lines = b"".join(self._written(event) for event in events)
        return self._sink(lines) if lines else None

    def _written(self, event: Event) -> bytes:
        named = b"event: %b\n" % event.name.encode() if event.name else b""
        if not event.data:
            return b""
        members = members_of(event.data)
        if members is None or event.name:
            return b"%bdata: %b\n\n" % (named, event.data)
        written = []
        for one in self._with_whole_calls(members):
            after = changed(one, self._changes, self._context)
            written.append(b"data: %b\n\n" % join_members(one if after is None else after))
        return b"".join(written)

    def _with_whole_calls(self, members: dict[str, Raw]) -> list[dict[str, Raw]]:
        """Return the events that come of one: calls are held until a choice is finished."""
        try:
            choices = _decode_choices(members["choices"])
            delta = _decode_object(choices[0]["delta"])
        except (*UNREADABLE, LookupError):
            return [members]
        fragments = delta.pop("tool_calls", None)
        if fragments is not None:
            try:
                self._calls = merge_tool_calls(self._calls, _decode_fragments(fragments))
            except UNREADABLE:
                return [members]
        is_finished = bytes(choices[0].get("finish_reason", b"null")) != b"null"
        events: list[dict[str, Raw]] = []
        if is_finished and not isinstance(self._calls, UnsetType):
            whole = {"content": "", "tool_calls": [_whole(call) for call in self._calls]}
            unfinished = {**choices[0], "delta": whole, "finish_reason": None}
            events.append({**members, "choices": Raw(msgspec.json.encode([unfinished]))})
            self._calls = UNSET
        if fragments is None:
            events.append(members)
        elif is_finished or any(bytes(delta.get(name, b"")) not in _NOTHING for name in _SAID):
            changed_choice = {**choices[0], "delta": delta}
            rest = Raw(msgspec.json.encode([changed_choice, *choices[1:]]))
            events.append({**members, "choices": rest})
        return events


_SAID = ("content", "reasoning_content", "reasoning")
_NOTHING = (b"", b"null", b'""')


def _whole(call: internal.AssembledToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    identified = {} if isinstance(call.id, UnsetType) else {"id": call.id}
    return {**identified, "index": call.index, "type": "function", "function": function}

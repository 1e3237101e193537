"""
Tool calls of answers that are passed on, in chunks of a stream and in whole answers.

Each function makes a rewriter for one answer, which takes its chunks one after the other; a whole
answer is its only chunk (`gateway/passthrough/rewriting.py`).
"""

from __future__ import annotations

from secrets import token_hex
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..faults import UpstreamFailure
from ..types import internal, openai
from ..wire.lenient import UNREADABLE
from ..wire.odd_values import note_odd
from ..wire.salvage import NotJson, salvage
from ._calls import Calls, check_number, function_of, text_of
from .rewriter import Chunk, Rewriter
from .tool_fragments import finished_calls

_decode_items: Final = msgspec.json.Decoder(list[Raw]).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_fragment: Final = msgspec.json.Decoder(openai.ToolCallFragment).decode
_SAID: Final = ("content", "reasoning_content", "reasoning", "refusal")
_NOTHING: Final = (b"", b"null", b'""')
_OLDER_FINISH: Final = Raw(b'"function_call"')
_NULL: Final = Raw(b"null")


def sound_calls(tools: list[str], most: int) -> Rewriter:
    """
    Return a rewriter that gives clients tool calls which they can join by their indexes.

    `tools` are the names that the model was offered. Calls keep coming in fragments. What is sound
    stays as it came (docs/facts/lmstudio.md#tool-fragments-odd). Taking a chunk raises
    UpstreamFailure (`bad_tool_arguments`) for more than `most` calls.

    >>> calls = sound_calls([], 9)
    >>> for fragment in (
    ...     b'{"index":0,"id":"1","function":{"name":"f","arguments":"{"}}',
    ...     b'{"index":0,"id":"2","function":{"name":"","arguments":"}"}}',
    ... ):
    ...     chunk = {"choices": Raw(b'[{"delta":{"tool_calls":[' + fragment + b']}}]')}
    ...     [bytes(one["choices"]).decode() for one in calls.take(chunk)]
    ['[{"delta":{"tool_calls":[{"index":0,"id":"1","function":{"name":"f","arguments":"{"}}]}}]']
    ['[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}}]']
    """
    return SoundCalls(tools, most)


def whole_calls(tools: list[str], most: int) -> Rewriter:
    """
    Return a rewriter that holds the tool calls of a stream until its choice is finished.

    They come whole in one chunk then, as Ollama sends them (docs/facts/ollama.md#v1-chat). `tools`
    are the names that the model was offered. Taking a chunk raises UpstreamFailure
    (`bad_tool_arguments`) when no call had a name, and for more than `most` calls.

    >>> calls = whole_calls([], 9)
    >>> call = b'{"index":0,"id":"1","function":{"name":"f","arguments":"{}"}}'
    >>> calls.take({"choices": Raw(b'[{"delta":{"tool_calls":[' + call + b']}}]')})
    []
    >>> len(calls.take({"choices": Raw(b'[{"delta":{},"finish_reason":"tool_calls"}]')}))
    2
    """
    return WholeCalls(tools, most)


class _Head(NamedTuple):
    """What of a call a client has got with its first fragment."""

    place: int
    identity: str
    name: str


class _Choice:
    """The calls of one choice of a stream."""

    def __init__(self, tools: list[str]) -> None:
        self.calls = Calls((), tools)
        self.heads: dict[int, _Head] = {}
        """The heads that were sent, by the places of their calls in `calls`."""
        self.taken: set[str] = set()
        """The ids that calls have."""
        self.is_newer = False
        """Whether calls came in the form that a list of tools is answered with."""


class _Begun(NamedTuple):
    """A first fragment in a chunk that waits: the rest of its name may come."""

    choice: int
    fragment: int


class SoundCalls:
    """Repairs the fragments of one answer; what is sound keeps its bytes."""

    def __init__(self, tools: list[str], most: int) -> None:
        self._tools = tools
        self._most = most
        self._choices: dict[int, _Choice] = {}
        self._held: Chunk | None = None
        self._begun: dict[tuple[int, int], _Begun] = {}
        """The calls whose first fragments are in the chunk that waits, by choice and place."""

    @property
    def is_waiting(self) -> bool:
        """Whether a chunk or a call without a name waits, so that the next one must be taken."""
        if self._held is not None:
            return True
        return any(len(one.heads) != len(one.calls) for one in self._choices.values())

    def take(self, chunk: Chunk) -> list[Chunk]:
        """
        Return the chunks that come in place of one; a list of itself where it is sound.

        Raises UpstreamFailure (`bad_tool_arguments`) when no call of a finished choice has a name,
        and for too many calls.
        """
        try:
            choices = _decode_items(chunk["choices"])
        except (*UNREADABLE, LookupError):
            return [*self.end(), chunk]
        begun: dict[tuple[int, int], _Begun] = {}
        after: list[Any] = []
        is_finished = is_changed = False
        for raw in choices:
            if raw == _NULL:
                is_changed = True
                note_odd("ChatCompletionChunk", ("choices[]",))
                continue
            choice, changed = self._choice(raw, len(after), begun)
            if bytes(choice.get("finish_reason", b"null")) != b"null":
                is_finished = True
                self._check_names(len(after))
            is_changed |= changed is not None
            after.append(raw if changed is None else changed)
        if is_changed:
            said = [one for one in after if not isinstance(one, dict) or not _says_nothing(one)]
            if not said and _is_without(chunk, "usage"):
                return []
            chunk = {**chunk, "choices": Raw(msgspec.json.encode(after))}
        held = self.end()
        if begun and not is_finished:
            self._held, self._begun = chunk, begun
            return held
        return [*held, chunk]

    def end(self) -> list[Chunk]:
        """Return what waits."""
        held, self._held = self._held, None
        self._begun = {}
        return [] if held is None else [held]

    def _choice(
        self, raw: Raw, place: int, begun: dict[tuple[int, int], _Begun]
    ) -> tuple[Chunk, dict[str, Any] | None]:
        """Return a choice's members, and the members that it becomes, None where it is sound."""
        try:
            choice = _decode_members(raw)
            part = "delta" if "delta" in choice else "message"
            said = _decode_members(choice.get(part, b"{}"))
            listed = _listed(said)
            older = said.get("function_call", _NULL)
        except UNREADABLE:
            return {}, None
        if self._tools and (older != _NULL or choice.get("finish_reason") == _OLDER_FINISH):
            return self._newer(choice, part, said, place, begun)
        if not listed:
            return choice, None
        check_number(len(listed), self._most)
        if part == "message":
            fragments = self._whole(listed)
        else:
            known = self._choices.setdefault(place, _Choice(self._tools))
            fragments = self._fragments(known, place, listed, begun)
        if fragments is None:
            return choice, None
        changed: dict[str, Any] = {**said, "tool_calls": fragments}
        if not fragments:
            del changed["tool_calls"]
        return choice, {**choice, part: changed}

    def _newer(
        self,
        choice: Chunk,
        part: str,
        said: Chunk,
        place: int,
        begun: dict[tuple[int, int], _Begun],
    ) -> tuple[Chunk, dict[str, Any]]:
        """Return a choice in the older form of a call, as a request with `tools` knows it."""
        older = said.get("function_call", _NULL)
        said = {name: raw for name, raw in said.items() if name != "function_call"}
        known = self._choices.setdefault(place, _Choice(self._tools))
        # A server that sends both forms says the same in them.
        known.is_newer = known.is_newer or bool(_listed(said))
        if older != _NULL and not known.is_newer:
            said["tool_calls"] = Raw(b'[{"function":%b}]' % bytes(older))
        finish = choice.get("finish_reason")
        if finish == _OLDER_FINISH:
            choice = {**choice, "finish_reason": Raw(b'"tool_calls"')}
        choice = {**choice, part: Raw(msgspec.json.encode(said))}
        _, after = self._choice(Raw(msgspec.json.encode(choice)), place, begun)
        return choice, after or {**choice, part: said}

    def _check_names(self, place: int) -> None:
        """Look for calls of a finished choice without a name, which were not sent."""
        known = self._choices.get(place)
        if known is None or len(known.heads) == len(known.calls):
            return
        note_odd("ToolCallFragment", ("function.name",))
        if not known.heads:
            raise UpstreamFailure(
                "LM Studio sent a tool call without a name", fault="bad_tool_arguments"
            )

    def _fragments(
        self,
        known: _Choice,
        choice: int,
        listed: list[Raw],
        begun: dict[tuple[int, int], _Begun],
    ) -> list[Any] | None:
        """Return the fragments that stand for those of a chunk, None where all are sound."""
        after: list[Any] = []
        for raw in listed:
            fragment = _read_fragment(raw)
            call = None if fragment is None else known.calls.add(fragment)
            if fragment is None or call is None:
                # A fragment that says nothing is sound where its call is known.
                if fragment is not None and fragment.index in range(len(known.heads)):
                    after.append(raw)
                continue
            if not call.name:
                continue
            head = known.heads.get(call.index)
            if head is None:
                head = self._head(known, call, fragment)
                arguments = known.calls.arguments_of(call)
                if not arguments:
                    begun[choice, call.index] = _Begun(choice, len(after))
                is_sound = _is_sound_head(fragment, head, arguments)
                after.append(raw if is_sound else _begin(head, arguments))
                continue
            if call.name != head.name:
                rest = call.name.removeprefix(head.name)
                known.heads[call.index] = head._replace(name=call.name)
                if not self._rename((choice, call.index), call.name):
                    after.append({"index": head.place, "function": {"name": rest}})
            if _is_sound_piece(fragment, head):
                after.append(raw)
            elif text := _text(fragment):
                after.append({"index": head.place, "function": {"arguments": text}})
        check_number(len(known.calls), self._most)
        return None if after == listed else after

    def _head(
        self, known: _Choice, call: internal.AssembledToolCall, fragment: openai.ToolCallFragment
    ) -> _Head:
        """Remember and return what the client gets of a call that begins."""
        stated = (fragment.id, call.id)
        fresh = (one for one in stated if isinstance(one, str) and one and one not in known.taken)
        identity = next(fresh, None) or f"call_{token_hex(4)}"
        known.taken.add(identity)
        head = _Head(len(known.heads), identity, call.name)
        known.heads[call.index] = head
        return head

    def _rename(self, key: tuple[int, int], name: str) -> bool:
        """Give the whole name to a call whose first fragment still waits; tell whether it does."""
        begun = self._begun.get(key)
        if begun is None or self._held is None:
            return False
        choices = msgspec.json.decode(self._held["choices"])
        # The list may have lost nulls before it was held, never after.
        choices[begun.choice]["delta"]["tool_calls"][begun.fragment]["function"]["name"] = name
        self._held = {**self._held, "choices": Raw(msgspec.json.encode(choices))}
        return True

    def _whole(self, listed: list[Raw]) -> list[Any] | None:
        """Return the calls that stand for those of a whole message, None where all are sound."""
        fragments = [_read_fragment(raw) for raw in listed]
        calls = Calls((), self._tools)
        for fragment in fragments:
            if fragment is not None:
                calls.add(fragment)
        finished = finished_calls(calls, UNSET)
        named = [] if isinstance(finished, UnsetType) else finished
        if len(named) == len(fragments) and all(
            fragment is not None
            and isinstance(fragment.function, openai.FunctionFragment)
            and (fragment.id, fragment.function.name) == (call.id, call.name)
            and _is_text(fragment.function.arguments)
            for fragment, call in zip(fragments, named, strict=True)
        ):
            return None
        return [{"id": call.id, "type": "function", "function": _function(call)} for call in named]


class WholeCalls:
    """Holds the calls of the first choice of a stream until that is finished."""

    is_waiting = True
    """Whether every chunk must be taken."""

    def __init__(self, tools: list[str], most: int) -> None:
        self._tools = tools
        self._most = most
        self._calls: Calls | None = None

    def take(self, chunk: Chunk) -> list[Chunk]:
        """Return the chunks that come in place of one; a list of itself where it is as it came."""
        try:
            choices = _decode_items(chunk["choices"])
            choice = _decode_members(choices[0])
            delta = _decode_members(choice["delta"])
            listed = _decode_items(delta.pop("tool_calls", b"[]"))
        except (*UNREADABLE, LookupError):
            return [chunk]
        check_number(len(listed), self._most)
        if fragments := [one for raw in listed if (one := _read_fragment(raw)) is not None]:
            self._calls = Calls((), self._tools) if self._calls is None else self._calls
            self._calls.add_all(fragments, self._most)
        is_finished = bytes(choice.get("finish_reason", b"null")) != b"null"
        chunks: list[Chunk] = []
        if is_finished and self._calls is not None:
            finished = finished_calls(self._calls, UNSET)
            said = [] if isinstance(finished, UnsetType) else [*map(_call, finished)]
            whole = {"content": "", "tool_calls": said}
            unfinished = {**choice, "delta": whole, "finish_reason": None}
            chunks.append({**chunk, "choices": Raw(msgspec.json.encode([unfinished]))})
            self._calls = None
        if not listed:
            chunks.append(chunk)
        elif is_finished or any(bytes(delta.get(name, b"")) not in _NOTHING for name in _SAID):
            rest = Raw(msgspec.json.encode([{**choice, "delta": delta}, *choices[1:]]))
            chunks.append({**chunk, "choices": rest})
        return chunks

    def end(self) -> list[Chunk]:
        """Return nothing: calls of a choice that was not finished are not whole."""
        return []


def _listed(said: Chunk) -> list[Raw]:
    """Return the calls in a message or a delta. Raises msgspec.DecodeError for no list."""
    raw = said.get("tool_calls", _NULL)
    return [] if raw == _NULL else _decode_items(raw)


def _read_fragment(raw: Raw) -> openai.ToolCallFragment | None:
    """Return a fragment without its odd values, which are counted; None if nothing is left."""
    try:
        return _decode_fragment(raw)
    except UNREADABLE:
        try:
            value, odd = salvage(bytes(raw), openai.ToolCallFragment)
        except NotJson:
            value, odd = None, ["tool_calls[]"]
        note_odd("ToolCallFragment", odd)
        return value if isinstance(value, openai.ToolCallFragment) else None


def _is_sound_head(fragment: openai.ToolCallFragment, head: _Head, arguments: str) -> bool:
    function = fragment.function
    return (
        isinstance(function, openai.FunctionFragment)
        and (fragment.index, fragment.id, function.name) == head
        and (function.arguments is UNSET or _is_text(function.arguments))
        and (not arguments or _text(fragment) == arguments)
    )


def _is_sound_piece(fragment: openai.ToolCallFragment, head: _Head) -> bool:
    function = fragment.function
    return (
        fragment.index == head.place
        and fragment.id in (UNSET, None, "", head.identity)
        and isinstance(function, openai.FunctionFragment)
        and not (function.name or None)
        and (function.arguments is UNSET or _is_text(function.arguments))
    )


def _begin(head: _Head, arguments: str) -> dict[str, Any]:
    function = {"name": head.name, "arguments": arguments}
    return {"index": head.place, "id": head.identity, "type": "function", "function": function}


def _text(fragment: openai.ToolCallFragment) -> str:
    return text_of(function_of(fragment).arguments)


def _is_text(raw: Raw | UnsetType) -> bool:
    return not isinstance(raw, UnsetType) and bytes(memoryview(raw)[:1]) == b'"'


def _is_without(chunk: Chunk, name: str) -> bool:
    return bytes(chunk.get(name, b"null")) == b"null"


def _says_nothing(choice: dict[str, Any]) -> bool:
    """Return whether a changed choice has lost all that it said."""
    if bytes(choice.get("finish_reason", b"null")) != b"null" or "message" in choice:
        return False
    delta = choice.get("delta")
    values = delta.values() if isinstance(delta, dict) else [delta]
    return all(isinstance(value, Raw) and bytes(value) in _NOTHING for value in values)


def _function(call: internal.AssembledToolCall) -> dict[str, str]:
    # A client reads it as JSON, which nothing is not.
    return {"name": call.name, "arguments": call.arguments or "{}"}


def _call(call: internal.AssembledToolCall) -> dict[str, Any]:
    return {"id": call.id, "index": call.index, "type": "function", "function": _function(call)}

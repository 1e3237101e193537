"""
The assignment of fragments of tool calls to calls.

Which fragments belong together, and which one begins a call, is decided by what came to users
(docs/facts/lmstudio.md#tool-fragments, docs/facts/lmstudio.md#tool-fragments-odd).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..faults import UpstreamFailure
from ..types import internal, openai
from ..wire.cut_text import mended
from ..wire.lenient import UNREADABLE

_MARK: Final = re.compile(r'\\.?|[{}\[\]"]', re.DOTALL)
_text = msgspec.json.Decoder(str).decode


class _Arguments:
    """The arguments of a call as their pieces come, with the nesting of what was read of them."""

    __slots__ = ("_depth", "_in_text", "_left", "_pieces", "_read", "names")

    def __init__(self, name: str, text: str) -> None:
        self.names = [name] if name else []
        """The pieces of the call's name."""
        self._pieces = [text] if text else []
        self._read = 0
        """The number of pieces whose nesting is known."""
        self._left = ""
        """An escape that the last piece that was read began."""
        self._depth = 0
        self._in_text = False

    @property
    def is_empty(self) -> bool:
        return not self._pieces

    @property
    def is_whole(self) -> bool:
        """Whether they are a whole object or list. The work is linear in all their pieces."""
        text = self._left + "".join(self._pieces[self._read :])
        self._read, self._left = len(self._pieces), ""
        for found in _MARK.finditer(text):
            mark = found[0]
            if mark == '"':
                self._in_text = not self._in_text
            elif mark == "\\":
                self._left = mark
            elif not self._in_text and len(mark) == 1:
                self._depth += 1 if mark in "{[" else -1
        return not (self._depth or self._in_text or self._left or self.is_empty)

    def add(self, text: str) -> None:
        if text and (self._pieces or text.strip()):
            self._pieces.append(text)

    def joined(self) -> str:
        return "".join(self._pieces)


class Calls(list[internal.AssembledToolCall]):
    """
    Tool calls, each with the index that LM Studio gives its fragments.

    `tools` are the names that the model was offered, as far as they are known before the end.
    """

    __slots__ = ("_arguments", "_by_id", "_by_place", "_places", "_tools")

    def __init__(
        self,
        calls: list[internal.AssembledToolCall] | tuple[()] = (),
        tools: Iterable[str] = (),
    ) -> None:
        super().__init__(calls)
        self._tools = frozenset(tools)
        self._by_id = {call.id: call for call in calls if isinstance(call.id, str)}
        """The last call with each id."""
        self._by_place: dict[int | float, internal.AssembledToolCall] = {
            call.index: call for call in calls
        }
        """The last call with each index."""
        self._places: list[int | float | None] = [call.index for call in calls]
        """The index of each call's first fragment, in the order of the calls."""
        self._arguments = [_Arguments(call.name, call.arguments) for call in calls]

    def add(self, fragment: openai.ToolCallFragment) -> internal.AssembledToolCall | None:
        """Add a fragment to its call, which may be a new one; return it, None for no call."""
        place = None if isinstance(fragment.index, UnsetType) else fragment.index
        identity = fragment.id or ""
        function = function_of(fragment)
        name = function.name or ""
        text = text_of(function.arguments)
        if not (identity or name or text):
            return None
        call = self._named(place, identity, name) if name else self._next(place, identity)
        if call is None:
            if not (name or text):
                return None
            call = internal.AssembledToolCall(index=len(self), name="", arguments="")
            self.append(call)
            self._places.append(place)
            self._arguments.append(_Arguments("", ""))
            if place is not None:
                self._by_place[place] = call
        if identity and isinstance(call.id, UnsetType):
            call.id = identity
            self._by_id[identity] = call
        arguments = self._arguments[call.index]
        if name and name not in arguments.names:
            arguments.names.append(name)
            call.name += name
        arguments.add(text)
        return call

    def add_all(self, fragments: Sequence[openai.ToolCallFragment], most: int) -> None:
        """
        Add fragments to their calls.

        Raises UpstreamFailure (`bad_tool_arguments`) for more than `most` of them, or of calls.
        """
        check_number(len(fragments), most)
        for fragment in fragments:
            self.add(fragment)
        check_number(len(self), most)

    def arguments_of(self, call: internal.AssembledToolCall) -> str:
        """Return the arguments of a call as far as they have come."""
        return self._arguments[call.index].joined()

    def finish(self, tools: set[str]) -> None:
        """Give every call its arguments, and split calls whose pieces of a name are names."""
        whole: list[internal.AssembledToolCall] = []
        for call in self:
            arguments = self._arguments[call.index]
            names = arguments.names
            if len(names) > 1 and call.name not in tools and tools.issuperset(names):
                for name in names[:-1]:
                    whole.append(
                        internal.AssembledToolCall(index=0, id=call.id, name=name, arguments="")
                    )
                call.name = names[-1]
            call.name = mended(call.name)
            call.arguments = arguments.joined()
            whole.append(call)
        self[:] = whole

    def _next(self, place: int | float | None, identity: str) -> internal.AssembledToolCall | None:
        """Return the call that a fragment without a name belongs to."""
        known = self._by_id.get(identity)
        call = None if place is None else self._by_place.get(place)
        if known is not None and (call is None or call.id != identity):
            return known
        if call is not None or not self:
            return call
        last = self[-1]
        return None if self._arguments[last.index].is_whole and place is not None else last

    def _named(
        self, place: int | float | None, identity: str, name: str
    ) -> internal.AssembledToolCall | None:
        """Return the call that a fragment with a name belongs to, None if it begins one."""
        call = None if place is None else self._by_place.get(place)
        if call is not None and identity and call.id not in (identity, UNSET):
            call = None
        if call is None and identity:
            call = self._by_id.get(identity)
        if call is None and place is None and not identity and self:
            call = self[-1]
        if call is None or not call.name:
            return call
        arguments = self._arguments[call.index]
        known = self._places[call.index]
        is_elsewhere = place is not None and known is not None and place != known
        if name not in (call.name, *arguments.names):
            # Two names are two calls, unless nothing but pieces of a name came so far.
            is_piece = arguments.is_empty and place is not None and not is_elsewhere
            is_tool = {call.name, name} <= self._tools and call.name + name not in self._tools
            return call if is_piece and not is_tool else None
        if arguments.is_whole or (arguments.is_empty and is_elsewhere):
            return None
        return call


def function_of(
    fragment: openai.ToolCallFragment,
) -> openai.FunctionFragment | openai.ToolCallFragment:
    """
    Return what has the name and the arguments of a fragment: its function, or itself.

    Some servers send them beside the id (docs/facts/lmstudio.md#other-calls).
    """
    function = fragment.function
    return function if isinstance(function, openai.FunctionFragment) else fragment


def check_number(number: int, most: int) -> None:
    """
    Raise UpstreamFailure (`bad_tool_arguments`) for a number of tool calls above a limit.

    It is called before the work that grows with the number.
    """
    if number > most:
        raise UpstreamFailure(
            f"LM Studio sent more than {most} tool calls in one answer (limits.tool_calls)",
            fault="bad_tool_arguments",
        )


def text_of(raw: Raw | UnsetType) -> str:
    """
    Return arguments as text. Some servers send them as the object itself, and not as its text.

    Lone surrogates stay: the next fragment may hold the other halves.
    """
    if isinstance(raw, UnsetType):
        return ""
    try:
        return _text(raw)
    except UNREADABLE:
        text = bytes(raw).decode("utf-8", "replace")
        value = json.loads(text)
        return value if isinstance(value, str) else "" if value is None else text

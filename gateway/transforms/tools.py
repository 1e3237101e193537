"""Tool calls: conversion of arguments, and assembly of calls from fragments."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.faults import UpstreamFailure
from gateway.transforms._raw import kind_of
from gateway.types import internal, openai
from gateway.wire.go_json import mend_surrogates, rewrite


def to_json_text(arguments: Raw) -> str:
    """
    Return arguments as the JSON text that LM Studio expects, as Go writes what it has read.

    Keys keep their order, those of objects within are sorted, and numbers are written as doubles.
    (docs/facts/ollama.md#arguments-in, docs/facts/ollama.md#backend-requests)

    >>> to_json_text(Raw(b'{"b": 1.0, "a": {"d": 1E5, "c": "x"}}'))
    '{"b":1,"a":{"c":"x","d":100000}}'
    """
    return msgspec.json.encode(rewrite(msgspec.json.decode(arguments))).decode()


def object_or_absent(raw: Raw) -> Raw | UnsetType:
    """
    Return an object unchanged; null, and any other value, is absent.

    (docs/facts/ollama.md#tools)

    >>> object_or_absent(Raw(b"null"))
    UNSET
    """
    return raw if kind_of(raw) == "object" else UNSET


def to_arguments(name: str, text: str) -> Raw:
    """
    Return the arguments text of a finished call as a compact object, order of keys kept.

    No text, and null, is a call without arguments. Raises UpstreamFailure (`bad_tool_arguments`) if
    it is not an object. (docs/facts/ollama.md#tool-calls-out, docs/facts/ollama.md#bad-arguments)

    >>> bytes(to_arguments("f", '{"city": "Paris"}')), bytes(to_arguments("f", ""))
    (b'{"city":"Paris"}', b'{}')
    """
    text = text.strip()
    if text in ("", "null"):
        return Raw(b"{}")
    # A program in JavaScript may split a surrogate pair.
    text = mend_surrogates(text)
    try:
        compact = msgspec.json.encode(rewrite(msgspec.json.decode(text.encode("utf-8", "replace"))))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _bad_arguments(name, str(error)) from None
    kind = kind_of(Raw(compact))
    if kind != "object":
        raise _bad_arguments(name, f"expected an object, got {kind}")
    return Raw(compact)


def merge_tool_calls(
    calls: list[internal.AssembledToolCall] | UnsetType, fragments: list[openai.ToolCallFragment]
) -> list[internal.AssembledToolCall]:
    """
    Return the calls with what new fragments add; arguments stay text until the end.

    Fragments of a known id or index belong together, but a new id under a used index is another
    call (LM Studio 0.3.17 got indexes wrong). Without an index, a new id or a new name begins a
    call, and so does the same name once its arguments are whole. What names nothing continues the
    last call. Final indexes are 0, 1, ... in the order of the calls' first fragments.
    (docs/facts/lmstudio.md#tool-fragments, docs/facts/lmstudio.md#tool-fragments-odd)

    >>> head = openai.ToolCallFragment(
    ...     index=0, id="1", function=openai.FunctionFragment(name="f", arguments=""))
    >>> tail = openai.ToolCallFragment(
    ...     index=0, function=openai.FunctionFragment(arguments="{}"))
    >>> merge_tool_calls(merge_tool_calls(UNSET, [head]), [tail])
    [AssembledToolCall(index=0, id='1', name='f', arguments='{}')]
    """
    known = calls if isinstance(calls, _Calls) else _Calls(calls or ())
    for fragment in fragments:
        known.add(fragment)
    return known


class _Calls(list[internal.AssembledToolCall]):
    """Tool calls, each with the index that LM Studio gives its fragments."""

    __slots__ = ("_by_id", "_by_place", "_names", "_places")

    _by_id: dict[str, internal.AssembledToolCall]
    """The last call with each id."""
    _by_place: dict[int | float, internal.AssembledToolCall]
    """The last call with each index."""
    _names: set[str]
    _places: list[int | float | None]
    """The index of each call's first fragment, in the order of the calls."""

    def __init__(self, calls: list[internal.AssembledToolCall] | tuple[()]) -> None:
        super().__init__(calls)
        self._by_id = {call.id: call for call in calls if isinstance(call.id, str)}
        self._by_place = {call.index: call for call in calls}
        self._names = {call.name for call in calls}
        self._places = [call.index for call in calls]

    def add(self, fragment: openai.ToolCallFragment) -> None:
        """Add a fragment to its call, which may be a new one."""
        place = None if isinstance(fragment.index, UnsetType) else fragment.index
        identity = fragment.id or ""
        name = arguments = ""
        if isinstance(fragment.function, openai.FunctionFragment):
            name = fragment.function.name or ""
            arguments = fragment.function.arguments or ""
        if not (identity or name or arguments):
            return
        call = self._find(place, identity, name)
        if call is None:
            call = internal.AssembledToolCall(index=len(self), name=name, arguments="")
            self.append(call)
            self._places.append(place)
            if place is not None:
                self._by_place[place] = call
        if identity and isinstance(call.id, UnsetType):
            call.id = identity
            self._by_id[identity] = call
        if name and not call.name:
            call.name = name
        self._names.add(call.name)
        call.arguments += arguments

    @staticmethod
    def _is_next(
        call: internal.AssembledToolCall, known: float | None, place: float | None, name: str
    ) -> bool:
        """Whether a named fragment under a call's id begins another (ollama.md#equal-call-ids)."""
        if not name:
            return False
        is_elsewhere = place is not None and known is not None and place != known
        return _is_whole(call.arguments) or (is_elsewhere and not call.arguments)

    def _find(
        self, place: int | float | None, identity: str, name: str
    ) -> internal.AssembledToolCall | None:
        if not self:
            return None
        if identity and (call := self._by_id.get(identity)) is not None:
            known = self._places[call.index]
            return None if self._is_next(call, known, place, name) else call
        if place is not None:
            if (call := self._by_place.get(place)) is not None:
                is_other = bool(identity) and not isinstance(call.id, UnsetType)
                return None if is_other else call
            return None if identity or name else self[-1]
        if identity or (name and name not in self._names):
            return None
        return None if name and _is_whole(self[-1].arguments) else self[-1]


def _is_whole(arguments: str) -> bool:
    """Return whether arguments are complete JSON; one answer may call the same tool twice."""
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return True


def _bad_arguments(name: str, why: str) -> UpstreamFailure:
    return UpstreamFailure(
        f'LM Studio returned invalid tool call arguments for "{name}": {why}',
        fault="bad_tool_arguments",
    )

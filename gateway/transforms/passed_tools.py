"""Tools of requests that are passed on, as raw JSON: those that LM Studio takes."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..wire.raw_members import member_of
from ._raw import kind_of
from ._schemas import cleaned

_decode_items = msgspec.json.Decoder(list[Raw]).decode
_RESPONSES_TOOLS: Final = ("function", "mcp")
_SCHEMA_PLACES: Final = ("parameters", "input_schema")
"""Members that hold a tool's schema, in all of the dialects."""


def offered_tools(tools: Raw, tool_choice: Raw | UnsetType) -> list[Raw] | UnsetType:
    """
    Return the tools that LM Studio is offered, UNSET when they are those that the client offers.

    Of several, a choice of tool that names one leaves that one. Their schemas lose the patterns
    that LM Studio refuses (docs/facts/lmstudio.md#refused-content). A tool that is not changed
    keeps its bytes.

    >>> tools = Raw(b'[{"function":{"name":"f"}},{"function":{"name":"g"}}]')
    >>> chosen = offered_tools(tools, Raw(b'{"type":"function","function":{"name":"g"}}'))
    >>> [bytes(tool) for tool in chosen]
    [b'{"function":{"name":"g"}}']
    """
    name = (
        None if isinstance(tool_choice, UnsetType) else _name_of(msgspec.json.decode(tool_choice))
    )
    if name is None:
        return sound_tools(tools)
    if kind_of(tools) != "array":
        return UNSET
    offered = _decode_items(tools)
    chosen = [tool for tool in offered if _name_of(msgspec.json.decode(tool)) == name] or offered
    sound = [_sound_tool(tool) for tool in chosen]
    return UNSET if sound == offered else sound


def offers_tools(tools: Raw) -> bool:
    """
    Return whether a request has a list of tools.

    >>> offers_tools(Raw(b"[]")), offers_tools(Raw(b"null"))
    (True, False)
    """
    return kind_of(tools) == "array"


def sound_tools(tools: Raw) -> list[Raw] | UnsetType:
    """
    Return tools without the patterns in their schemas that LM Studio refuses, UNSET for none.

    A tool without one keeps its bytes (docs/facts/lmstudio.md#refused-content).

    >>> tools = sound_tools(Raw(b'[{"name":"f","input_schema":{"pattern":"a"}}]'))
    >>> [bytes(tool) for tool in tools]
    [b'{"name":"f","input_schema":{}}']
    """
    if not _may_have_pattern(tools) or kind_of(tools) != "array":
        return UNSET
    offered = _decode_items(tools)
    sound = [_sound_tool(tool) for tool in offered]
    return UNSET if sound == offered else sound


def known_tools(tools: Raw) -> list[Raw] | UnsetType:
    """
    Return the tools of a response's request that LM Studio takes, UNSET when it takes all.

    It refuses a request for one of another type (docs/facts/lmstudio.md#refused-content).

    >>> bytes(known_tools(Raw(b'[{"type":"web_search"},{"type":"function","name":"f"}]'))[0])
    b'{"type":"function","name":"f"}'
    >>> known_tools(Raw(b'[{"type":"mcp"}]'))
    UNSET
    """
    offered = _decode_items(tools)
    known = [_sound_tool(tool) for tool in offered if member_of(tool, "type") in _RESPONSES_TOOLS]
    return UNSET if known == offered else known


def _may_have_pattern(raw: Raw) -> bool:
    return bytes(raw).find(b'"pattern"') >= 0


def _sound_tool(tool: Raw) -> Raw:
    if not _may_have_pattern(tool):
        return tool
    value = msgspec.json.decode(tool)
    sound = _in_tool(value)
    return tool if sound == value else Raw(msgspec.json.encode(sound))


def _in_tool(tool: Any) -> Any:
    """Return a tool with its schema cleaned, wherever its dialect puts it."""
    if not isinstance(tool, dict):
        return tool
    found = dict(tool)
    for place in _SCHEMA_PLACES:
        if place in found:
            found[place] = cleaned(found[place])
    if "function" in found:
        found["function"] = _in_tool(found["function"])
    return found


def _name_of(tool: Any) -> object:
    """Return the name in a tool, or in a choice of one; both have it in the same place."""
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None

"""
Requests on `/v1` that LM Studio would refuse and Ollama takes, mended before they are passed on.

One short table: the field, and what its value becomes. Everything else of a body stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

Fields = dict[str, msgspec.Raw]

CHAT = "/v1/chat/completions"


def repair(path: str, fields: Fields) -> bool:
    """Mend the fields of a JSON body in place; tell whether anything changed."""
    changed = False
    for name, mend in _REPAIRS.get(path, {}).items():
        if name in fields:
            changed = mend(fields) or changed
    return changed


def _any_object(fields: Fields) -> bool:
    """
    `json_object` is refused; a schema of any object asks for the same
    (docs/facts/lmstudio.md#response-format).
    """
    wanted = _value(fields["response_format"])
    if not isinstance(wanted, dict) or wanted.get("type") != "json_object":
        return False
    schema = {"name": "json", "schema": {"type": "object"}}
    fields["response_format"] = _raw({"type": "json_schema", "json_schema": schema})
    return True


def _choice_in_words(fields: Fields) -> bool:
    """
    An object as tool_choice is refused (docs/facts/lmstudio.md#tool-choice).

    `required` with only the named tool on offer asks for the same.
    """
    choice = _value(fields["tool_choice"])
    if not isinstance(choice, dict):
        return False
    function = choice.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    tools = _value(fields["tools"]) if "tools" in fields else None
    if isinstance(tools, list) and name is not None:
        fields["tools"] = _raw([tool for tool in tools if _tool_name(tool) == name] or tools)
    fields["tool_choice"] = _raw("required")
    return True


def _tool_name(tool: Any) -> object:
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def _value(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


_REPAIRS: dict[str, dict[str, Callable[[Fields], bool]]] = {
    CHAT: {"response_format": _any_object, "tool_choice": _choice_in_words},
}

"""
Members of requests and answers that are passed on, as raw JSON.

A function here raises msgspec.DecodeError for a member that it can't read, and is UNSET where a
member stays as it is. What of a member is not changed keeps its bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.names import grammar
from gateway.types import internal, openai

_decode_items = msgspec.json.Decoder(list[Raw]).decode


def any_object_format(response_format: Raw) -> openai.ResponseFormat | UnsetType:
    """
    Return a format with a schema that any object fits, in place of `json_object`.

    LM Studio refuses that word (docs/facts/lmstudio.md#response-format). Any other format is UNSET.

    >>> any_object_format(Raw(b'{"type":"json_object"}')).type
    'json_schema'
    >>> any_object_format(Raw(b'{"type":"text"}'))
    UNSET
    """
    if _field(response_format, "type") != "json_object":
        return UNSET
    schema = openai.JsonSchemaFormat(name="json", schema=Raw(b'{"type":"object"}'))
    return openai.ResponseFormat(type="json_schema", json_schema=schema)


def tool_choice_word(tool_choice: Raw) -> str | UnsetType:
    """
    Return the word for a choice of tool that is an object; UNSET for any other value.

    LM Studio takes words only (docs/facts/lmstudio.md#tool-choice). `required` says the same when
    `chosen_tools` leaves only the tool that is meant.

    >>> tool_choice_word(Raw(b'{"type":"function"}')), tool_choice_word(Raw(b'"auto"'))
    ('required', UNSET)
    """
    return "required" if isinstance(msgspec.json.decode(tool_choice), dict) else UNSET


def chosen_tools(tools: Raw, tool_choice: Raw) -> list[Raw] | UnsetType:
    """
    Return the tools that a choice of tool names, UNSET when it names none of them or all.

    >>> tools = Raw(b'[{"function":{"name":"f"}},{"function":{"name":"g"}}]')
    >>> chosen = chosen_tools(tools, Raw(b'{"type":"function","function":{"name":"g"}}'))
    >>> [bytes(tool) for tool in chosen]
    [b'{"function":{"name":"g"}}']
    """
    name = _name_of(msgspec.json.decode(tool_choice))
    if name is None or not isinstance(msgspec.json.decode(tools), list):
        return UNSET
    offered = _decode_items(tools)
    chosen = [tool for tool in offered if _name_of(msgspec.json.decode(tool)) == name]
    return chosen if 0 < len(chosen) < len(offered) else UNSET


def behind_made_turns(messages: Raw, made: internal.MadeModel) -> list[Raw] | UnsetType:
    """
    Return messages behind the turns that a model was made with; UNSET when it has none.

    >>> turn = internal.MadeMessage(role="user", content="Fog?")
    >>> made = internal.MadeModel(parent="", license=[], parameters={}, messages=[turn])
    >>> [bytes(message) for message in behind_made_turns(Raw(b'[{"role":"user"}]'), made)]
    [b'{"role":"user","content":"Fog?"}', b'{"role":"user"}']
    """
    own = _decode_items(messages)
    return [*_turns(made), *own] if made.messages else UNSET


def behind_made_conversation(messages: Raw, made: internal.MadeModel) -> list[Raw] | UnsetType:
    """
    Return messages behind what a model was made with, its system text first; UNSET for nothing.

    A conversation whose first turn is a system text keeps that one alone
    (docs/facts/ollama.md#stored-messages).

    >>> made = internal.MadeModel(
    ...     parent="", license=[], parameters={}, messages=[], system="Rhyme.")
    >>> [bytes(message) for message in behind_made_conversation(Raw(b'[{"role":"user"}]'), made)]
    [b'{"role":"system","content":"Rhyme."}', b'{"role":"user"}']
    >>> behind_made_conversation(Raw(b'[{"role":"system"}]'), made)
    UNSET
    """
    own = _decode_items(messages)
    turns = [*_turns(made), *own]
    is_told = bool(turns) and _field(turns[0], "role") in ("system", "developer")
    if isinstance(made.system, UnsetType) or is_told:
        return turns if made.messages else UNSET
    return [_turn("system", made.system), *turns]


def kept_model(name: str, models: list[internal.CatalogueRow]) -> internal.CatalogueRow | UnsetType:
    """
    Return the model that a name stands for among those that are kept here, in any letter case.

    >>> kept_model("pilot", [])
    UNSET
    """
    asked = grammar.parse(name.strip())
    if asked is None:
        return UNSET
    for model in models:
        known = grammar.parse(model.name)
        if known is not None and known.folded == asked.folded:
            return model
    return UNSET


def _turns(made: internal.MadeModel) -> list[Raw]:
    return [_turn(turn.role, turn.content) for turn in made.messages]


def _turn(role: str, content: str) -> Raw:
    return Raw(msgspec.json.encode({"role": role, "content": content}))


def _field(raw: Raw, name: str) -> Any:
    value = msgspec.json.decode(raw)
    return value.get(name) if isinstance(value, dict) else None


def _name_of(tool: Any) -> object:
    """Return the name in a tool, or in a choice of one; both have it in the same place."""
    function = tool.get("function") if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None

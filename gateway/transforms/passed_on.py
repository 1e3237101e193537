"""
Members of requests and answers that are passed on, as raw JSON.

A function here raises msgspec.DecodeError for a member that it can't read, and is UNSET where a
member stays as it is. What of a member is not changed keeps its bytes.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..names import grammar
from ..types import internal, openai
from ..wire.lenient import parse_lenient
from ..wire.raw_members import member_of
from ._estimate import tokens

_decode_items = msgspec.json.Decoder(list[Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_objects = msgspec.json.Decoder(list[dict[str, Raw]]).decode

_PICTURE_TOKENS = 1600
_UNCOUNTED = ("type", "role", "id", "tool_use_id", "cache_control", "signature")
"""Members that say what a text is, and no model reads."""


def any_object_format(response_format: Raw) -> openai.ResponseFormat | UnsetType:
    """
    Return a format with a schema that any object fits, in place of `json_object`.

    LM Studio refuses that word (docs/facts/lmstudio.md#response-format). Any other format is UNSET.

    >>> any_object_format(Raw(b'{"type":"json_object"}')).type
    'json_schema'
    >>> any_object_format(Raw(b'{"type":"text"}'))
    UNSET
    """
    if member_of(response_format, "type") != "json_object":
        return UNSET
    schema = openai.JsonSchemaFormat(name="json", schema=Raw(b'{"type":"object"}'))
    return openai.ResponseFormat(type="json_schema", json_schema=schema)


def tool_choice_word(tool_choice: Raw) -> str | UnsetType:
    """
    Return the word for a choice of tool that is an object; UNSET for any other value.

    LM Studio takes words only (docs/facts/lmstudio.md#tool-choice). `required` says the same when
    `offered_tools` leaves only the tool that is meant.

    >>> tool_choice_word(Raw(b'{"type":"function"}')), tool_choice_word(Raw(b'"auto"'))
    ('required', UNSET)
    """
    return "required" if isinstance(msgspec.json.decode(tool_choice), dict) else UNSET


def lacks_format(text: Raw | UnsetType) -> bool:
    """
    Whether a response's `text` is an object that says nothing of a format: LM Studio refuses it.

    (docs/facts/lmstudio.md#responses)

    >>> lacks_format(Raw(b"{}")), lacks_format(Raw(b'{"format":{"type":"text"}}'))
    (True, False)
    """
    value = None if isinstance(text, UnsetType) else msgspec.json.decode(text)
    return isinstance(value, dict) and value.get("format") is None


def dated_entries(data: Raw, models: list[internal.CatalogueRow], now: str) -> list[Raw]:
    """
    Return the entries of a model list, each with a `created` in seconds since the epoch.

    LM Studio states none, and strict clients can't read a list without
    (docs/facts/lmstudio.md#openai-models). It is the time that Ollama's listings show of the model;
    an identifier that no model is known by gets `now`, in RFC 3339.

    >>> entries = Raw(b'[{"id":"x"},{"id":"y","created":5}]')
    >>> [bytes(entry) for entry in dated_entries(entries, [], "1970-01-01T00:00:07Z")]
    [b'{"id":"x","created":7}', b'{"id":"y","created":5}']
    """
    known: dict[str, str] = {}
    for model in models:
        for key in (model.request_key, model.key, *(one.id for one in model.instances)):
            known.setdefault(key, model.modified_at)
    entries: list[Raw] = []
    for raw in _decode_items(data):
        entry = msgspec.json.decode(raw)
        if isinstance(entry, dict) and not isinstance(entry.get("created"), int | float):
            name = entry.get("id")
            members = _decode_members(raw)
            seconds = unix_seconds(known.get(name, now) if isinstance(name, str) else now)
            members["created"] = Raw(b"%d" % seconds)
            raw = Raw(msgspec.json.encode(members))
        entries.append(raw)
    return entries


def unix_seconds(time: str) -> int:
    """
    Return a time of RFC 3339 in whole seconds since the epoch.

    >>> unix_seconds("2026-11-30T00:00:00.123456789Z")
    1795996800
    """
    # Python reads at most six digits of a second before 3.12's looser parser.
    whole = re.sub(r"\.\d+", "", time)
    return int(datetime.fromisoformat(whole).timestamp())


def owner_of(name: str, answers: str) -> str:
    """
    Return who a model list says owns a model: LM Studio's word, or Ollama's part of the name.

    >>> owner_of("qwen3:latest", "ollama"), owner_of("qwen/qwen3:latest", "ollama")
    ('library', 'qwen')
    """
    if answers != "ollama":
        return "organization_owner"
    parsed = grammar.parse(name)
    return parsed.namespace if parsed is not None else "library"


def ollama_model_list(models: list[internal.CatalogueRow]) -> list[openai.ModelEntry] | None:
    """
    Return models as Ollama lists them below /v1, None for none: its empty list is null.

    (docs/facts/ollama.md#v1, docs/facts/ollama.md#v1-models)

    >>> ollama_model_list([]) is None
    True
    """
    return [
        openai.ModelEntry(
            id=model.name,
            object="model",
            created=unix_seconds(model.modified_at),
            owned_by=owner_of(model.name, "ollama"),
        )
        for model in models
    ] or None


def estimated_tokens(
    messages: Raw | UnsetType, system: Raw | UnsetType, tools: Raw | UnsetType
) -> int:
    """
    Return an estimate of the tokens that a message's request has: a token for four characters.

    That is Ollama's own estimate at the start of a stream (docs/facts/ollama.md#messages-route).
    Only texts are counted, keys of schemas included; a picture counts as 1,600 tokens, which is the
    most that Anthropic's API has for one (docs/facts/clients.md#claude-code).

    >>> estimated_tokens(Raw(b'[{"role":"user","content":"12345678"}]'), UNSET, UNSET)
    2
    >>> estimated_tokens(Raw(b'[{"content":"12345678","x":1e400}]'), UNSET, UNSET)
    2
    """
    characters = 0
    waiting: list[Any] = [
        parse_lenient(bytes(raw))
        for raw in (messages, system, tools)
        if not isinstance(raw, UnsetType)
    ]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            if value.get("type") == "image" and isinstance(value.get("source"), dict):
                characters += _PICTURE_TOKENS * 4
                continue
            if "type" in value and isinstance(value.get("properties"), dict):
                characters += sum(map(len, value["properties"]))
            waiting += [item for key, item in value.items() if key not in _UNCOUNTED]
    return tokens(characters)


def ollama_choices(choices: Raw) -> list[Raw]:
    """
    Return the choices of an answer or of a chunk with the names that Ollama has.

    `reasoning_content` is `reasoning`, empty lists of tool calls and null log probabilities are
    left out, and content is a text next to anything (docs/facts/ollama.md#v1-chat).

    >>> bytes(ollama_choices(Raw(b'[{"index":0,"delta":{"reasoning_content":"Hm"}}]'))[0])
    b'{"index":0,"delta":{"content":"","reasoning":"Hm"}}'
    """
    return [Raw(msgspec.json.encode(_ollama_choice(one))) for one in _decode_objects(choices)]


def _ollama_choice(choice: dict[str, Raw]) -> dict[str, Any]:
    after: dict[str, Any] = {}
    for name in ("index", "text", "message", "delta", "finish_reason", "logprobs"):
        raw = choice.get(name)
        if raw is None or (name == "logprobs" and bytes(raw) == b"null"):
            continue
        after[name] = _ollama_message(raw) if name in ("message", "delta") else raw
    return after


def _ollama_message(raw: Raw) -> dict[str, Any]:
    said = msgspec.json.decode(raw, type=dict[str, Any])
    if not said:
        return {}
    after: dict[str, Any] = {"role": said["role"]} if said.get("role") else {}
    after["content"] = said.get("content") or ""
    if thinking := said.get("reasoning_content") or said.get("reasoning"):
        after["reasoning"] = thinking
    if calls := said.get("tool_calls"):
        after["tool_calls"] = [
            {"id": call.get("id", ""), "index": call.get("index", place), **_named_call(call)}
            for place, call in enumerate(calls)
        ]
    return after


def _named_call(call: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": call.get("function")}


def ollama_usage(usage: Raw) -> openai.Usage | UnsetType:
    """
    Return the three counts of a usage, UNSET for null: Ollama has no details of thinking.

    >>> ollama_usage(Raw(b'{"prompt_tokens":2,"completion_tokens":3,"x":1}')).total_tokens
    5
    """
    counts = msgspec.json.decode(usage)
    if not isinstance(counts, dict):
        return UNSET
    sent, made = (counts.get(name) or 0 for name in ("prompt_tokens", "completion_tokens"))
    return openai.Usage(prompt_tokens=sent, completion_tokens=made, total_tokens=sent + made)

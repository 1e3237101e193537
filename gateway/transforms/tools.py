"""Tool calls: conversion of their arguments. Their assembly is in `tool_fragments`."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..faults import UpstreamFailure
from ..types import ollama
from ..wire.cut_text import mended
from ..wire.go_json import mend_surrogates, rewrite
from ..wire.lenient import UNREADABLE
from ._raw import kind_of
from ._schemas import cleaned

_kept_parameters = msgspec.json.Decoder(ollama.ToolParameters).decode


def to_json_text(arguments: Raw) -> str:
    """
    Return arguments as the JSON text that LM Studio expects, as Go writes what it has read.

    Keys keep their order, those of objects within are sorted, and numbers are written as doubles.
    (docs/facts/ollama.md#arguments-in, docs/facts/ollama.md#backend-requests)

    >>> to_json_text(Raw(b'{"b": 1.0, "a": {"d": 1E5, "c": "x"}}'))
    '{"b":1,"a":{"c":"x","d":100000}}'
    """
    return msgspec.json.encode(rewrite(msgspec.json.decode(arguments))).decode()


def tool_parameters(raw: Raw) -> Raw | UnsetType:
    """
    Return the part of a tool's parameters that Ollama keeps, in Ollama's order of keys.

    Null, and any other value but an object, is absent. Patterns that LM Studio refuses are left
    out also where Ollama keeps any value. (docs/facts/ollama.md#tools,
    docs/facts/lmstudio.md#refused-content)

    >>> sent = b'{"title":"T","properties":{"q":{"type":"string","pattern":"a"}},"type":"object"}'
    >>> bytes(tool_parameters(Raw(sent)))
    b'{"type":"object","properties":{"q":{"type":"string"}}}'
    """
    if kind_of(raw) != "object":
        return UNSET
    try:
        kept = msgspec.json.encode(_kept_parameters(raw))
    except UNREADABLE:
        # The reader of the request has judged it, so it is a value that only Go reads.
        return raw
    if b"null" in kept or b'"pattern"' in kept:
        kept = msgspec.json.encode(cleaned(msgspec.json.decode(kept), drops_null=True))
    return Raw(kept)


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
    # A program in JavaScript may split a surrogate pair, as a character or as its escape.
    text = mend_surrogates(mended(text))
    try:
        compact = msgspec.json.encode(rewrite(msgspec.json.decode(text)))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _bad_arguments(name, str(error)) from None
    kind = kind_of(Raw(compact))
    if kind != "object":
        raise _bad_arguments(name, f"expected an object, got {kind}")
    return Raw(compact)


def _bad_arguments(name: str, why: str) -> UpstreamFailure:
    return UpstreamFailure(
        f'LM Studio returned invalid tool call arguments for "{name}": {why}',
        fault="bad_tool_arguments",
    )

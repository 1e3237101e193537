"""Tool calls: conversion of their arguments. Their assembly is in `tool_fragments`."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.faults import UpstreamFailure
from gateway.transforms._raw import kind_of
from gateway.wire.cut_text import mended
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

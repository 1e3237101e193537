"""
Split a JSON object into its members and join them again, with every value as it was written.

For bodies that the fast decoder refuses and other JSON parsers accept: lone surrogates in escapes,
and values of any depth. What a member means is decided elsewhere.
"""

from __future__ import annotations

import json
import re

import msgspec

from ..wire.lenient import UNREADABLE

_STRING = rb'"[^"\\\x00-\x1f]*+(?>\\.[^"\\\x00-\x1f]*+)*+"'
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_KEY = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:[ \t\r\n]*+")
_SCALAR = re.compile(_STRING + rb"|[-+.\w]++")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_BRACKET_OR_STRING = re.compile(_STRING + rb'|[\[\]{}"]')


def members_of(body: bytes) -> dict[str, msgspec.Raw] | None:
    """
    Return the members of a JSON object, None when the body is not an object.

    >>> members_of(b"[]") is None
    True
    """
    try:
        return _decode(body)
    except UNREADABLE:
        return split_members(body)


def strict_members_of(body: bytes) -> dict[str, msgspec.Raw] | None:
    """Return the members of a JSON object that any parser reads, None for anything else."""
    try:
        return _decode(body)
    except UNREADABLE:
        return None


def split_members(body: bytes) -> dict[str, msgspec.Raw] | None:
    """
    Return the members of an object, None when the body is not an object.

    What stands between two brackets is not looked at; of equal keys the last one counts.

    >>> bytes(split_members(b'{"a": [1e3, {"b": 2}], "c": 3}')["a"])
    b'[1e3, {"b": 2}]'
    """
    at = _end_of_blanks(body, 0)
    if body[at : at + 1] != b"{":
        return None
    members: dict[str, msgspec.Raw] = {}
    at = _end_of_blanks(body, at + 1)
    is_over = body[at : at + 1] == b"}"
    while not is_over:
        key = _KEY.match(body, at)
        end = _end_of_value(body, key.end()) if key is not None else None
        if key is None or end is None:
            return None
        try:
            members[json.loads(key[1])] = msgspec.Raw(body[key.end() : end])
        except ValueError:
            return None
        at = _end_of_blanks(body, end)
        is_over = body[at : at + 1] == b"}"
        if not is_over and body[at : at + 1] != b",":
            return None
        at += not is_over
    return members if _end_of_blanks(body, at + 1) == len(body) else None


def join_members(members: dict[str, msgspec.Raw]) -> bytes:
    """
    Return the object of these members; only the values keep their white space.

    >>> join_members({"a": msgspec.Raw(b"[1e3]"), "b": msgspec.Raw(b'"x"')})
    b'{"a":[1e3],"b":"x"}'
    """
    try:
        return msgspec.json.encode(members)
    except UnicodeEncodeError:
        pairs = (json.dumps(key).encode() + b":" + bytes(value) for key, value in members.items())
        return b"{" + b",".join(pairs) + b"}"


def _end_of_blanks(body: bytes, at: int) -> int:
    match = _BLANKS.match(body, at)
    return at if match is None else match.end()


def _end_of_value(body: bytes, at: int) -> int | None:
    if body[at : at + 1] not in (b"{", b"["):
        scalar = _SCALAR.match(body, at)
        return None if scalar is None else scalar.end()
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(body, at):
        mark = match[0]
        if mark == b'"':
            return None
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return match.end()
    return None

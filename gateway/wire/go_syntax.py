"""
JSON syntax by the rules of Go's decoder: where a value ends, and Go's words for what is no JSON.

Nothing here builds a value.
"""

from __future__ import annotations

import re
from functools import cache
from typing import AnyStr, Final

from msgspec import DecodeError, Raw
from msgspec.json import Decoder

from .go_text import quote_byte

_TRUNCATED: Final = "unexpected EOF"

_skim: Final = Decoder(Raw).decode


def is_json(body: bytes) -> bool:
    """Return whether a body is one JSON value for the fast decoder, which builds nothing here."""
    try:
        _skim(body)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


_GO_MAX_DEPTH: Final = 10_000

_B_SPACE: Final = re.compile(rb"[ \t\r\n]*")

_B_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]*')

_B_DIGITS: Final = re.compile(rb"[0-9]*")

_LITERALS: Final = {b"t": b"true", b"f": b"false", b"n": b"null"}


_SPACES: Final = r"[ \t\r\n]*+"

TEXT: Final = r'"(?>[^"\\\x00-\x1f]++|\\(?:[bfnrt\\/"]|u[0-9a-fA-F]{4}))*+"'
"""The pattern of a string."""


def value_pattern(levels: int) -> str:
    """
    Return the pattern of a value that may hold `levels` levels of arrays and objects.

    It takes only what Go takes, and never looks at a byte twice.
    """
    number = r"-?+(?:0|[1-9][0-9]*+)(?>\.[0-9]++)?+(?>[eE][+-]?+[0-9]++)?+"
    scalar = f"{TEXT}|{number}|true|false|null"
    value = f"(?>{scalar})"
    for _ in range(levels):
        # A comma is followed by another item.
        array = rf"\[{_SPACES}(?>{value}{_SPACES}(?:,{_SPACES}(?!\])|(?=\])))*+\]"
        member = rf"{TEXT}{_SPACES}:{_SPACES}{value}{_SPACES}"
        members = rf"(?>{member}(?:,{_SPACES}(?!\}})|(?=\}})))*+"
        value = f"(?>{scalar}|{array}|\\{{{_SPACES}{members}\\}})"
    return value


@cache
def runs_of_items(levels: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """
    Return patterns for as many whole items of an array, or of an object, as follow one another.

    An item ends with its comma; its value is as in `value_pattern`. What the patterns leave is
    walked over step by step, which finds the words for a syntax error; they spare the steps for
    everything before it.
    """
    item = f"{_SPACES}{value_pattern(levels)}{_SPACES},"
    member = f"{_SPACES}{TEXT}{_SPACES}:{item}"
    return re.compile(f"(?>{item})*+".encode()), re.compile(f"(?>{member})*+".encode())


_LEVELS: Final = 3

_DEPTH_OF_RUNS: Final = _GO_MAX_DEPTH - _LEVELS
"""Runs are skipped where none of their brackets can be too deep."""


class Broken(Exception):
    """A syntax error at a byte; the text describes it."""


def end_of(pattern: re.Pattern[AnyStr], text: AnyStr, at: int) -> int:
    """Return the end of a pattern's match, which may be empty, at a position."""
    match = pattern.match(text, at)
    return match.end() if match else at


def find_problem(body: bytes) -> str | None:
    """Return Go's text for the first syntax error in the first JSON value, or None."""
    try:
        _skip_value(body)
    except Broken as problem:
        return str(problem)
    return None


def end_of_value(body: bytes) -> int:
    """Where the first JSON value of a body ends that is known to be one."""
    return _skip_value(body)


def _skip_value(body: bytes) -> int:
    """
    Walk over the first JSON value without recursion, to its end.

    Raises `Broken` where Go would, and RecursionError beyond Go's depth.
    """
    run_of_items, run_of_members = runs_of_items(_LEVELS)
    open_brackets: list[bytes] = []
    expected = "value"
    at = 0
    while True:
        at = end_of(_B_SPACE, body, at)
        char = body[at : at + 1]
        if not char:
            raise Broken(_TRUNCATED)
        closes_empty = (expected, char) in (("value or end", b"]"), ("key or end", b"}"))
        if expected.startswith("value") and not closes_empty:
            if char in (b"{", b"["):
                open_brackets.append(char)
                if len(open_brackets) > _GO_MAX_DEPTH:
                    # As from the standard parser, which follows no such nesting either.
                    raise RecursionError
                expected = "key or end" if char == b"{" else "value or end"
                at += 1
                if len(open_brackets) < _DEPTH_OF_RUNS:
                    end = end_of(run_of_members if char == b"{" else run_of_items, body, at)
                    if end > at:
                        expected, at = expected.removesuffix(" or end"), end
                continue
            at = skip_scalar(body, at)
            if not open_brackets:
                return at
            expected = "separator"
        elif expected.startswith("key") and not closes_empty:
            if char != b'"':
                raise broken_at(body, at, "looking for beginning of object key string")
            at = end_of(_B_SPACE, body, skip_string(body, at))
            if body[at : at + 1] != b":":
                raise broken_at(body, at, "after object key")
            at += 1
            expected = "value"
        else:
            is_object = open_brackets[-1] == b"{"
            if char == b",":
                expected = "key" if is_object else "value"
            elif char == (b"}" if is_object else b"]"):
                open_brackets.pop()
                if not open_brackets:
                    return at + 1
                expected = "separator"
            else:
                where = "after object key:value pair" if is_object else "after array element"
                raise broken_at(body, at, where)
            at += 1


def skip_scalar(body: bytes, at: int) -> int:
    char = body[at : at + 1]
    if char == b'"':
        return skip_string(body, at)
    if char in _LITERALS:
        literal = _LITERALS[char]
        for offset in range(1, len(literal)):
            if body[at + offset : at + offset + 1] != literal[offset : offset + 1]:
                name, wanted = literal.decode(), chr(literal[offset])
                raise broken_at(body, at + offset, f"in literal {name} (expecting '{wanted}')")
        return at + len(literal)
    if char == b"-" or char.isdigit():
        return _skip_number(body, at)
    raise broken_at(body, at, "looking for beginning of value")


def _skip_number(body: bytes, at: int) -> int:
    if body[at : at + 1] == b"-":
        at += 1
    if body[at : at + 1] == b"0":
        at += 1
    else:
        at = _skip_digits(body, at, "in numeric literal")
    if body[at : at + 1] == b".":
        at = _skip_digits(body, at + 1, "after decimal point in numeric literal")
    if body[at : at + 1] in (b"e", b"E"):
        at += 1
        if body[at : at + 1] in (b"+", b"-"):
            at += 1
        at = _skip_digits(body, at, "in exponent of numeric literal")
    return at


def _skip_digits(body: bytes, at: int, where: str) -> int:
    end = end_of(_B_DIGITS, body, at)
    if end == at:
        raise broken_at(body, at, where)
    return end


def skip_string(body: bytes, at: int) -> int:
    at += 1
    while True:
        at = end_of(_B_PLAIN, body, at)
        char = body[at : at + 1]
        if char == b'"':
            return at + 1
        if char != b"\\":
            raise broken_at(body, at, "in string literal")
        at += 1
        char = body[at : at + 1]
        if char == b"u":
            for _ in range(4):
                at += 1
                if body[at : at + 1] not in b"0123456789abcdefABCDEF" or at >= len(body):
                    raise broken_at(body, at, "in \\u hexadecimal character escape")
        elif char not in b'bfnrt\\/"' or not char:
            raise broken_at(body, at, "in string escape code")
        at += 1


def broken_at(body: bytes, at: int, where: str) -> Broken:
    if at >= len(body):
        return Broken(_TRUNCATED)
    return Broken(f"invalid character {quote_byte(body[at])} {where}")

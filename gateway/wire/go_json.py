"""
JSON syntax by the rules of Go's decoder, with Go's error texts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cache
from typing import Any, AnyStr, Final, NoReturn

import msgspec
from msgspec import DecodeError, Raw
from msgspec.json import Decoder

from gateway.faults import Refusal
from gateway.wire.go_text import quote_byte

MISSING_BODY: Final = "missing request body"

_TRUNCATED: Final = "unexpected EOF"

_UNREADABLE: Final = "invalid JSON"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


class Repeated(dict[str, Any]):
    """An object in which a key comes more than once: of each the last value, and all in order."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Repeated(pairs)


def members(value: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """The members of an object in order, those with a repeated key too."""
    return value.pairs if isinstance(value, Repeated) else value.items()


def numbers_in(value: Any) -> Iterator[Raw]:
    """Every number in a value, in order, those under a repeated key too."""
    if isinstance(value, Raw):
        yield value
    elif isinstance(value, dict):
        for _, item in members(value):
            yield from numbers_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from numbers_in(item)


# Numbers keep their text: nothing is lost on the way into a raw field.
_JSON: Final = json.JSONDecoder(
    parse_int=Raw,
    parse_float=Raw,
    parse_constant=_refuse_constant,
    strict=True,
    object_pairs_hook=_object,
)

_SPACE: Final = re.compile(r"[ \t\r\n]*")

_UNDECODED: Final = re.compile("[\udc80-\udcff]")

_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a proper pair
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def mend_surrogates(text: str) -> str:
    r"""
    Return JSON text with the escape of U+FFFD for that of each lone surrogate, as Go reads it.

    >>> mend_surrogates(r'"\ud83d, \ud83d\ude00"') == r'"\ufffd, \ud83d\ude00"'
    True
    """
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return _ESCAPE.sub(lambda found: "\\ufffd" if found["lone"] else found[0], text)


def first_value(body: bytes) -> Any:
    """Return the first JSON value: objects as dicts, numbers as `Raw`, without lone surrogates.

    Every byte that is not UTF-8 and every lone surrogate becomes U+FFFD, and what follows the value
    is not looked at. An object with a key that comes twice is a `Repeated`.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = _UNDECODED.sub("\ufffd", body.decode(errors="surrogateescape"))
    start = _end_of(_SPACE, text, 0)
    if start == len(text):
        raise Refusal(400, MISSING_BODY)
    text = mend_surrogates(text)
    # Before anything is built: a broken body may be large. The standard parser would also accept
    # the longest valid beginning of a number ("1." is 1).
    is_whole = text[start] in "{[" and _is_json(body)
    problem = None if is_whole else _find_problem(body)
    if problem is None:
        try:
            return _JSON.raw_decode(text, start)[0]
        except ValueError:
            problem = _find_problem(body)
    raise Refusal(400, problem or _UNREADABLE)


def rewrite(value: Any, *, is_top: bool = True) -> Any:
    """
    Return a decoded value so that it encodes as Go writes what it reads without a type.

    Numbers become doubles, and the keys of objects within the value are sorted; those of an object
    at the top keep their order. (docs/facts/ollama.md#arguments-in)

    >>> msgspec.json.encode(rewrite({"b": 1.0, "a": {"d": 1e5, "c": 1e21}}))
    b'{"b":1,"a":{"c":1e+21,"d":100000}}'
    """
    if isinstance(value, dict):
        keys = value if is_top else sorted(value)
        return {key: rewrite(value[key], is_top=False) for key in keys}
    if isinstance(value, list):
        return [rewrite(item, is_top=False) for item in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    is_exact = isinstance(value, int) and abs(value) <= 2**53
    return value if is_exact else Raw(_double(float(value)).encode("ascii"))


def _double(number: float) -> str:
    """Return the shortest text of a double, with an exponent where Go writes one."""
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        text = format(Decimal(repr(number)), "f")
        return text.removesuffix(".0")
    return repr(number).replace("e-0", "e-")


_skim: Final = Decoder(Raw).decode


def _is_json(body: bytes) -> bool:
    """Return whether a body is one JSON value for the fast decoder, which builds nothing here."""
    try:
        _skim(body)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


MOST_DIGITS: Final = 308
"""An integer of more digits may be past a double, which msgspec does not say of integers."""
LONG_NUMBER: Final = re.compile(rb"[0-9]{%d}" % (MOST_DIGITS + 1))
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NUMBER: Final = re.compile(rb"-?[0-9][0-9.eE+-]*")


def unreadable_number(raw: bytes | Raw) -> str | None:
    """Return Go's words for a number in a value that no double can hold, None where all are."""
    try:
        msgspec.json.decode(raw)
        is_readable = LONG_NUMBER.search(raw) is None
    except msgspec.DecodeError:
        is_readable = False
    if not is_readable:
        for found in _NUMBER.finditer(_TEXT.sub(b'""', bytes(raw))):
            if not math.isfinite(float(found[0])):
                number = found[0].decode("ascii")
                return f"json: cannot unmarshal number {number} into Go value of type float64"
    return None


_GO_MAX_DEPTH: Final = 10_000

_B_SPACE: Final = re.compile(rb"[ \t\r\n]*")

_B_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]*')

_B_DIGITS: Final = re.compile(rb"[0-9]*")

_LITERALS: Final = {b"t": b"true", b"f": b"false", b"n": b"null"}


@cache
def _run_of_items(levels: int) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """
    Return patterns for as many whole items of an array, or of an object, as follow one another.

    An item ends with its comma. Its value may hold `levels` levels of arrays and objects. The
    patterns take only what Go takes. What they leave is walked over step by step, which finds the
    words for a syntax error; they spare the steps for everything before it.
    """
    blank = r"[ \t\r\n]*+"
    text = r'"(?:[^"\\\x00-\x1f]++|\\(?:[bfnrt\\/"]|u[0-9a-fA-F]{4}))*+"'
    number = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
    scalar = f"{text}|{number}|true|false|null"
    value = f"(?>{scalar})"
    for _ in range(levels):
        # A comma is followed by another item.
        array = rf"\[{blank}(?:{value}{blank}(?:,{blank}(?!\])|(?=\])))*+\]"
        members = rf"(?:{text}{blank}:{blank}{value}{blank}(?:,{blank}(?!\}})|(?=\}})))*+"
        value = f"(?>{scalar}|{array}|\\{{{blank}{members}\\}})"
    item = f"{blank}{value}{blank},"
    member = f"{blank}{text}{blank}:{blank}{value}{blank},"
    return re.compile(f"(?:{item})*+".encode()), re.compile(f"(?:{member})*+".encode())


_LEVELS: Final = 3

_DEPTH_OF_RUNS: Final = _GO_MAX_DEPTH - _LEVELS
"""Runs are skipped where none of their brackets can be too deep."""


class _Broken(Exception):
    """A syntax error at a byte; the text describes it."""


def _end_of(pattern: re.Pattern[AnyStr], text: AnyStr, at: int) -> int:
    """Return the end of a pattern's match, which may be empty, at a position."""
    match = pattern.match(text, at)
    return match.end() if match else at


def _find_problem(body: bytes) -> str | None:
    """Return Go's text for the first syntax error in the first JSON value, or None."""
    try:
        _skip_value(body)
    except _Broken as problem:
        return str(problem)
    return None


def end_of_value(body: bytes) -> int:
    """Where the first JSON value of a body ends that is known to be one."""
    return _skip_value(body)


def _skip_value(body: bytes) -> int:
    """
    Walk over the first JSON value without recursion, to its end.

    Raises `_Broken` where Go would, and RecursionError beyond Go's depth.
    """
    run_of_items, run_of_members = _run_of_items(_LEVELS)
    open_brackets: list[bytes] = []
    expected = "value"
    at = 0
    while True:
        at = _end_of(_B_SPACE, body, at)
        char = body[at : at + 1]
        if not char:
            raise _Broken(_TRUNCATED)
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
                    end = _end_of(run_of_members if char == b"{" else run_of_items, body, at)
                    if end > at:
                        expected, at = expected.removesuffix(" or end"), end
                continue
            at = _skip_scalar(body, at)
            if not open_brackets:
                return at
            expected = "separator"
        elif expected.startswith("key") and not closes_empty:
            if char != b'"':
                raise _broken_at(body, at, "looking for beginning of object key string")
            at = _end_of(_B_SPACE, body, _skip_string(body, at))
            if body[at : at + 1] != b":":
                raise _broken_at(body, at, "after object key")
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
                raise _broken_at(body, at, where)
            at += 1


def _skip_scalar(body: bytes, at: int) -> int:
    char = body[at : at + 1]
    if char == b'"':
        return _skip_string(body, at)
    if char in _LITERALS:
        literal = _LITERALS[char]
        for offset in range(1, len(literal)):
            if body[at + offset : at + offset + 1] != literal[offset : offset + 1]:
                name, wanted = literal.decode(), chr(literal[offset])
                raise _broken_at(body, at + offset, f"in literal {name} (expecting '{wanted}')")
        return at + len(literal)
    if char == b"-" or char.isdigit():
        return _skip_number(body, at)
    raise _broken_at(body, at, "looking for beginning of value")


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
    end = _end_of(_B_DIGITS, body, at)
    if end == at:
        raise _broken_at(body, at, where)
    return end


def _skip_string(body: bytes, at: int) -> int:
    at += 1
    while True:
        at = _end_of(_B_PLAIN, body, at)
        char = body[at : at + 1]
        if char == b'"':
            return at + 1
        if char != b"\\":
            raise _broken_at(body, at, "in string literal")
        at += 1
        char = body[at : at + 1]
        if char == b"u":
            for _ in range(4):
                at += 1
                if body[at : at + 1] not in b"0123456789abcdefABCDEF" or at >= len(body):
                    raise _broken_at(body, at, "in \\u hexadecimal character escape")
        elif char not in b'bfnrt\\/"' or not char:
            raise _broken_at(body, at, "in string escape code")
        at += 1


def _broken_at(body: bytes, at: int, where: str) -> _Broken:
    if at >= len(body):
        return _Broken(_TRUNCATED)
    return _Broken(f"invalid character {quote_byte(body[at])} {where}")

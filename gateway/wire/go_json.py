"""
JSON values by the rules of Go's decoder, with Go's error texts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Raw

from ..faults import Refusal
from .go_syntax import end_of, find_problem, is_json

MISSING_BODY: Final = "missing request body"

TOO_DEEP: Final = "exceeded max depth: the body nests values deeper than this server reads"

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


def replace_undecoded(body: bytes) -> str:
    """Return the text of bytes, with U+FFFD for every byte that is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return _UNDECODED.sub("\ufffd", body.decode(errors="surrogateescape"))


def first_value(body: bytes) -> Any:
    """Return the first JSON value: objects as dicts, numbers as `Raw`, without lone surrogates.

    Every byte that is not UTF-8 and every lone surrogate becomes U+FFFD, and what follows the value
    is not looked at. An object with a key that comes twice is a `Repeated`.
    """
    text = replace_undecoded(body)
    start = end_of(_SPACE, text, 0)
    if start == len(text):
        raise Refusal(400, MISSING_BODY)
    text = mend_surrogates(text)
    # Before anything is built: a broken body may be large. The standard parser would also accept
    # the longest valid beginning of a number ("1." is 1).
    is_whole = text[start] in "{[" and is_json(body)
    problem = None if is_whole else find_problem(body)
    if problem is None:
        try:
            return _JSON.raw_decode(text, start)[0]
        except ValueError:
            problem = find_problem(body)
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
    except (msgspec.DecodeError, UnicodeDecodeError):
        is_readable = False
    if not is_readable:
        for found in _NUMBER.finditer(_TEXT.sub(b'""', bytes(raw))):
            if not math.isfinite(float(found[0])):
                number = found[0].decode("ascii")
                return f"json: cannot unmarshal number {number} into Go value of type float64"
    return None

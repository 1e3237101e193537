"""
Lists of 32-bit numbers, read and written as Go writes them.

Each number is the shortest text that reads back as the same 32 bits, and of several such texts the
nearest one; numbers below 1e-6 and from 1e21 on have an exponent (docs/facts/ollama.md#vectors).
One number differs in its last digit: for 2**-12, which is half-way between two texts, Go takes the
upper one.

yyjson writes such numbers, and is loaded at the first use if it is installed
(docs/decisions/0038-vectors-are-read-one-by-one.md). Without it Python calculates the same texts,
which takes some ten times as long.
"""

from __future__ import annotations

import asyncio
import re
import threading
from array import array
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, ROUND_UP, Context
from functools import partial
from importlib import import_module
from math import frexp
from typing import Any, Final, TypeAlias

import msgspec

from .lenient import UNREADABLE

Write: TypeAlias = Callable[[], bytes]
"""Returns a list as JSON. Raises ValueError for a number that 32 bits cannot hold."""

_SINGLE: Final = 1 << 27
"""yyjson's flag YYJSON_WRITE_FP_TO_FLOAT, which its package passes on and does not name."""
_numbers_of: Final = msgspec.json.Decoder(list[float]).decode
_encode: Final = msgspec.json.Encoder().encode
_QUOTE, _LIST, _OBJECT = b'"[{'
_WORDS: Final = b"ul"
"""`true` and `null` have the one, `null` and `false` the other; no number has any."""
_POWER: Final = re.compile(rb"([0-9]+)(?:\.([0-9]+))?e(-?[0-9]+)")
_LEAST_POWER, _MOST_POWER = -6, 21

_SHIFT: Final = 1.5 * 2**52
"""Added and taken away again, it rounds a number to an integer."""
_LEAST_NORMAL: Final = 2.0**-126
_HALF: Final = 2.0**29 + 1
"""
The factor that splits a double into its upper 24 bits and the rest (Dekker): with `t = n * _HALF`,
`t - (t - n)` is `n` as a number of 32 bits.
"""


class _Compiled:
    """The class of yyjson's documents, once it is loaded, and None without it."""

    def __init__(self) -> None:
        self.document: Any = None
        self._is_loaded = False
        self._loading: threading.Thread | None = None

    def get(self) -> Any:
        """
        Return the class; on an event loop None until another thread has loaded it.

        Loading takes some 10 ms, and the loop must not wait for it.
        """
        if self._is_loaded:
            return self.document
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.load()
            return self.document
        if self._loading is None:
            self._loading = threading.Thread(target=self.load, name="float32", daemon=True)
            self._loading.start()
        return None

    def load(self) -> None:
        """Load yyjson, if there is one that writes numbers of 32 bits."""
        try:
            document = import_module("yyjson").Document
            if document([0.1 + 1e-9]).dumps(flags=_SINGLE) == "[0.1]":
                self.document = document
        except (ImportError, AttributeError, TypeError, ValueError):
            pass
        self._is_loaded = True


_compiled = _Compiled()


def read(data: bytes) -> tuple[list[float], Write]:
    """
    Return the numbers of a list that is valid JSON, and what writes them with 32 bits.

    Raises ValueError when it is anything but a list of numbers.

    >>> numbers, write = read(b"[0.10000000149011612, 1, 2.5e-7]")
    >>> numbers, write()
    ([0.10000000149011612, 1, 2.5e-07], b'[0.1,1,2.5e-7]')
    """
    document = _compiled.document or _compiled.get()
    if document is None:
        try:
            found = _numbers_of(data)
        except UNREADABLE:
            raise ValueError("not a list of numbers") from None
        return found, partial(_calculated, found)
    if not is_list_of_numbers(data):
        raise ValueError("not a list of numbers")
    read_by_it = document(data)
    return read_by_it.as_obj, partial(_as_go, read_by_it)


def write(numbers: list[float]) -> bytes:
    """
    Return numbers as a JSON list, each with 32 bits.

    Raises ValueError for a number that 32 bits cannot hold.

    >>> write([0.1, -0.0, 1e-6, 1e21])
    b'[0.1,-0,0.000001,1e+21]'
    """
    document = _compiled.document or _compiled.get()
    return _calculated(numbers) if document is None else _as_go(document(numbers))


def is_list_of_numbers(data: bytes) -> bool:
    """
    Return whether valid JSON is a list of nothing but numbers, perhaps none.

    >>> [is_list_of_numbers(data) for data in (b"[1, 2e3]", b"[]", b"[null]", b"[[1]]", b"1")]
    [True, True, False, False, False]
    """
    # Bytes are searched by number: that is many times as fast as looking at each value.
    return data[:1] == b"[" and not (
        _WORDS[0] in data
        or _WORDS[1] in data
        or _QUOTE in data
        or data.find(b"[", 1) > 0
        or _OBJECT in data
    )


def _calculated(numbers: Sequence[float]) -> bytes:
    try:
        whole = array("f", numbers)
    except OverflowError:
        raise ValueError("a number of more than 32 bits") from None
    shortest = _shortest(whole.tolist())
    data = _encode(shortest)
    if b"null" in data:
        raise ValueError("a number of more than 32 bits")
    return _in_go_form(data)


def _shortest(numbers: list[float]) -> list[float]:
    """
    Return for each number of 32 bits the double that has its shortest text.

    A number is tried with 8, 9, 10 and 11 places, by doubles alone: up to 12 places, a product of
    24 bits and a power of ten is exact. It is one function, as a call for each number would take as
    long as all the rest.
    """
    shift, half = _SHIFT, _HALF
    return [
        # With 8 places: then perhaps with fewer.
        (
            _by_digits(n)
            if (t := (d := ((n * 1e7 + shift) - shift) / 1e7) * half) - (t - d) == n
            else c
        )
        if (t := (c := ((n * 1e8 + shift) - shift) / 1e8) * half) - (t - c) == n
        else c
        if (t := (c := ((n * 1e9 + shift) - shift) / 1e9) * half) - (t - c) == n
        else c
        if (t := (c := ((n * 1e10 + shift) - shift) / 1e10) * half) - (t - c) == n
        else c
        if (t := (c := ((n * 1e11 + shift) - shift) / 1e11) * half) - (t - c) == n
        else _by_digits(n)
        for n in numbers
    ]


def _by_digits(number: float) -> float:
    """Return the double that has the shortest text of one number of 32 bits."""
    if number == 0:
        return number
    if abs(number) < _LEAST_NORMAL or abs(frexp(number)[0]) == 0.5:
        return _by_all_digits(number)
    # Six digits never tell two of the same number apart, so fewer are zeros at their end.
    for digits in ("%.6g", "%.7g", "%.8g"):
        found = float(digits % number)
        if (t := found * _HALF) - (t - found) == number:
            return found
    return float("%.9g" % number)  # noqa: UP031 - as above


def _by_all_digits(number: float) -> float:
    """Do so for a number that has few bits, or that is nearer to those below it than above it."""
    for digits in range(1, 10):
        # At a power of two the nearest text may be another number's, and the next one is not.
        for rounding in (ROUND_HALF_EVEN, ROUND_UP):
            found = float(Context(digits, rounding).create_decimal_from_float(number))
            if array("f", (found,))[0] == number:
                return found
    return number


def _as_go(document: Any) -> bytes:
    """Return a document of yyjson's as Go writes it."""
    data: bytes = document.dumps(flags=_SINGLE).encode()
    # Most vectors have no integers, and no numbers that are so small.
    return _in_go_form(data) if 101 in data or b".0," in data or data[-3:] == b".0]" else data


def _in_go_form(data: bytes) -> bytes:
    """Return a list of numbers with integers and exponents as Go writes them."""
    if b".0," in data or data[-3:] == b".0]":
        data = data.replace(b".0,", b",")
        if data[-3:] == b".0]":
            data = data[:-3] + b"]"
    return _POWER.sub(_power_as_go, data) if 101 in data else data


def _power_as_go(found: re.Match[bytes]) -> bytes:
    whole, rest, power = found[1], found[2] or b"", int(found[3])
    if power < _LEAST_POWER:
        return found[0]
    mantissa = whole + (b"." + rest if rest else b"")
    if power >= _MOST_POWER:
        return b"%be+%d" % (mantissa, power)
    if power < 0:
        return b"0." + b"0" * (-power - len(whole)) + whole + rest
    return whole + rest.ljust(power, b"0")

"""
Lists of 32-bit numbers, read and written as Go writes them.

Each number is the shortest text that reads back as the same 32 bits, and of several such texts the
nearest one; numbers below 1e-6 and from 1e21 on have an exponent (docs/facts/ollama.md#vectors).
One number differs in its last digit: for 2**-12, which is half-way between two texts, Go takes the
upper one.

numpy and orjson write such numbers, and simdjson reads them. They are loaded at the first use if
they are installed (docs/decisions/0046-vectors-are-read-without-objects.md). Without them Python
calculates the same texts, which takes some ten times as long.
"""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from array import array
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from decimal import ROUND_HALF_EVEN, ROUND_UP, Context
from functools import partial
from importlib import import_module
from math import frexp, hypot, isfinite, sqrt
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from .lenient import UNREADABLE

_numbers_of: Final = msgspec.json.Decoder(list[float]).decode
_encode: Final = msgspec.json.Encoder().encode
_QUOTE, _LIST, _OBJECT, _EXPONENT, _COMMA = b'"[{e,'
_WORDS: Final = b"ul"
"""`true` and `null` have the one, `null` and `false` the other; no number has any."""
_POWER: Final = re.compile(rb"([0-9]+)(?:\.([0-9]+))?e([-+]?[0-9]+)")
_LEAST_POWER, _MOST_POWER = -6, 21
_MOST: Final = 2.0**128 - 2.0**103
"""The least number that is rounded to more than 32 bits can hold."""
_SQUARES_FIT: Final = 1e-100, 1e100
"""Numbers between these have squares that a double holds with all of its digits."""

_SHIFT: Final = 1.5 * 2**52
"""Added and taken away again, it rounds a number to an integer."""
_LEAST_NORMAL: Final = 2.0**-126
_HALF: Final = 2.0**29 + 1
"""
The factor that splits a double into its upper 24 bits and the rest (Dekker): with `t = n * _HALF`,
`t - (t - n)` is `n` as a number of 32 bits.
"""


class Numbers(Protocol):
    """The numbers of a vector, as doubles."""

    def __len__(self) -> int:
        """Return how many there are."""

    def length(self) -> float:
        """Return the vector's length, perhaps infinity."""

    def first(self, count: int) -> Numbers:
        """Return the first ones."""

    def over(self, length: float) -> Numbers:
        """Return each divided by a length."""

    def text(self) -> bytes:
        """Return them as a JSON list, each with 32 bits. Raises ValueError for a larger one."""

    def singles(self) -> list[float]:
        """Return each rounded to 32 bits. Raises ValueError for a larger one."""

    def packed(self) -> bytes:
        """Return each in four bytes, the lowest first; a larger one becomes infinity."""


class _Calculated:
    """Numbers in a list."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: list[float]) -> None:
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def length(self) -> float:
        return hypot(*self._numbers)

    def first(self, count: int) -> Numbers:
        return _Calculated(self._numbers[:count])

    def over(self, length: float) -> Numbers:
        return _Calculated([number / length for number in self._numbers])

    def text(self) -> bytes:
        return _in_go_form(_encode(_shortest(self.singles())))

    def singles(self) -> list[float]:
        found = array("f", self._numbers).tolist()
        if not isfinite(sum(found)):
            raise ValueError("a number of more than 32 bits")
        return found

    def packed(self) -> bytes:
        numbers = array("f", self._numbers)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tobytes()


class _Compiled(NamedTuple):
    """What the libraries have."""

    from_list: Callable[[list[float]], Any]
    """Makes an array of doubles."""
    from_buffer: Callable[[Any], Any]
    parser: Callable[[], Any] | None
    """Makes a parser; None without simdjson."""
    whole: Callable[[Any], Any]
    """Rounds each number of an array to an integer."""
    dumps: Callable[[Any], bytes]
    byte_count: Callable[[bytes, int], int]
    """How often a byte is in bytes. `bytes.count` takes a hundred instructions for each one."""
    ignoring_overflow: Callable[[], AbstractContextManager[object]]


class _Array:
    """Numbers in an array of numpy's."""

    __slots__ = ("_compiled", "_largest", "_numbers")

    def __init__(self, numbers: Any, compiled: _Compiled) -> None:
        self._numbers = numbers
        self._compiled = compiled
        self._largest = max(-numbers.min(), numbers.max()) if len(numbers) else 0.0

    def __len__(self) -> int:
        return len(self._numbers)

    def length(self) -> float:
        if _SQUARES_FIT[0] < self._largest < _SQUARES_FIT[1]:
            return sqrt(self._numbers.dot(self._numbers))
        return hypot(*self._numbers.tolist())

    def first(self, count: int) -> Numbers:
        return _Array(self._numbers[:count], self._compiled)

    def over(self, length: float) -> Numbers:
        return _Array(self._numbers / length, self._compiled)

    def text(self) -> bytes:
        compiled = self._compiled
        if self._largest >= _MOST:
            raise ValueError("a number of more than 32 bits")
        numbers = self._numbers.astype("f4")
        text = compiled.dumps(numbers)
        # Most vectors have no integers. All numbers with a positive exponent are integers.
        is_whole = (compiled.whole(numbers) == numbers).any()
        return _in_go_form(text) if is_whole else text

    def singles(self) -> list[float]:
        if self._largest >= _MOST:
            raise ValueError("a number of more than 32 bits")
        found: list[float] = self._numbers.astype("f4").tolist()
        return found

    def packed(self) -> bytes:
        with self._compiled.ignoring_overflow():
            packed: bytes = self._numbers.astype("<f4").tobytes()
        return packed


class _Libraries:
    """The libraries, once they are loaded, and None without them."""

    def __init__(self) -> None:
        self.compiled: _Compiled | None = None
        self._is_loaded = False
        self._loading: threading.Thread | None = None

    def get(self) -> _Compiled | None:
        """
        Return them; on an event loop None until another thread has loaded them.

        Loading takes some 0.3 s, and the loop must not wait for it.
        """
        if self._is_loaded:
            return self.compiled
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.load()
            return self.compiled
        if self._loading is None:
            self._loading = threading.Thread(target=self.load, name="float32", daemon=True)
            self._loading.start()
        return None

    def load(self) -> None:
        """Load them, if they write numbers as they are expected to."""
        with suppress(ImportError, AttributeError, TypeError, ValueError):
            self.compiled = _load()
        self._is_loaded = True


def _load() -> _Compiled | None:
    """Return the libraries; None, or what they raise, if they do not write as Go does."""
    numpy, orjson = import_module("numpy"), import_module("orjson")
    try:
        parser = import_module("simdjson").Parser
        parser().parse(b"[0.5]").as_buffer(of_type="d")
    except (ImportError, AttributeError, TypeError):
        parser = None
    # Functions of C are called as they are: one of Python's around them would take as long.
    dumps = partial(orjson.dumps, option=orjson.OPT_SERIALIZE_NUMPY)
    if dumps(numpy.array([0.1, 0.000001, 9.5e-7], "f4")) != b"[0.1,0.000001,9.5e-7]":
        return None
    return _Compiled(
        from_list=partial(numpy.array, dtype="f8"),
        from_buffer=numpy.frombuffer,
        parser=parser,
        whole=numpy.rint,
        dumps=dumps,
        byte_count=lambda data, byte: int(
            numpy.count_nonzero(numpy.frombuffer(data, numpy.uint8) == byte)
        ),
        ignoring_overflow=partial(numpy.errstate, over="ignore"),
    )


_libraries = _Libraries()


def read(data: bytes) -> Numbers:
    """
    Return the numbers of a list that is valid JSON.

    Raises ValueError when it is anything but a list of numbers.

    >>> numbers = read(b"[0.10000000149011612, 1, 2.5e-7]")
    >>> len(numbers), numbers.text()
    (3, b'[0.1,1,2.5e-7]')
    """
    compiled = _libraries.compiled or _libraries.get()
    if compiled is not None and compiled.parser is not None:
        # It reads lists of lists as one list, and no integers of more than 64 bits.
        if not is_list_of_numbers(data):
            raise ValueError("not a list of numbers")
        try:
            read_by_it = compiled.parser().parse(data).as_buffer(of_type="d")
            return _Array(compiled.from_buffer(read_by_it), compiled)
        except (ValueError, TypeError, AttributeError, RuntimeError):
            pass
    try:
        found = _numbers_of(data)
    except UNREADABLE:
        raise ValueError("not a list of numbers") from None
    return of(found)


def of(numbers: list[float]) -> Numbers:
    """
    Return the numbers of a list.

    >>> of([0.1, -0.0, 1e-6, 1e21]).text()
    b'[0.1,-0,0.000001,1e+21]'
    """
    compiled = _libraries.compiled or _libraries.get()
    if compiled is None:
        return _Calculated(numbers)
    return _Array(compiled.from_list(numbers), compiled)


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


def comma_count(data: bytes) -> int:
    """
    Return how many commas are in bytes.

    >>> comma_count(b"[0.5, 1, 2]")
    2
    """
    compiled = _libraries.compiled or _libraries.get()
    return data.count(b",") if compiled is None else compiled.byte_count(data, _COMMA)


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


def _in_go_form(data: bytes) -> bytes:
    """Return a list of numbers with integers and exponents as Go writes them."""
    if b".0," in data or data[-3:] == b".0]":
        data = data.replace(b".0,", b",")
        if data[-3:] == b".0]":
            data = data[:-3] + b"]"
    if _EXPONENT not in data:
        return data
    # A regular expression would look at every number, and takes longer than all the rest.
    parts: list[bytes] = []
    done, at = 0, data.find(b"e")
    while at > 0:
        start = (data.rfind(b",", done, at) + 1) or 1
        end = data.find(b",", at)
        if end < 0:
            end = len(data) - 1
        parts += data[done:start], _POWER.sub(_power_as_go, data[start:end])
        done, at = end, data.find(b"e", end)
    parts.append(data[done:])
    return b"".join(parts)


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

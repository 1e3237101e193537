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
import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from importlib import import_module
from itertools import repeat
from math import hypot, isfinite, sqrt
from operator import contains
from struct import pack
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from .go_numbers import EXPONENT, in_go_form, powers_in_go_form, shortest
from .lenient import UNREADABLE

_numbers_of: Final = msgspec.json.Decoder(list[float]).decode
_encode: Final = msgspec.json.Encoder().encode
_QUOTE, _LIST, _OBJECT, _COMMA = b'"[{,'
_EXPONENTS: Final = repeat(EXPONENT)
_WORDS: Final = b"ul"
"""`true` and `null` have the one, `null` and `false` the other; no number has any."""
_MOST: Final = 2.0**128 - 2.0**103
"""The least number that is rounded to more than 32 bits can hold."""
_SQUARES_FIT: Final = 1e-200, 1e200
"""If the squares of a vector add up to something between these, its length is the root of that."""
_FEW_BITS: Final = 1e70
"""Squares that add up to no more than that are those of numbers of 32 bits."""
_MOST_KEPT_BYTES: Final = 1024 * 1024
"""The longest document whose parser is kept: it has some 15 bytes for each byte, untouched ones."""


class Ragged(ValueError):
    """Vectors have different lengths."""


class Vectors(Protocol):
    """One or more vectors of as many numbers each, as doubles."""

    @property
    def width(self) -> int:
        """How many numbers each has, at least one."""

    def lengths(self) -> list[float]:
        """Return the length of each, perhaps infinity."""

    def first(self, count: int) -> Vectors:
        """Return the first numbers of each."""

    def over(self, lengths: list[float]) -> Vectors:
        """Return the numbers of each divided by its length."""

    def texts(self) -> list[bytes]:
        """
        Return each as a JSON list of numbers with 32 bits.

        Raises ValueError for a larger number.
        """

    def singles(self) -> list[list[float]]:
        """Return the numbers of each, rounded to 32 bits. Raises ValueError for a larger one."""

    def packed(self) -> list[bytes]:
        """Return each with four bytes a number, the lowest first; larger ones become infinity."""


class _Calculated:
    """Vectors in lists."""

    __slots__ = ("_rows",)

    def __init__(self, rows: list[list[float]]) -> None:
        self._rows = rows

    @property
    def width(self) -> int:
        return len(self._rows[0])

    def lengths(self) -> list[float]:
        return [hypot(*row) for row in self._rows]

    def first(self, count: int) -> Vectors:
        return _Calculated([row[:count] for row in self._rows])

    def over(self, lengths: list[float]) -> Vectors:
        return _Calculated(
            [
                [number / length for number in row]
                for row, length in zip(self._rows, lengths, strict=True)
            ]
        )

    def texts(self) -> list[bytes]:
        return [in_go_form(_encode(shortest(row))) for row in self.singles()]

    def singles(self) -> list[list[float]]:
        found = [array("f", row).tolist() for row in self._rows]
        if not isfinite(sum(map(sum, found))):
            raise ValueError("a number of more than 32 bits")
        return found

    def packed(self) -> list[bytes]:
        rows = [array("f", row) for row in self._rows]
        if sys.byteorder == "big":
            for row in rows:
                row.byteswap()
        return [row.tobytes() for row in rows]


class _Compiled(NamedTuple):
    """What the libraries have."""

    from_lists: Callable[[list[list[float]]], Any]
    """Makes an array of doubles, a row for each list."""
    from_buffer: Callable[..., Any]
    parser: Callable[[], Any] | None
    """Makes a parser; None without simdjson."""
    products: Callable[[Any, Any], Any]
    """Adds up the products of each row of an array with the same row of another one."""
    square: Callable[[Any, Any], Any]
    """Adds up all products of two arrays; it does not warn of an infinite sum."""
    whole: Callable[[Any], Any]
    """Rounds each number of an array to an integer."""
    count_true: Callable[[Any], int]
    single: Any
    """The type of a number of 32 bits."""
    dumps: Callable[[Any], bytes]
    ignoring_overflow: Callable[[], AbstractContextManager[object]]


class _Arrays:
    """Vectors as the rows of an array of numpy's: a call for many takes as long as one for one."""

    __slots__ = ("_compiled", "_rows", "_squares", "width")

    def __init__(self, rows: Any, compiled: _Compiled) -> None:
        self._rows = rows
        self._compiled = compiled
        count, self.width = rows.shape
        # Of one, in a third of the time that `einsum` takes to read its subscripts.
        self._squares: list[float] = (
            compiled.products(rows, rows).tolist()
            if count > 1
            else [compiled.square(rows, rows).item()]
        )

    def lengths(self) -> list[float]:
        least, most = _SQUARES_FIT
        if least < min(self._squares) and max(self._squares) < most:
            return [*map(sqrt, self._squares)]
        return [hypot(*row) for row in self._rows.tolist()]

    def first(self, count: int) -> Vectors:
        return _Arrays(self._rows[:, :count], self._compiled)

    def over(self, lengths: list[float]) -> Vectors:
        compiled = self._compiled
        return _Arrays(self._rows / compiled.from_lists([lengths]).T, compiled)

    def texts(self) -> list[bytes]:
        compiled = self._compiled
        rows = self._rounded()
        # A call for all rows would copy its memory as it grows.
        texts = [*map(compiled.dumps, rows)]
        # Most vectors have no integers. A search for them takes ten times as long as comparing, and
        # numpy's own ways to look for a true value are functions of Python's.
        if (compiled.whole(rows) == rows).tobytes().find(True) >= 0:
            return [*map(in_go_form, texts)]
        if any(map(contains, texts, _EXPONENTS)):
            return [powers_in_go_form(text) if EXPONENT in text else text for text in texts]
        return texts

    def singles(self) -> list[list[float]]:
        return self._rounded().tolist()  # type: ignore[no-any-return]  # numpy's is not typed here

    def packed(self) -> list[bytes]:
        with self._compiled.ignoring_overflow():
            rows = self._rows.astype("<f4")
        return [row.tobytes() for row in rows]

    def _rounded(self) -> Any:
        rows = self._rows
        if max(self._squares) > _FEW_BITS and max(-rows.min(), rows.max()) >= _MOST:
            raise ValueError("a number of more than 32 bits")
        return rows.astype(self._compiled.single)


class _OfThread(threading.local):
    """The parser of a thread. A new one would have to take its memory anew."""

    parser: Any = None


_of_thread = _OfThread()


class _Libraries:
    """The libraries, once they are loaded, and None without them."""

    def __init__(self) -> None:
        self.compiled: _Compiled | None = None
        self.is_loaded = False
        self._loading: threading.Thread | None = None

    def get(self) -> _Compiled | None:
        """
        Return them; on an event loop None until another thread has loaded them.

        Loading takes some 0.3 s, and the loop must not wait for it.
        """
        if self.is_loaded:
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
        self.is_loaded = True


def _doubles(rows: list[list[float]]) -> bytes:
    """Return numbers as doubles, in a quarter of the time in which numpy reads lists."""
    return b"".join([pack(f"{len(row)}d", *row) for row in rows])


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
        from_lists=lambda rows: numpy.frombuffer(_doubles(rows)).reshape(len(rows), -1),
        from_buffer=numpy.frombuffer,
        parser=parser,
        products=partial(numpy.einsum, "ij,ij->i"),
        square=numpy.vdot,
        whole=numpy.rint,
        count_true=numpy.count_nonzero,
        single=numpy.dtype("f4"),
        dumps=dumps,
        ignoring_overflow=partial(numpy.errstate, over="ignore"),
    )


_libraries = _Libraries()


def is_loaded() -> bool:
    """Return whether the libraries are there, or are known to be missing."""
    return _libraries.is_loaded


def is_fast() -> bool:
    """Return whether the libraries are there."""
    return _libraries.compiled is not None


def read(lists: Sequence[bytes | memoryview]) -> Vectors:
    """
    Return the vectors of lists that are valid JSON, at least one.

    Raises ValueError when one is anything but a list of numbers, or empty, and Ragged when they
    have different lengths. A view is of a list without lists in it, as `take_out` returns them.

    >>> vectors = read([b"[0.10000000149011612, 1, 2.5e-7]", b"[3, 4, 5]"])
    >>> vectors.width, vectors.texts()
    (3, [b'[0.1,1,2.5e-7]', b'[3,4,5]'])
    """
    compiled = _libraries.compiled or _libraries.get()
    if compiled is not None and compiled.parser is not None:
        found = _parsed(lists, compiled, compiled.parser)
        if found is not None:
            return found
    try:
        return of([*map(_numbers_of, lists)])
    except UNREADABLE:
        raise ValueError("not a list of numbers") from None


def of(rows: list[list[float]]) -> Vectors:
    """
    Return the vectors of these numbers. Raises as `read`.

    >>> of([[0.1, -0.0, 1e-6, 1e21]]).texts()
    [b'[0.1,-0,0.000001,1e+21]']
    """
    _check_widths({*map(len, rows)})
    compiled = _libraries.compiled or _libraries.get()
    if compiled is None:
        return _Calculated(rows)
    return _Arrays(compiled.from_lists(rows), compiled)


def _parsed(
    lists: Sequence[bytes | memoryview], compiled: _Compiled, new_parser: Callable[[], Any]
) -> Vectors | None:
    """
    Return what simdjson reads; None for what it does not, as integers of more than 64 bits.

    Raises as `read`.
    """
    count = len(lists)
    whole: bytes | memoryview = lists[0]
    if count > 1:
        # One join with the brackets: put around the lists, they would copy them once more.
        parts: list[bytes | memoryview] = [b","] * (2 * count + 1)
        parts[0], parts[-1] = b"[", b"]"
        parts[1::2] = lists
        whole = b"".join(parts)
    if not ({*map(type, lists)} == {memoryview} or _has_lists(bytes(whole), count)):
        raise ValueError("not a list of numbers")
    parser, _of_thread.parser = _of_thread.parser, None
    if parser is None:
        parser = new_parser()
    try:
        document = parser.parse(whole)
        widths = {len(document)} if count == 1 else {*map(len, document)}
        numbers = compiled.from_buffer(document.as_buffer(of_type="d"))
    except (ValueError, TypeError, AttributeError, RuntimeError):
        return None
    # A parser with a document reads no other one, and one that failed may have one.
    del document
    if len(whole) <= _MOST_KEPT_BYTES:
        _of_thread.parser = parser
    _check_widths(widths)
    return _Arrays(numbers.reshape(count, -1), compiled)


def _has_lists(whole: bytes, count: int) -> bool:
    """
    Return whether a list that has nothing but lists has so many, and no other ones; 1 is itself.

    simdjson reads lists of lists as one list.
    """
    at = 0
    for _ in range(count if count > 1 else 0):
        at = whole.find(b"[", at + 1)
        if at < 0:
            return False
    return whole[:1] == b"[" and whole.find(b"[", at + 1) < 0


def _check_widths(widths: set[int]) -> None:
    if 0 in widths:
        raise ValueError("a vector without numbers")
    if len(widths) > 1:
        raise Ragged("vectors of different lengths")


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
    if compiled is None:
        return data.count(b",")
    # `bytes.count` takes a hundred instructions for each one.
    return int(compiled.count_true(compiled.from_buffer(data, "B") == _COMMA))

"""
The texts of numbers of 32 bits, as Go writes them in JSON (docs/facts/ollama.md#vectors).
"""

from __future__ import annotations

import re
from array import array
from decimal import ROUND_HALF_EVEN, ROUND_UP, Context
from math import frexp
from typing import Final

EXPONENT: Final = ord("e")
"""In the text of a number only where it has an exponent."""
_POWER: Final = re.compile(rb"([0-9]+)(?:\.([0-9]+))?e([-+]?[0-9]+)")
_LEAST_POWER, _MOST_POWER = -6, 21
_SHIFT: Final = 1.5 * 2**52
"""Added and taken away again, it rounds a number to an integer."""
_LEAST_NORMAL: Final = 2.0**-126
_HALF: Final = 2.0**29 + 1
"""
The factor that splits a double into its upper 24 bits and the rest (Dekker): with `t = n * _HALF`,
`t - (t - n)` is `n` as a number of 32 bits.
"""


def shortest(numbers: list[float]) -> list[float]:
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


def in_go_form(data: bytes) -> bytes:
    """Return a list of numbers with integers and exponents as Go writes them."""
    if data.find(b".0,") >= 0 or data[-3:] == b".0]":
        data = data.replace(b".0,", b",")
        if data[-3:] == b".0]":
            data = data[:-3] + b"]"
    return powers_in_go_form(data) if EXPONENT in data else data


def powers_in_go_form(data: bytes) -> bytes:
    """Return a list of numbers with the exponents as Go writes them."""
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

"""
Durations as Ollama reads them.

These are pure functions between texts and seconds. Callers choose between several durations.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from .go_json import unreadable_number
from .go_text import quote_ascii

__all__ = ["parse_keep_alive", "parse_setting"]

DEFAULT_KEEP_ALIVE_S: Final = 300.0
"""
What a newly loaded model gets where nothing readable says otherwise.
(docs/facts/ollama.md#keep-alive)
"""

_NS_PER_S: Final = 1_000_000_000
_UNIT_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "\N{MICRO SIGN}s": 1_000,
    "\N{GREEK SMALL LETTER MU}s": 1_000,
    "ms": 1_000_000,
    "s": _NS_PER_S,
    "m": 60 * _NS_PER_S,
    "h": 3600 * _NS_PER_S,
}
_LARGEST_NS: Final = 2**63 - 1
_DIGITS: Final = "0123456789"
_NUMBER: Final = _DIGITS + "."
_FRACTION_DIGITS: Final = 18
"""Go drops digits of a fraction that its integers cannot hold; this many always fit."""


def parse_keep_alive(value: Raw | str | UnsetType) -> float | UnsetType | None:
    """
    Return the seconds of a request's `keep_alive`; None is forever, UNSET if there is none.

    `value` is the JSON as sent, or the text of a Go duration. Raises ValueError with Ollama's own
    text. (docs/facts/ollama.md#keep-alive-values)

    >>> parse_keep_alive(Raw(b'"1h30m"')), parse_keep_alive(Raw(b"-1")), parse_keep_alive("0")
    (5400.0, None, 0.0)
    """
    if isinstance(value, UnsetType):
        return UNSET
    if isinstance(value, str):
        return _seconds(_parse_go(value))
    text = bytes(value).strip()
    if text in (b"", b"null"):
        return UNSET
    if text[:1] in b"-0123456789":
        return _seconds_of_number(text.decode("ascii"))
    if (problem := unreadable_number(text)) is not None:
        raise ValueError(problem)
    decoded = msgspec.json.decode(text)
    if isinstance(decoded, str):
        return _seconds(_parse_go(decoded))
    kind = {bool: "bool", list: "[]interface {}"}.get(type(decoded), "map[string]interface {}")
    raise ValueError(f"Unsupported type: '{kind}'")


def parse_setting(text: str) -> float | None:
    """
    Return the seconds of a keep-alive setting: a Go duration or whole seconds; None is forever.

    What can't be read is five minutes, as for Ollama's own OLLAMA_KEEP_ALIVE.
    (docs/facts/ollama.md#variables)

    >>> parse_setting("90"), parse_setting("-1"), parse_setting("soon")
    (90.0, None, 300.0)
    """
    text = text.strip()
    try:
        return _seconds(_parse_go(text))
    except ValueError:
        pass
    digits = text[1:] if text[:1] in ("+", "-") else text
    # Longer numbers are not 64-bit integers, and the smallest of them exceeds all durations.
    if not digits or len(digits) > 19 or digits.strip(_DIGITS):
        return DEFAULT_KEEP_ALIVE_S
    return _seconds(int(text) * _NS_PER_S)


def _seconds(nanoseconds: int) -> float | None:
    if nanoseconds < 0 or nanoseconds >= _LARGEST_NS:
        return None
    return nanoseconds / _NS_PER_S


def _seconds_of_number(text: str) -> float | None:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"json: cannot unmarshal number {text} into Go value of type float64")
    # More than 64 bits of nanoseconds is effectively forever.
    return None if number < 0 or number * _NS_PER_S >= _LARGEST_NS else abs(number)


def _parse_go(text: str) -> int:
    """Return the nanoseconds of a Go duration, or raise ValueError in Go's words."""
    sign, rest = (text[0], text[1:]) if text[:1] in ("+", "-") else ("", text)
    if rest == "0":
        return 0
    invalid = f"time: invalid duration {quote_ascii(text)}"
    if not rest:
        raise ValueError(invalid)
    total = 0
    while rest:
        number, rest = _leading(rest, _NUMBER)
        # A second dot ends the number, and no unit begins with a dot.
        whole, dot, fraction = number.partition(".")
        if "." in fraction:
            fraction, second, more = fraction.partition(".")
            rest = second + more + rest
        if not whole and not fraction:
            raise ValueError(invalid)
        # Go refuses an integer part that is too long before it reads the unit.
        if len(whole.lstrip("0")) > 19 or (whole and int(whole) > 2**63):
            raise ValueError(invalid)
        unit, rest = _until(rest, _NUMBER)
        if not unit:
            raise ValueError(f"time: missing unit in duration {quote_ascii(text)}")
        if unit not in _UNIT_NS:
            raise ValueError(
                f"time: unknown unit {quote_ascii(unit)} in duration {quote_ascii(text)}"
            )
        scale = _UNIT_NS[unit]
        total += int(whole or "0") * scale
        if dot and fraction:
            kept = fraction[:_FRACTION_DIGITS]
            total += int(int(kept) * (scale / 10 ** len(kept)))
        if total > 2**63:
            raise ValueError(invalid)
    if sign == "-":
        return -total
    if total > _LARGEST_NS:
        raise ValueError(invalid)
    return total


def _leading(text: str, characters: str) -> tuple[str, str]:
    rest = text.lstrip(characters)
    return text[: len(text) - len(rest)], rest


def _until(text: str, characters: str) -> tuple[str, str]:
    end = next((at for at, character in enumerate(text) if character in characters), len(text))
    return text[:end], text[end:]

"""
Checks of a request's `keep_alive`.

`gateway.wire.duration` parses the value.
"""

from __future__ import annotations

from msgspec import UNSET, Raw, UnsetType

from ..wire.duration import parse_keep_alive


def keep_alive_problem(value: Raw | UnsetType) -> str | UnsetType:
    """
    Return Ollama's text for a `keep_alive` that it can't read, absent when it can.

    (docs/facts/ollama.md#keep-alive-values)

    >>> keep_alive_problem(Raw(b'"10"'))
    'time: missing unit in duration "10"'
    """
    try:
        parse_keep_alive(value)
    except ValueError as problem:
        return str(problem)
    return UNSET


def is_zero_duration(value: Raw | UnsetType) -> bool:
    """
    Whether a `keep_alive` says zero, which with nothing to do means unloading.

    (docs/facts/ollama.md#load-and-unload)

    >>> is_zero_duration(Raw(b'"0s"')), is_zero_duration(Raw(b"0.0")), is_zero_duration(UNSET)
    (True, True, False)
    """
    try:
        return parse_keep_alive(value) == 0
    except ValueError:
        return False

"""Sampling options: Ollama's defaults, and numbers in LM Studio's types."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..types import ollama
from ._raw import decoded

_DEFAULTS: Final = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


def with_defaults(
    options: ollama.Options, made: dict[str, Any] | UnsetType, policy: str
) -> ollama.Options:
    """
    Return options, with those of a derived model for missing ones, then Ollama's defaults.

    Ollama's sampling defaults count if the policy is "ollama"; under the policy "absent", LM
    Studio's settings per model do. (docs/facts/ollama.md#option-defaults)

    >>> options = with_defaults(ollama.Options(top_k=5), {"top_k": 9, "top_p": 0.5}, "absent")
    >>> options.top_k, options.top_p
    (5, 0.5)
    >>> with_defaults(ollama.Options(), UNSET, "ollama").temperature
    0.8
    """
    if not made and policy != "ollama":
        return options
    defaults = {**(_DEFAULTS if policy == "ollama" else {}), **(made or {})}
    missing = {
        name: default
        for name, default in defaults.items()
        if getattr(options, name, None) is UNSET or getattr(options, name, 0) is None
    }
    return msgspec.structs.replace(options, **missing)


def typical_p_problem(options: Raw | UnsetType) -> str | UnsetType:
    """
    Return Ollama's text for options with a `typical_p`, absent for all others.

    It is judged before the types of options and what the model can do; null is not given.
    (docs/facts/ollama.md#typical-p)

    >>> typical_p_problem(Raw(b'{"typical_p": "x"}')), typical_p_problem(Raw(b"{}"))
    ('typical_p is no longer supported', UNSET)
    """
    if isinstance(options, UnsetType) or b"typical_p" not in bytes(options):
        return UNSET
    given = decoded(options)
    if not isinstance(given, dict) or given.get("typical_p") is None:
        return UNSET
    return "typical_p is no longer supported"


def whole(number: int | float) -> int:
    """
    Return a number without its fraction, as Ollama reads integers.

    (docs/facts/ollama.md#option-integers)

    >>> whole(40.0), whole(-1.7)
    (40, -1)
    """
    return int(number)


def seed_or_absent(number: int | float) -> int | UnsetType:
    """
    Return a seed, absent for a negative one: that is Ollama's way to ask for a random one.

    (docs/facts/ollama.md#option-defaults)

    >>> seed_or_absent(7), seed_or_absent(-1)
    (7, UNSET)
    """
    return UNSET if number < 0 else int(number)


def is_no_token(number: int | float) -> bool:
    """
    Return whether a limit leaves no token, which ends an answer before its first.

    (docs/facts/ollama.md#num-predict)

    >>> is_no_token(0), is_no_token(0.9), is_no_token(-1), is_no_token(1)
    (True, True, False, False)
    """
    return int(number) == 0


def positive_or_absent(number: int | float) -> int | UnsetType:
    """
    Return a limit, absent for a number below 1: Ollama reads a negative one as unlimited.

    (docs/facts/ollama.md#num-predict)

    >>> positive_or_absent(128.0), positive_or_absent(-1), positive_or_absent(0)
    (128, UNSET, UNSET)
    """
    return int(number) if number >= 1 else UNSET

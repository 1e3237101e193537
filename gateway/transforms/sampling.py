"""Options that steer generation: Ollama's defaults, and numbers fitted to LM Studio's types."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from gateway._generated import ollama

_DEFAULTS: Final = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


def with_defaults(options: ollama.Options, policy: str) -> ollama.Options:
    """
    Return options with Ollama's sampling defaults where none are given, if the policy is "ollama".

    Under the policy "absent", LM Studio's settings per model count. (ollama sheet §3.4)

    >>> with_defaults(ollama.Options(top_k=5), "ollama").top_k
    5
    >>> with_defaults(ollama.Options(), "ollama").temperature
    0.8
    """
    if policy != "ollama":
        return options
    missing = {
        name: default
        for name, default in _DEFAULTS.items()
        if getattr(options, name) in (UNSET, None)
    }
    return msgspec.structs.replace(options, **missing)


def whole(number: int | float) -> int:
    """
    Return a number without its fraction, as Ollama reads integers.

    (ollama sheet §3.4)

    >>> whole(40.0), whole(-1.7)
    (40, -1)
    """
    return int(number)


def seed_or_absent(number: int | float) -> int | UnsetType:
    """
    Return a seed, absent for a negative one: that is Ollama's way to ask for a random one.

    (ollama sheet §3.4)

    >>> seed_or_absent(7), seed_or_absent(-1)
    (7, UNSET)
    """
    return UNSET if number < 0 else int(number)


def positive_or_absent(number: int | float) -> int | UnsetType:
    """
    Return a limit, absent when it is none: Ollama counts -1 and the like as unlimited.

    (ollama sheet §3.4)

    >>> positive_or_absent(128.0), positive_or_absent(-1), positive_or_absent(0)
    (128, UNSET, UNSET)
    """
    return int(number) if number >= 1 else UNSET

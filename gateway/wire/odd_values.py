"""
The report of values in LM Studio's answers that could not be read and were left out.

The rooms that read such answers are below the one that counts, so that one registers itself here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

Listener: TypeAlias = Callable[[str, Iterable[str]], None]
"""Takes a kind of answer (the name of its type) and the keys of its odd values."""

_listeners: list[Listener] = []


def report_to(listener: Listener) -> None:
    """Report every odd value to a function from now on."""
    _listeners.append(listener)


def note_odd(kind: str, keys: Iterable[str]) -> None:
    """Report odd values of one kind of answer."""
    for listener in _listeners:
        listener(kind, keys)

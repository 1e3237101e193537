"""
What a request needs of a home, read from its body: capabilities, context, and how it begins.

Which members tell it, the route's record says (`runtime.needs`). A body without them has no needs;
nothing is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from ..runtime.needs import Needs
from ..wire.lenient import UNREADABLE
from .affinity import beginning_of, read_member
from .ticket import Ticket
from .view import BITS

_MOST_SEARCHED: Final = 1024 * 1024
"""The most bytes of a raw member in which words are looked for."""


def note_needs(ticket: Ticket, request: Any, needs: Needs | None) -> None:
    """Note what a decoded request needs; `request` is a struct, or None."""
    if request is not None and needs is not None:
        _note(ticket, needs, lambda name: getattr(request, name, None))


def note_passed_needs(ticket: Ticket, members: Mapping[str, Raw], needs: Needs | None) -> None:
    """Note what a request needs that is passed on, from its raw members."""
    if needs is None:
        return
    _note(ticket, needs, members.get)
    for capability, name, key, words in needs.words:
        raw = members.get(name)
        if raw is not None and _said(key, words).search(bytes(raw)[:_MOST_SEARCHED]):
            ticket.mask |= BITS[capability]


def _note(ticket: Ticket, needs: Needs, part: Callable[[str], Any]) -> None:
    named = next((value for name in needs.model if (value := part(name))), "")
    ticket.key = beginning_of(_text(named), map(part, needs.begins), needs.until)
    for capability, (first, *rest) in needs.filled:
        if any(map(_is_filled, _values(part(first), rest))):
            ticket.mask |= BITS[capability]
    if needs.context:
        first, *rest = needs.context
        for value in _values(part(first), rest):
            ticket.context = _tokens(value)


def _text(named: object) -> str:
    if isinstance(named, Raw):
        return bytes(named).decode("utf-8", "replace")
    return named if isinstance(named, str) else ""


def _values(value: Any, way: list[str]) -> Iterator[Any]:
    """Yield what is at the end of a way, of each item where there is a list on it."""
    if not way:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, way)
    elif value is not None and value is not UNSET:
        yield from _values(_member(value, way[0]), way[1:])


def _member(value: Any, name: str) -> Any:
    if not isinstance(value, Raw):
        return getattr(value, name, None)
    try:
        return read_member(value, name)
    except UNREADABLE:
        return None


def _is_filled(value: Any) -> bool:
    if isinstance(value, Raw):
        return bytes(value).strip(b"[] \t\r\n") not in (b"", b"null", b'""')
    return isinstance(value, list | str) and bool(value)


@cache
def _said(key: str, words: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return a pattern for a key with one of some words as its value, somewhere in JSON."""
    any_word = "|".join(map(re.escape, words))
    return re.compile(rf'"{re.escape(key)}"\s*:\s*"(?:{any_word})"'.encode())


def _tokens(asked: Any) -> int:
    """Return the context that is asked for, in tokens; 0 for none, and for what is no number."""
    if isinstance(asked, Raw):
        try:
            asked = msgspec.json.decode(asked)
        except UNREADABLE:
            return 0
    if not isinstance(asked, int | float) or isinstance(asked, bool):
        return 0
    return int(asked) if 0 < asked < 2**31 else 0

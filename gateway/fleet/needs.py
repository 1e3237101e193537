"""
What a request needs of a home, read from its body: capabilities, context, and how it begins.

Operations of all APIs say the same things by few names, so these are looked for, whatever the
operation is. A body without them has no needs; nothing is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from ..wire.lenient import UNREADABLE
from .affinity import beginning_of
from .ticket import Ticket
from .view import BITS

BEGINNING: Final = (
    "system",
    "instructions",
    "system_prompt",
    "tools",
    "messages",
    "prompt",
    "input",
)
"""The members that a prompt begins with, in its order."""
_PICTURES = (b'"image_url"', b'"input_image"', b'"type":"image"', b'"type": "image"')
_MOST_SEARCHED = 1024 * 1024
"""The most bytes of raw messages in which a picture is looked for."""


class _Options(msgspec.Struct, gc=False):
    num_ctx: Any = None


_OPTIONS = msgspec.json.Decoder(_Options)


def note_needs(ticket: Ticket, request: Any) -> None:
    """Note what a decoded request needs; `request` is a struct, or None."""
    if request is None:
        return
    named = getattr(request, "model", None)
    _note(ticket, named, lambda name: getattr(request, name, None))
    if _has_pictures(request):
        ticket.mask |= BITS["vision"]
    ticket.context = _context_of(getattr(request, "options", None))


def note_passed_needs(ticket: Ticket, members: Mapping[str, Raw], model: str) -> None:
    """Note the needs of a request that is passed on; its member `model` names the model."""
    _note(ticket, bytes(members.get(model, b"")).decode("utf-8", "replace"), members.get)
    for name in ("messages", "input"):
        raw = members.get(name)
        if raw is not None:
            start = bytes(raw)[:_MOST_SEARCHED]
            if any(word in start for word in _PICTURES):
                ticket.mask |= BITS["vision"]


def _note(ticket: Ticket, model: object, part: Callable[[str], Any]) -> None:
    ticket.key = beginning_of(
        model if isinstance(model, str) else "", [part(name) for name in BEGINNING]
    )
    if _is_filled(part("tools")):
        ticket.mask |= BITS["tools"]


def _is_filled(value: Any) -> bool:
    if isinstance(value, Raw):
        return bytes(value).strip(b"[] \t\r\n") not in (b"", b"null")
    return isinstance(value, list) and bool(value)


def _has_pictures(request: Any) -> bool:
    messages = getattr(request, "messages", None)
    turns = messages if isinstance(messages, list) else []
    return any(_is_filled(getattr(one, "images", None)) for one in (request, *turns))


def _context_of(options: Any) -> int:
    """Return the context that options ask for, in tokens; 0 for none."""
    if isinstance(options, Raw):
        try:
            options = _OPTIONS.decode(options)
        except UNREADABLE:
            return 0
    if options is None or options is UNSET:
        return 0
    asked = getattr(options, "num_ctx", None)
    if not isinstance(asked, int | float) or isinstance(asked, bool):
        return 0
    return int(asked) if 0 < asked < 2**31 else 0

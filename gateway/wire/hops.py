"""
The header by which gateways recognise requests of gateways, and so a request that comes back.

Every request to LM Studio has one line with the name of the gateway that sends it. A gateway that
passes a request on keeps the lines that are there, so they name every gateway on the way. It works
as `Via` does in RFC 9110, under a name that proxies do not use. A name is made at random for each
process and tells nothing about it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable

HEADER = b"x-olgate-via"
"""In a request, the gateways that it came through. In its answer, the gateway that answered."""

MAX_HOPS = 8
"""More gateways than these in a row are taken for a loop, whatever their names are."""


MAX_CALLERS = 64
"""Names of gateways that are remembered; a client can make up any number."""


class Name(str):
    """The name of one gateway, and the names of the gateways that sent requests to it."""

    def __init__(self, _: str) -> None:
        """Know of no caller yet."""
        self.callers: set[str] = set()

    def note_caller(self, names: list[str]) -> None:
        """Remember the gateway that sent a request, which came through these."""
        if names and len(self.callers) < MAX_CALLERS:
            self.callers.add(names[-1])


def new_name() -> Name:
    """Return a name for one gateway process."""
    return Name(secrets.token_hex(8))


def names_in(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """
    Return the names of the gateways in the headers, in the order of the lines.

    A proxy may have joined lines with commas.

    >>> names_in([(b"x-olgate-via", b"a"), (b"host", b"h"), (b"x-olgate-via", b"b, c")])
    ['a', 'b', 'c']
    """
    lines = [value.decode("latin-1") for name, value in headers if name == HEADER]
    return [part.strip() for line in lines for part in line.split(",") if part.strip()]


def is_loop(names: list[str], own: str) -> bool:
    """Return whether a request that came through these gateways has to stop at `own`."""
    return own in names or len(names) > MAX_HOPS

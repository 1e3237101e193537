"""
Refusals by the server itself, of requests that never become whole: their notes and their bytes.

`protocol` decides what is refused and when it is written; `edge` writes the line and counts.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias, cast

from ..observability.record import Record
from .asgi import CLIENT, REFUSED, REQUEST_ID, AsgiClient, Scope, header

Noter: TypeAlias = Callable[[Scope, float], bytes]
"""
Notes a request that is refused here, in a scope that has the status as REFUSED; the number is for
how many seconds its head was awaited. Returns the request's id.
"""


class Refusals:
    """Has every refused request noted once, and returns its id."""

    def __init__(self, noter: Noter | None = None) -> None:
        """Without a Noter, nothing is noted, and there is no id."""
        self._noter = noter

    def note(self, scope: Scope, status: HTTPStatus, waited_s: float) -> bytes:
        """Note a refused request of which no application knows."""
        scope[REFUSED] = status.value
        return self._noter(scope, waited_s) if self._noter is not None else b""

    def have_noted(self, scope: Scope, status: HTTPStatus) -> bytes:
        """Have the application that runs note that its request was refused."""
        scope[REFUSED] = status.value
        if self._noter is None:
            return b""
        if (client := scope.get(CLIENT)) is not None:
            return cast("AsgiClient", client).record.id.encode("ascii")
        # Its task has not begun, and will take the id for the client's own.
        identifier = Record(None, header(scope, REQUEST_ID)).id.encode("ascii")
        kept = [pair for pair in scope["headers"] if pair[0] != REQUEST_ID]
        scope["headers"] = [*kept, (REQUEST_ID, identifier)]
        return identifier


def refusal_bytes(status: HTTPStatus, kind: bytes, text: bytes, identifier: bytes) -> bytes:
    """Return a whole answer after which the connection is closed."""
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}".encode("ascii"),
        b"content-type: " + kind,
        b"content-length: %d" % len(text),
        *([REQUEST_ID + b": " + identifier] if identifier else []),
        b"connection: close",
        b"",
        text,
    ]
    return b"\r\n".join(lines)

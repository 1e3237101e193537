"""
Makes a request smaller as long as it still shows the same difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from conformance.differential import document as doc
from conformance.differential.requests import Drawn

TRIES = 120
"""How many requests making one smaller may take."""


def minimise(drawn: Drawn, shows: Callable[[Drawn], bool], tries: int = TRIES) -> Drawn:
    """
    Return the smallest request found for which `shows` holds, as it does for the given one.

    >>> big = Drawn("GET /", "GET", "/", doc.of({"a": 1, "b": 2}), (("X", "y"),))
    >>> small = minimise(big, lambda one: b"b" in (one.request.body or b""))
    >>> small.headers, doc.write(small.body)
    ((), b'{"b":2}')
    """
    left = tries
    found = True
    while found and left > 0:
        found = False
        for smaller in shrink(drawn):
            left -= 1
            if left < 0:
                break
            if shows(smaller):
                drawn, found = smaller, True
                break
    return drawn


def shrink(drawn: Drawn) -> Iterator[Drawn]:
    """Yield requests that are a little smaller."""
    for place in range(len(drawn.headers)):
        yield replace(drawn, headers=drawn.headers[:place] + drawn.headers[place + 1 :])
    if drawn.host is not None:
        yield replace(drawn, host=None)
    if drawn.version != "1.1":
        yield replace(drawn, version="1.1")
    body = drawn.body
    if isinstance(body, bytes):
        size = max(1, len(body) // 2)
        while body and size:
            for start in range(0, len(body), size):
                yield replace(drawn, body=body[:start] + body[start + size :])
            size //= 2
    elif body is not None:
        for less in doc.smaller(body):
            yield replace(drawn, body=less)

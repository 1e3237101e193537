"""
The request that is to be explained, and the answer that LM Studio is said to give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .problems import NotExplained

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Answered:
    """What LM Studio answers: the body in the pieces in which it arrives."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    pieces: tuple[bytes, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Asked:
    """
    One request of a client.

    `before` are requests that are sent first, such as a `create`; `settings` are those that a case
    states, over the ones in force.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    source: str = "the command line"
    answer: Answered | None = None
    before: tuple[Asked, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    lists: Mapping[str, Any] = field(default_factory=dict)
    """LM Studio's lists of models that came with it, by their paths."""


def for_route(route: str, body: bytes | None, source: str) -> Asked:
    """
    Return the request of a route with a body: `/api/chat`, or `DELETE /api/delete`.

    >>> asked = for_route("/api/chat", b"{}", "")
    >>> asked.method, asked.path
    ('POST', '/api/chat')

    Raises NotExplained for what is not a path.
    """
    method, _, target = route.strip().rpartition(" ")
    parts = urlsplit(target)
    path = parts.path
    if not path.startswith("/"):
        raise NotExplained(f"--route: {route!r} is not a path; write it as /api/chat")
    method = method.strip().upper() or ("GET" if body is None else "POST")
    if method not in METHODS:
        raise NotExplained(f"--route: {method} is not a method of HTTP that is served here")
    return Asked(method=method, path=path, query=parts.query, body=body, source=source)


def check_json(body: bytes | None, source: str) -> None:
    """Raise NotExplained, with the place, if a body is not JSON."""
    if not body:
        return
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise NotExplained(
            f"the body in {source} is not JSON ({problem}); with --as-it-is it is explained what "
            "becomes of it all the same"
        ) from None

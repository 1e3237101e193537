"""
The page's answers: HTML with the headers that keep it to itself, and notices.

A script of the page asks for JSON, and gets a notice as `{"said": …}`.
"""

from __future__ import annotations

from typing import NamedTuple

from ..server.asgi import AsgiClient, Scope, header
from ..wire.writing import JSON, encode

HTML = b"text/html; charset=utf-8"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    # With no-referrer, a browser would state no origin for the form.
    ("referrer-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
)


class Refused(NamedTuple):
    """Why a page is not shown; with `has_form`, a key would help."""

    status: int
    title: str
    text: str
    has_form: bool = False


def add_headers(client: AsgiClient) -> None:
    """Add the headers that every answer of the page has."""
    for name, value in _HEADERS:
        client.add_header(name, value)


async def answer(client: AsgiClient, status: int, kind: bytes, body: bytes) -> None:
    """Send a whole answer that nobody keeps."""
    client.add_header("cache-control", "no-store")
    add_headers(client)
    await client.answer(status, kind, body)


async def answer_refused(client: AsgiClient, scope: Scope, refused: Refused) -> None:
    """Say why not."""
    if wants_json(scope):
        await answer(client, refused.status, JSON, encode({"said": refused.text}))
        return
    from .rendering import render_notice

    page = render_notice(refused.title, refused.text, has_form=refused.has_form)
    await answer(client, refused.status, HTML, page)


async def answer_done(client: AsgiClient, scope: Scope, said: str, place: str) -> None:
    """Say what was begun, a browser without scripts by leading it back to `place`."""
    if wants_json(scope):
        await answer(client, 202, JSON, encode({"said": said}))
        return
    client.add_header("location", place)
    await answer(client, 303, b"", b"")


def wants_json(scope: Scope) -> bool:
    """Return whether the page's script asks, and no browser by itself."""
    return header(scope, b"accept") == "application/json"

"""
The routes of the page at `/olgate/`, and who may see it.

With keys the gate for keys decides: a browser shows one by a form, and after that by a cookie.
Every other page of the web is refused, and so is a key in an address.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import msgspec

from ..faults import ClientGone
from ..server.addresses import is_loopback
from ..server.asgi import (
    ASGIApp,
    AsgiClient,
    ExtraHeaders,
    Scope,
    body_pieces,
    client_of,
    header,
    while_connected,
)
from ..server.edge import EdgeAnswer
from ..server.keys import KeyGate
from ..server.origins import check_host
from ..server.routes import (
    CONSOLE,
    CONSOLE_EVENTS,
    CONSOLE_FILES,
    CONSOLE_LOGIN,
    CONSOLE_LOGOUT,
    CONSOLE_PATHS,
)
from ..settings.live import LiveSettings
from ..settings.schema import Settings
from .feed import MOST_PAGES, Feed
from .sessions import Sessions, cookie_for, token_in
from .snapshot import Snapshots

COOKIE = b"cookie"
"""The header that brings a session."""
MOST_FORM = 8192
"""Bytes that the form with a key may have."""

_HTML = b"text/html; charset=utf-8"
_EVENTS = b"text/event-stream"
_TYPES = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
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
_FULL = f"{MOST_PAGES} pages are open, which is the most: close one of them"
_NEAR_ONLY = (
    "Without keys, this page is shown to browsers on the gateway's own machine only. Set "
    "listen.keys (OLGATE_LISTEN_KEYS), and it asks for one of them."
)
_FOREIGN = "Pages of other origins may not use this one. Open it by its own address."
_QUERY = (
    "Nothing belongs in the address of this page. A key least of all: it ends up in logs and "
    "histories. If there was one, replace it, and open /olgate/ without it."
)
_SEVERAL = (
    "The page shows what one process does, and this gateway has several (--workers). Use /metrics "
    "and `olgate status`, or run it with one process."
)


class Refused(NamedTuple):
    """Why a page is not shown; with `has_form`, a key would help."""

    status: int
    title: str
    text: str
    has_form: bool = False


class Console:
    """The page of one process."""

    def __init__(
        self,
        snapshots: Snapshots,
        live: LiveSettings,
        keys: KeyGate,
        *,
        is_one_of_several: bool = False,
    ) -> None:
        """Show `snapshots` to those whom `keys` lets in; one of several processes shows nothing."""
        self._snapshots = snapshots
        self._live = live
        self._keys = keys
        self._is_one_of_several = is_one_of_several
        self._sessions = Sessions()
        self._feed: Feed | None = None
        self._files: dict[str, tuple[bytes, str]] = {}
        self._is_closed = False

    def routes(self) -> Iterator[tuple[str, str, ASGIApp]]:
        """Yield the method, the path and the application of each route."""
        yield "GET", CONSOLE, self._serve_page
        yield "GET", CONSOLE_EVENTS, self._serve_events
        yield "POST", CONSOLE_LOGIN, self._serve_login
        yield "POST", CONSOLE_LOGOUT, self._serve_logout
        for path in CONSOLE_FILES:
            yield "GET", path, partial(self._serve_file, path.rpartition("/")[2])

    def note_session(self, scope: Scope, settings: Settings) -> ExtraHeaders:
        """
        Be the gate for requests with a cookie: show the gate for keys the key of a session.

        Only the page's own requests may use one.
        """
        if scope["path"] not in CONSOLE_PATHS or header(scope, b"authorization"):
            return ()
        token = token_in(header(scope, COOKIE))
        key = None if token is None else self._sessions.key_of(token)
        if key is not None:
            shown = (b"authorization", b"Bearer " + key.encode("utf-8", "surrogatepass"))
            scope["headers"] = [*scope["headers"], shown]
        return ()

    def close(self) -> None:
        """End the streams of all pages."""
        self._is_closed = True
        if self._feed is not None:
            self._feed.close()

    # -- routes -------------------------------------------------------------------------------

    async def _serve_page(self, scope: Any, receive: Any, send: Any) -> None:
        client = client_of(scope)
        refused = self._refuse(scope) or self._refuse_key(scope)
        if refused is not None:
            await self._answer_notice(client, refused)
            return
        from .rendering import render_page

        self._snapshots.ask_hosts()
        has_session = token_in(header(scope, COOKIE)) is not None and self._keys.is_needed
        page = render_page(self._snapshots.take(), has_session=has_session)
        await self._answer(client, 200, _HTML, page)

    async def _serve_events(self, scope: Any, receive: Any, send: Any) -> None:
        client = client_of(scope)
        refused = self._refuse(scope)
        feed = self._open_feed() if refused is None else None
        if feed is not None and (feed.is_full or self._is_closed):
            text = "The gateway is about to end." if self._is_closed else f"{_FULL}."
            refused = Refused(503, "Not now", text)
        if refused is not None:
            await self._answer_notice(client, refused)
            return
        assert feed is not None
        client.add_header("cache-control", "no-store")
        # A proxy such as nginx would keep events back.
        client.add_header("x-accel-buffering", "no")
        _add_headers(client)
        await client.start(200, [(b"content-type", _EVENTS)])
        await while_connected(self._follow(feed, client), receive, client.leave)

    async def _follow(self, feed: Feed, client: AsgiClient) -> None:
        await feed.follow(client.push)
        await client.finish()

    async def _serve_login(self, scope: Any, receive: Any, send: Any) -> None:
        client = client_of(scope)
        if (refused := self._refuse(scope) or _refuse_post(scope)) is not None:
            await self._answer_notice(client, refused)
            return
        try:
            form = await _form(receive)
        except ClientGone:
            return
        if form is None:
            text = f"The form may have {MOST_FORM} bytes, and must be one of this page."
            await self._answer_notice(client, Refused(400, "No form", text, has_form=True))
            return
        key = form.get("key", [""])[0].strip()
        shown = (b"authorization", b"Bearer " + key.encode("utf-8", "surrogatepass"))
        others = [each for each in scope["headers"] if each[0] != b"authorization"]
        asked = {**scope, "headers": [*others, shown]}
        if (refused := self._refuse_key(asked)) is not None:
            await self._answer_notice(client, refused)
            return
        token = self._sessions.open(key) if self._keys.is_needed else ""
        await self._redirect(client, cookie_for(token, is_secure=scope["scheme"] == "https"))

    async def _serve_logout(self, scope: Any, receive: Any, send: Any) -> None:
        client = client_of(scope)
        if (refused := self._refuse(scope) or _refuse_post(scope)) is not None:
            await self._answer_notice(client, refused)
            return
        if token := token_in(header(scope, COOKIE)):
            self._sessions.end(token)
        await self._redirect(client, cookie_for("", is_secure=scope["scheme"] == "https"))

    async def _serve_file(self, name: str, scope: Any, receive: Any, send: Any) -> None:
        client = client_of(scope)
        if name not in self._files:
            from .rendering import FILES

            body = (FILES / name).read_bytes()
            self._files[name] = (body, f'"{sha256(body).hexdigest()[:32]}"')
        body, tag = self._files[name]
        client.add_header("etag", tag)
        client.add_header("cache-control", "no-cache")
        _add_headers(client)
        if header(scope, b"if-none-match") == tag:
            await client.answer(304, b"", b"")
            return
        await client.answer(200, _TYPES[name.rpartition(".")[2]], body)

    # -- who may ------------------------------------------------------------------------------

    def _refuse(self, scope: Scope) -> Refused | None:
        """Refuse what no key could open."""
        if scope.get("query_string"):
            return Refused(400, "A key in the address", _QUERY)
        if self._is_one_of_several:
            return Refused(501, "Several processes", _SEVERAL)
        if header(scope, b"origin") and not _is_own_origin(scope):
            return Refused(403, "Another origin", _FOREIGN)
        address, *_ = scope.get("client") or ("",)
        if not self._keys.is_needed and not (is_loopback(address) and _has_near_name(scope)):
            return Refused(403, "Not from here", _NEAR_ONLY)
        return None

    def _refuse_key(self, scope: Scope) -> Refused | None:
        """Refuse a request whose key the gate for keys does not let in."""
        # At the page's own path the gate lets everybody in.
        asked = {**scope, "path": CONSOLE_EVENTS}
        answer = self._keys(asked, self._live.current)
        if not isinstance(answer, EdgeAnswer):
            return None
        if not header(scope, b"authorization"):
            return Refused(401, "A key, please", "This gateway has keys. Show one of them.", True)
        if answer.status == 401:
            return Refused(401, "A key, please", "This key is not known. Show another one.", True)
        return Refused(answer.status, "Not with this key", _sentence(answer.body), True)

    # -- answers ------------------------------------------------------------------------------

    def _open_feed(self) -> Feed:
        if self._feed is None:
            from .rendering import render_section

            shown = self._snapshots
            self._feed = Feed(shown.take, render_section, shown.ask_hosts, shown.stop)
        return self._feed

    async def _answer_notice(self, client: AsgiClient, refused: Refused) -> None:
        from .rendering import render_notice

        page = render_notice(refused.title, refused.text, has_form=refused.has_form)
        await self._answer(client, refused.status, _HTML, page)

    async def _redirect(self, client: AsgiClient, cookie: str) -> None:
        client.add_header("location", CONSOLE)
        client.add_header("set-cookie", cookie)
        await self._answer(client, 303, b"", b"")

    async def _answer(self, client: AsgiClient, status: int, kind: bytes, body: bytes) -> None:
        client.add_header("cache-control", "no-store")
        _add_headers(client)
        await client.answer(status, kind, body)


def _add_headers(client: AsgiClient) -> None:
    for name, value in _HEADERS:
        client.add_header(name, value)


def _is_own_origin(scope: Scope) -> bool:
    host = header(scope, b"host")
    return header(scope, b"origin") in (f"http://{host}", f"https://{host}")


def _refuse_post(scope: Scope) -> Refused | None:
    """Refuse a form that was not sent by a page of the gateway: browsers always tell of which."""
    return None if _is_own_origin(scope) else Refused(403, "Another origin", _FOREIGN)


def _has_near_name(scope: Scope) -> bool:
    """
    Return whether a browser knows the gateway by a name of this machine.

    An attacker's name that leads to 127.0.0.1 would be this machine's page to the browser.
    """
    return not isinstance(check_host(scope, _NEAR), EdgeAnswer)


_NEAR = Settings()
"""The settings of a gateway that only this machine can reach."""


async def _form(receive: Any) -> dict[str, list[str]] | None:
    """Return the fields of a form, None if it is too long or is none. Raises ClientGone."""
    body = b""
    async for piece in body_pieces(receive):
        body += piece
        if len(body) > MOST_FORM:
            return None
    try:
        return parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError:
        return None


def _sentence(body: bytes) -> str:
    """Return the text of an error in Ollama's dialect."""
    try:
        error = msgspec.json.decode(body)["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "The gateway refuses it."
    return error if isinstance(error, str) else "The gateway refuses it."

"""
The routes of the page at `/olgate/`: the page itself, its stream, its forms and its files.

`admission` decides who may, and `acting` does what the forms ask for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from types import NoneType
from typing import Any

from ..faults import ClientGone
from ..observability.inspector import Inspector
from ..queueing.waiting import Waits
from ..server.asgi import ASGIApp, AsgiClient, client_of, header, while_connected
from ..server.keys import KeyGate
from ..server.routes import (
    CONSOLE,
    CONSOLE_ACT,
    CONSOLE_EVENTS,
    CONSOLE_EXPLAIN,
    CONSOLE_FILES,
    CONSOLE_LOGIN,
    CONSOLE_LOGOUT,
)
from ..server.workers import Worker
from ..settings.live import LiveSettings
from .acting import Acting, Order, read_order
from .admission import COOKIE, Admission, read_fields, shown_key
from .answering import HTML, Refused, add_headers, answer, answer_done, answer_refused
from .explaining import MOST_BYTES, Explainer, Explaining
from .feed import MOST_PAGES, Feed
from .peers import (
    CountWaiting,
    EndSession,
    Find,
    Found,
    KeepSession,
    Look,
    Peers,
    Question,
    Stop,
    TellSessions,
)
from .sessions import LASTS_S, cookie_for, digest_of, token_in
from .snapshot import Snapshots

_EVENTS = b"text/event-stream"
_TYPES = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_FULL = f"{MOST_PAGES} pages are open, which is the most: close one of them"


class Console:
    """The page, as one process serves it."""

    def __init__(
        self,
        snapshots: Snapshots,
        live: LiveSettings,
        keys: KeyGate,
        *,
        explainer: Explainer,
        inspector: Inspector | None = None,
        worker: Worker | None = None,
    ) -> None:
        """Show `snapshots` to those whom `keys` lets in, and what other workers do with them."""
        self._snapshots = snapshots
        meeting = None if worker is None else worker.meeting
        secret = None if meeting is None else meeting.secret
        self.admission = Admission(live, keys, secret)
        self._peers = Peers(0 if worker is None else worker.number, meeting, self._tell)
        self._acting = Acting()
        self._feed: Feed | None = None
        self._files: dict[str, tuple[bytes, str]] = {}
        self._is_closed = False
        self._inspector = inspector
        self._explaining = Explaining(snapshots, explainer, self._find)
        snapshots.acts = self._acting.shown
        snapshots.others = self._peers.others
        if inspector is not None:
            snapshots.kept = inspector.ids

    def routes(self) -> Iterator[tuple[str, str, ASGIApp]]:
        """Yield the method, the path and the application of each route."""
        yield "GET", CONSOLE, self._serve_page
        yield "GET", CONSOLE_EVENTS, self._serve_events
        yield "POST", CONSOLE_LOGIN, self._serve_login
        yield "POST", CONSOLE_LOGOUT, self._serve_logout
        yield "POST", CONSOLE_ACT, self._serve_act
        yield "POST", CONSOLE_EXPLAIN, self._serve_explain
        for path in CONSOLE_FILES:
            yield "GET", path, partial(self._serve_file, path.rpartition("/")[2])

    def act_on(self, app: ASGIApp) -> None:
        """Have actions send their requests to `app`, which is the whole application."""
        self._acting.app = app

    async def start(self) -> None:
        """Answer other workers from now on, and learn of their sessions."""
        await self._peers.start()
        for sessions in await self._peers.ask(TellSessions(), list[KeepSession]):
            for one in sessions:
                self.admission.sessions.keep(one.digest, one.key, one.lasts_s)

    def close(self) -> None:
        """End the streams of all pages, and what was begun on them."""
        self._is_closed = True
        self._acting.close()
        if self._feed is not None:
            self._feed.close()

    async def aclose(self) -> None:
        """Ask nobody any more, and wait for what still runs."""
        self.close()
        await self._acting.aclose()
        await self._explaining.aclose()
        await self._snapshots.aclose()
        await self._peers.aclose()

    # -- routes -------------------------------------------------------------------------------

    async def _serve_page(self, scope: Any, receive: Any, send: Any) -> None:
        client, admission = client_of(scope), self.admission
        refused = admission.refuse(scope) or admission.refuse_key(scope)
        if refused is not None:
            await answer_refused(client, scope, refused)
            return
        from .rendering import render_page

        self._snapshots.ask_hosts()
        await self._peers.look_first()
        has_session = token_in(header(scope, COOKIE)) is not None and admission.needs_key
        page = render_page(
            self._snapshots.take(), has_session=has_session, token=admission.form_token(scope)
        )
        if self._feed is None or not self._feed.pages:
            self._peers.rest()
        await answer(client, 200, HTML, page)

    async def _serve_events(self, scope: Any, receive: Any, send: Any) -> None:
        client = client_of(scope)
        refused = self.admission.refuse(scope)
        feed = self._open_feed() if refused is None else None
        if feed is not None and (feed.is_full or self._is_closed):
            text = "The gateway is about to end." if self._is_closed else f"{_FULL}."
            refused = Refused(503, "Not now", text)
        if refused is not None:
            await answer_refused(client, scope, refused)
            return
        assert feed is not None
        await self._peers.look_first()
        client.add_header("cache-control", "no-store")
        # A proxy such as nginx would keep events back.
        client.add_header("x-accel-buffering", "no")
        add_headers(client)
        await client.start(200, [(b"content-type", _EVENTS)])
        await while_connected(self._follow(feed, client), client)

    async def _follow(self, feed: Feed, client: AsgiClient) -> None:
        await feed.follow(client.push)
        await client.finish()

    async def _serve_act(self, scope: Any, receive: Any, send: Any) -> None:
        client = client_of(scope)
        try:
            form = await self.admission.read_form(scope, receive)
        except ClientGone:
            return
        order = form if isinstance(form, Refused) else read_order(form)
        said = order if isinstance(order, Refused) else self._acting.begin(order, scope)
        if isinstance(order, Order) and order.verb == "stop" and isinstance(said, Refused):
            # It may run in another process.
            stopped = await self._peers.ask(Stop(order.id), str)
            said = next(filter(None, stopped), said)
        if isinstance(said, Refused):
            await answer_refused(client, scope, said)
        else:
            await answer_done(client, scope, said, CONSOLE)

    async def _serve_explain(self, scope: Any, receive: Any, send: Any) -> None:
        client = client_of(scope)
        try:
            form = await self.admission.read_form(scope, receive, MOST_BYTES)
        except ClientGone:
            return
        if isinstance(form, Refused):
            await answer_refused(client, scope, form)
            return
        token = self.admission.form_token(scope)
        await self._explaining.serve(client, scope, form, token)

    async def _serve_login(self, scope: Any, receive: Any, send: Any) -> None:
        client, admission = client_of(scope), self.admission
        refused = admission.refuse(scope) or admission.refuse_post(scope)
        if refused is not None:
            await answer_refused(client, scope, refused)
            return
        try:
            form = await read_fields(receive)
        except ClientGone:
            return
        if isinstance(form, Refused):
            await answer_refused(client, scope, form)
            return
        key = form.get("key", "").strip()
        others = [each for each in scope["headers"] if each[0] != b"authorization"]
        asked = {**scope, "headers": [*others, shown_key(key)]}
        if (refused := admission.refuse_key(asked)) is not None:
            await answer_refused(client, scope, refused)
            return
        token = ""
        if admission.needs_key:
            token = admission.sessions.open(key)
            # The next request may be another process's.
            await self._peers.ask(KeepSession(digest_of(token), key, LASTS_S), NoneType)
        await self._redirect(client, cookie_for(token, is_secure=scope["scheme"] == "https"))

    async def _serve_logout(self, scope: Any, receive: Any, send: Any) -> None:
        client, admission = client_of(scope), self.admission
        refused = admission.refuse(scope) or admission.refuse_post(scope)
        if refused is not None:
            await answer_refused(client, scope, refused)
            return
        if token := token_in(header(scope, COOKIE)):
            admission.sessions.end(digest_of(token))
            await self._peers.ask(EndSession(digest_of(token)), NoneType)
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
        add_headers(client)
        if header(scope, b"if-none-match") == tag:
            await client.answer(304, b"", b"")
            return
        await client.answer(200, _TYPES[name.rpartition(".")[2]], body)

    # -- answers ------------------------------------------------------------------------------

    def _open_feed(self) -> Feed:
        if self._feed is None:
            from .rendering import render_section

            self._feed = Feed(self._snapshots.take, render_section, self._ask, self._rest)
        return self._feed

    def _ask(self) -> None:
        self._snapshots.ask_hosts()
        self._peers.look()

    def _rest(self) -> None:
        self._snapshots.stop()
        self._peers.rest()

    # -- other processes ----------------------------------------------------------------------

    async def waits_elsewhere(self) -> list[Waits]:
        """Return what waits in each of the other processes that answer in time."""
        return await self._peers.ask(CountWaiting(), Waits)

    def _tell(self, question: Question) -> object:
        """Answer a question of another process."""
        sessions = self.admission.sessions
        match question:
            case Look():
                return self._snapshots.part()
            case CountWaiting():
                return self._snapshots.waits()
            case TellSessions():
                return [KeepSession(*each) for each in sessions.known()]
            case KeepSession():
                sessions.keep(question.digest, question.key, question.lasts_s)
                return None
            case EndSession():
                sessions.end(question.digest)
                return None
            case Stop():
                said = self._acting.stop(question.id)
                return "" if isinstance(said, Refused) else said
            case Find():
                kept = self._inspector
                return Found(exchange=None if kept is None else kept.find(question.id))

    async def _find(self, identifier: str) -> dict[str, Any] | None:
        """Return a kept exchange, whichever process keeps it."""
        if self._inspector is None:
            return None
        if (found := self._inspector.find(identifier)) is not None:
            return found
        theirs = await self._peers.ask(Find(identifier), Found)
        return next((one.exchange for one in theirs if one.exchange is not None), None)

    async def _redirect(self, client: AsgiClient, cookie: str) -> None:
        client.add_header("location", CONSOLE)
        client.add_header("set-cookie", cookie)
        await answer(client, 303, b"", b"")

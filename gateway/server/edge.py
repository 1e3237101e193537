"""
The outermost layer, which every request passes before an endpoint is looked up.

It cleans and redirects paths, answers 404 and 405 with Ollama's texts, refuses protocol upgrades,
runs the checks of callers (gates, each in its own module), and writes one log line for each
request.

It wraps the application from outside, because Litestar's middleware does not see requests without a
route, and its router accepts paths that Ollama redirects.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from html import escape
from http import HTTPStatus
from time import perf_counter_ns, time_ns
from types import MappingProxyType
from typing import NamedTuple, Protocol
from urllib.parse import quote

import msgspec

from ..faults import GOING_DOWN
from ..observability.inspector import Inspector
from ..observability.journal import get_logger, log_request
from ..observability.record import (
    INTERNAL_FAULT,
    SHUTDOWN_FAULT,
    Observer,
    Record,
    Tracer,
    enter,
    leave,
    start_record,
)
from ..observability.traffic import MOST_TEXT, Ended, Traffic
from ..settings.schema import Settings
from ..wire.writing import JSON
from .asgi import (
    CLIENT,
    PORT,
    REFUSED,
    REQUEST_ID,
    SERVER,
    Answering,
    ASGIApp,
    AsgiClient,
    ExtraHeaders,
    Receive,
    Scope,
    Send,
    header,
)
from .dialects import error_body
from .heads import Head
from .malformed import find_malformed
from .routes import Kept, Route, RouteTable


class EdgeAnswer(NamedTuple):
    """A complete answer from the edge; HEAD gets it without the body."""

    status: int
    body: bytes = b""
    headers: ExtraHeaders = ()


Gate = Callable[[Scope, Settings], EdgeAnswer | ExtraHeaders]
"""
One check of the caller. It runs after the path is cleaned and before the route is looked up, so it
also sees requests that end as 404 (docs/facts/ollama.md#hosts). It returns the EdgeAnswer that
ends the request, or headers for any later answer (mostly none).
"""


class Callers(Protocol):
    """The gate that knows who may call."""

    def __call__(self, scope: Scope, settings: Settings) -> EdgeAnswer | ExtraHeaders:
        """Be a gate."""

    def owner_now(self, scope: Scope) -> str | None:
        """
        Return whose key a request has that may do everything, "" where no key is needed.

        None if the gate has to be called.
        """


class _Judgement(msgspec.Struct, frozen=True):
    """
    What an edge says of a head, but for its caller: an answer, or an application.

    `headers` are for any later answer. `kept` has the answer where it is kept, which may depend on
    `agent`, the client's name for itself. `is_final` is whether the caller does not matter. `judge`
    and `port` are those that it is of.
    """

    answer: EdgeAnswer | ASGIApp
    headers: ExtraHeaders
    route: Route | None
    template: str | None
    kept: Kept | None
    agent: str
    is_wrong_method: bool
    is_final: bool
    judge: object
    port: object


class Edge:
    """The application for the server: `inner` inside all layers that come before routing."""

    def __init__(
        self,
        inner: ASGIApp,
        table: RouteTable,
        settings: Settings,
        gates: Sequence[Gate] = (),
        observer: Observer | None = None,
        gates_of: Mapping[bytes, Gate] = MappingProxyType({}),
        tracer: Tracer | None = None,
        inspector: Inspector | None = None,
        traffic: Traffic | None = None,
        callers: "Callers | None" = None,
    ) -> None:
        """
        Wrap `inner`; `gates` are called in order, and the first answer ends the request.

        What they say depends on nothing but the head and the port, so it is kept with a head that
        comes again. `callers` is asked after them, for each request. A gate of `gates_of` is called
        before them, and only for requests with that header.

        `observer` is notified of every request when it has ended, and `tracer` when it begins.
        `inspector` keeps what passes. `traffic` has the requests that run, and the last ones.
        """
        self._inner = inner
        self._table = table
        self._settings = settings
        self._gates = gates
        self._callers = callers
        self._gates_of = dict(gates_of)
        self._observer = observer
        self._tracer = tracer
        self._inspector = inspector
        self._traffic = traffic
        self.when_draining: list[Callable[[], None]] = []
        """Called when nothing new is accepted and running answers are to end."""
        self._log = get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer here, or pass the request on unchanged; a lifespan scope is always passed on."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        head = scope["headers"]
        # A head that was judged before states no id: those are read anew for each request.
        is_known = type(head) is Head and head.judged is not None
        record = start_record(self._observer, "" if is_known else header(scope, REQUEST_ID))
        if self._observer is not None:
            self._observer.running_requests += 1
        if self._tracer is not None:
            record.trace = self._tracer.begin(scope["headers"], record)
        if (address := scope.get("client")) is not None:
            record.client = address[0]
        if self._inspector is not None:
            receive, send = self._inspector.begin(scope, record, receive, send, SERVER)
        client = AsgiClient(scope, receive, send, record)
        if self._traffic is not None:
            self._traffic.running[record] = scope
        # Stored, because a router may change the scope.
        path: str = scope["path"]
        failed = False
        try:
            judged = self._judge(scope, client)
            if client.admission is not None and not isinstance(judged, EdgeAnswer):
                judged = await client.admission() or judged
            if isinstance(judged, EdgeAnswer):
                await _give(judged, scope["method"], client.send)
            else:
                await judged(scope, client.receive, client.send)
        except asyncio.CancelledError:
            # Only the end of the process cancels a request as a whole.
            if REFUSED not in scope:
                record.fault = SHUTDOWN_FAULT
            if client.is_started or client.is_gone:
                # uvicorn closes the connection in the midst of the answer, which every HTTP client
                # can tell from an end.
                raise
            body = error_body(path, 503, GOING_DOWN)
            await _give(EdgeAnswer(503, body, (_JSON,)), scope["method"], client.send)
        except Exception:
            failed = True
            raise
        finally:
            if failed:
                record.fault = record.fault or INTERNAL_FAULT
            if self._observer is not None:
                self._observer.running_requests -= 1
                if record.is_stream:
                    self._observer.running_streams -= 1
            if self._traffic is not None:
                self._traffic.running.pop(record, None)
            outcome = "failed" if failed else client.outcome
            self._note_end(scope, record, client.status, outcome)
            # The scope and the client would hold each other, and the request with them.
            scope.pop(CLIENT, None)
            scope.pop("extensions", None)

    def answer_now(self, scope: Scope, answer: Answering, body: bytes = b"") -> bool:
        """
        Answer a request whose body is whole at once, in no task, if head and answer are kept.

        Returns False for any other one, and if somebody looks closely at each request.
        """
        head = scope["headers"]
        judged: _Judgement | None = head.judged if type(head) is Head else None
        if (
            judged is None
            or judged.kept is None
            or judged.judge is not self
            or judged.port is not scope.get(PORT)
            or self._tracer is not None
            or self._inspector is not None
        ):
            return False
        owner = "" if self._callers is None else self._callers.owner_now(scope)
        if owner is None:
            return False
        if (kept := judged.kept(body, judged.agent)) is None:
            return False
        content_type, body, model = kept
        record = Record(self._observer)
        identifier = (REQUEST_ID, record.id.encode("ascii"))
        headers = [(b"content-type", content_type), *judged.headers, identifier]
        if not answer(200, headers, [body]):
            return False
        # They hold the request, and the scope them.
        scope.pop("extensions", None)
        record.route, record.key = judged.template, owner or None
        if model is not None:
            record.model, record.is_model_known = model.name, True
        if (address := scope["client"]) is not None:
            record.client = address[0]
        token = enter(record)
        try:
            self._note_end(scope, record, 200, "complete")
        finally:
            leave(token)
        return True

    def drain(self) -> None:
        """End what would run for ever: the process is about to end."""
        for end in self.when_draining:
            end()

    def note_refusal(self, scope: Scope, waited_s: float = 0.0) -> bytes:
        """
        Note a request that the server refuses by itself, before any application runs.

        `scope` has the status as REFUSED, and what is known of the request. `waited_s` is for how
        long its head was awaited. Returns the id for the answer's header.
        """

        def note() -> bytes:
            record = start_record(self._observer, header(scope, REQUEST_ID))
            record.started_ns -= int(waited_s * 1e9)
            if (address := scope.get("client")) is not None:
                record.client = address[0]
            self._note_end(scope, record, None, "complete")
            return record.id.encode("ascii")

        # The record is this request's, and not of what else happens on its connection.
        return copy_context().run(note)

    def _note_end(self, scope: Scope, record: Record, status: int | None, outcome: str) -> None:
        """Count a request that has ended, and write its line."""
        if REFUSED in scope:
            status, outcome = scope[REFUSED], "complete"
        if self._observer is not None:
            self._observer.note_end(record, scope["method"], status)
        if record.grant is not None:
            record.grant.end((record.tokens_in or 0) + (record.tokens_out or 0))
        if record.trace is not None:
            record.trace.end(record, scope["method"], status, outcome)
        path: str = record.route or scope["path"]
        agent = header(scope, b"user-agent")
        traffic = self._traffic
        if traffic is not None and path not in traffic.skipped:
            ended = (
                record.id,
                scope["method"],
                path[:MOST_TEXT],
                status,
                outcome,
                agent[:MOST_TEXT],
                record.key,
                record.model,
                record.host,
                record.tokens_in,
                record.tokens_out,
                record.fault,
                time_ns(),
                perf_counter_ns() - record.started_ns,
                record.queued_ns,
            )
            # What `Ended(...)` does in a function of its own.
            traffic.last.append(tuple.__new__(Ended, ended))
        log_request(
            self._log,
            record=record,
            method=scope["method"],
            path=path,
            status=status,
            user_agent=agent,
            outcome=outcome,
        )

    def _judge(self, scope: Scope, client: AsgiClient) -> EdgeAnswer | ASGIApp:
        """Return an answer, or the application to which the request is passed on."""
        head = scope["headers"]
        judged: _Judgement | None = head.judged if type(head) is Head else None
        if judged is None or judged.judge is not self or judged.port is not scope.get(PORT):
            judged = self._judge_head(scope)
        client.extra_headers += judged.headers
        if judged.is_final:
            return judged.answer
        if self._callers is not None:
            checked = self._callers(scope, self._settings)
            if isinstance(checked, EdgeAnswer):
                return _with_methods(checked, judged.route, is_wrong_method=judged.is_wrong_method)
            client.extra_headers += checked
        client.record.route = judged.template
        return judged.answer

    def _judge_head(self, scope: Scope) -> _Judgement:
        """Judge a head; keep the judgement if nothing else matters for the next one like it."""
        port, route = scope.get(PORT), None
        headers: ExtraHeaders = ()
        template: str | None = None
        is_wrong_method, is_final = False, True
        gates, head = self._gates, scope["headers"]
        for name, _ in head:
            if (of_header := self._gates_of.get(name)) is not None and of_header not in gates:
                gates = (of_header, *gates)
        path: str = scope["path"]
        answer: EdgeAnswer | ASGIApp | None = None
        if malformed := find_malformed(scope):
            answer = EdgeAnswer(*malformed)
        else:
            answer = _redirect_to_clean(scope)
        if answer is None:
            route, mount = self._table.find(path), self._table.mount_of(path)
            # Ollama's router redirects before it asks who may call, and notes which methods are.
            # A slash too many below /v1, too: LM Studio knows no such path.
            if route is None and (mount is None or path.endswith("/")):
                answer = self._redirect_to_sibling(scope)
        if answer is None:
            is_wrong_method = route is not None and scope["method"] not in route.methods
            for gate in gates:
                checked = gate(scope, self._settings)
                if isinstance(checked, EdgeAnswer):
                    answer = _with_methods(checked, route, is_wrong_method=is_wrong_method)
                    break
                headers += checked
        if answer is None:
            is_final = False
            if route is not None:
                template = route.template
            elif mount is not None:
                template = f"{mount}*"
            answer = self._app_for(scope, route, mount, is_wrong_method=is_wrong_method)
        kept, agent = None, ""
        if route is not None and not is_final and route.kept:
            kept, agent = route.kept.get(scope["method"]), header(scope, b"user-agent")
        judged = _Judgement(
            answer, headers, route, template, kept, agent, is_wrong_method, is_final, self, port
        )
        if type(head) is Head and gates is self._gates:
            head.judge(judged)
        return judged

    def _app_for(
        self, scope: Scope, route: Route | None, mount: str | None, *, is_wrong_method: bool
    ) -> EdgeAnswer | ASGIApp:
        if route is not None:
            if is_wrong_method:
                return EdgeAnswer(405, _WRONG_METHOD, (_TEXT, _allow(route)))
            if route.app is not None:
                return route.app
        if mount is None:
            return _NOT_FOUND if route is None else self._inner
        if route is None and (refusal := _refuse_upgrade(scope)) is not None:
            return refusal
        return self._table.app_of(mount) or self._inner

    def _redirect_to_sibling(self, scope: Scope) -> EdgeAnswer | None:
        """Redirect a path that differs from a route by its last slash, if its method is served."""
        path: str = scope["path"]
        sibling = path[:-1] if path.endswith("/") else f"{path}/"
        if path == "/" or not sibling:
            return None
        route = self._table.find(sibling)
        if route is None or scope["method"] not in route.methods:
            return None
        permanent = scope["method"] == "GET"
        status = HTTPStatus.MOVED_PERMANENTLY if permanent else HTTPStatus.TEMPORARY_REDIRECT
        return _redirect(scope, status, quote(sibling, safe=_PATH_SAFE))


_TEXT = (b"content-type", b"text/plain")
_JSON = (b"content-type", JSON)
_WRONG_METHOD = b"405 method not allowed"
_NOT_FOUND = EdgeAnswer(404, b"404 page not found", (_TEXT,))
_NO_UPGRADE = (
    "protocol upgrades (WebSocket and others) are not served here: send a plain HTTP request"
)
_PATH_SAFE = "/:@!$&'()*+,;=~-._"


def _with_methods(answer: EdgeAnswer, route: Route | None, *, is_wrong_method: bool) -> EdgeAnswer:
    """Return a gate's answer, with the methods that there are if the request has another one."""
    if route is None or not is_wrong_method:
        return answer
    return answer._replace(headers=(*answer.headers, _allow(route)))


def _allow(route: Route) -> tuple[bytes, bytes]:
    return (b"allow", ", ".join(route.methods).encode("ascii"))


def _refuse_upgrade(scope: Scope) -> EdgeAnswer | None:
    """
    Refuse a request for LM Studio's routes that wants another protocol.

    `h2c` is an offer, not a demand, and is ignored: Java's HTTP client makes it with every first
    request. On its own routes Ollama ignores them all (docs/facts/ollama.md#malformed-requests).
    """
    wanted = header(scope, b"upgrade").lower()
    if not wanted or wanted == "h2c":
        return None
    return EdgeAnswer(501, error_body(scope["path"], 501, _NO_UPGRADE), (_JSON,))


def _redirect_to_clean(scope: Scope) -> EdgeAnswer | None:
    """
    Redirect a path that has `//`, `.` or `..` segments as sent
    (docs/facts/ollama.md#unclean-paths).

    One with a backslash is not found: browsers read `/\\host` in a redirect as another host.
    """
    raw: str = scope["raw_path"].decode("latin-1") if scope.get("raw_path") else scope["path"]
    if not raw.startswith("/") or not _UNCLEAN.search(raw):
        return None
    kept: list[str] = []
    for segment in raw.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    clean = "/" + "/".join(kept)
    # A slash at the end is kept: the route table decides whether it is right.
    if raw.endswith("/") and kept:
        clean += "/"
    if "\\" in clean:
        return _NOT_FOUND
    return _redirect(scope, HTTPStatus.TEMPORARY_REDIRECT, clean)


_UNCLEAN = re.compile(r"//|/\.\.?(/|\Z)")


def _redirect(scope: Scope, status: HTTPStatus, target: str) -> EdgeAnswer:
    """Redirect to a path on this server with the same query; only GET gets the small HTML page."""
    if query := scope.get("query_string", b"").decode("latin-1"):
        target += f"?{query}"
    location = (b"location", target.encode("latin-1", "replace"))
    if scope["method"] not in ("GET", "HEAD"):
        return EdgeAnswer(status, b"", (location,))
    html = (b"content-type", b"text/html; charset=utf-8")
    link = escape(target).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    page = f'<a href="{link}">{status.phrase}</a>.\n\n' if scope["method"] == "GET" else ""
    return EdgeAnswer(status, page.encode("latin-1", "replace"), (html, location))


async def _give(answer: EdgeAnswer, method: str, send: Send) -> None:
    """
    Send a whole answer.

    HEAD gets the length that GET would have. An answer to HEAD that never has a body, and a 204,
    have no length, as in Ollama.
    """
    headers = list(answer.headers)
    if answer.body or (method != "HEAD" and answer.status != HTTPStatus.NO_CONTENT):
        headers.append((b"content-length", str(len(answer.body)).encode("ascii")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if method == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body, "more_body": False})

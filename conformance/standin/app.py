"""The stand-in as an ASGI application: routing, authentication, scripts, and callers who leave."""

import asyncio
import contextlib
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from conformance.standin import (
    chat,
    decisions,
    embeddings,
    faults,
    listing,
    loading,
    messages,
    native,
    responses,
)
from conformance.standin.control import PREFIX, control
from conformance.standin.fixtures import Fixtures
from conformance.standin.history import CALLER, caller
from conformance.standin.host import Host
from conformance.standin.options import Options
from conformance.standin.script import Rule, Script, play
from conformance.standin.seen import Exchange, Log
from conformance.standin.stated import stated_error
from conformance.standin.wire import (
    JSON_TYPE,
    Message,
    Receive,
    Refused,
    Reply,
    Request,
    Send,
    Sprung,
    StreamFailed,
    encode,
    header_map,
    read_query,
    refusal,
    unknown_endpoint,
)

Handler = Callable[[Host, Request, Reply], Awaitable[None]]
NamedHandler = Callable[[Host, Request, Reply, str], Awaitable[None]]

CORS = (("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Headers", "*"))
TRANSPORT = "standin.transport"

OPENAI: dict[tuple[str, str], Handler] = {
    ("GET", "/v1/models"): listing.list_openai,
    ("POST", "/v1/chat/completions"): chat.answer_chat,
    ("POST", "/v1/completions"): chat.answer_completion,
    ("POST", "/v1/embeddings"): embeddings.answer_embeddings,
}
V0: dict[tuple[str, str], Handler] = {
    ("GET", "/api/v0/models"): listing.list_v0,
    ("POST", "/api/v0/chat/completions"): chat.answer_chat,
    ("POST", "/api/v0/completions"): chat.answer_completion,
    ("POST", "/api/v0/embeddings"): embeddings.answer_embeddings,
}
V1: dict[tuple[str, str], Handler] = {
    ("POST", "/v1/responses"): responses.answer_responses,
    ("POST", "/v1/messages"): messages.answer_messages,
    ("POST", "/v1/systemone"): decisions.answer_decision,
    ("POST", "/v1/decisions"): decisions.answer_decision,
    ("GET", "/api/v1/models"): listing.list_v1,
    ("POST", "/api/v1/models/load"): loading.load,
    ("POST", "/api/v1/models/unload"): loading.unload,
    ("POST", "/api/v1/models/download"): loading.download,
    ("POST", "/api/v1/chat"): native.answer_native,
}
ROUTES: dict[str, dict[tuple[str, str], Handler]] = {
    "0.4": {**OPENAI, **V0, **V1},
    "0.3": {**OPENAI, **V0},
    "openai": OPENAI,
}
NAMED: dict[str, tuple[tuple[str, NamedHandler], ...]] = {
    "0.4": (
        ("/v1/models/", listing.show_openai),
        ("/api/v0/models/", listing.show_v0),
        ("/api/v1/models/download/status/", loading.show_download),
    ),
    "0.3": (("/v1/models/", listing.show_openai), ("/api/v0/models/", listing.show_v0)),
    "openai": (("/v1/models/", listing.show_openai),),
}


class CallerLeft(Exception):
    """The caller left before its request was whole."""


class App:
    """The application. One object per stand-in; its state is the host's."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.host = Host(options)
        self.script = Script()
        self.log = Log()
        self.fixtures = Fixtures(options.fixtures) if options.fixtures is not None else None
        self.working: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = header_map(scope["headers"])
        query = read_query(scope["query_string"].decode("latin-1"))
        method, path = scope["method"], scope["path"]
        ours = path.startswith(PREFIX)
        log = Log() if ours else self.log
        received = time.monotonic()
        caller.set(headers.get(CALLER, ""))
        exchange = log.open(method, path, query, headers)
        transport = scope.get("extensions", {}).get(TRANSPORT)
        reply = Reply(send, transport, self.options, exchange, CORS if self.options.cors else ())
        try:
            raw, cut = await read_body(receive)
        except CallerLeft:
            exchange.note_left()
            return
        exchange.raw = raw
        request = Request(method, path, query, headers, raw, received=received)
        request.fault = "write" if cut else None
        await self.attend(self.handle(request, reply, exchange, ours), receive, reply, exchange)

    async def attend(
        self, answering: Any, receive: Receive, reply: Reply, exchange: Exchange
    ) -> None:
        """Let an answer be made while watching whether the caller stays; if not, stop at once."""
        work = asyncio.create_task(answering)
        watch = asyncio.create_task(wait_for_leaving(receive))
        self.working.add(work)
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and not exchange.finished and not reply.closed_by_us:
                exchange.note_left()
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)
            self.working.discard(work)

    def stop(self) -> None:
        """Stop everything that is being answered or loaded."""
        self.host.table.stop()
        for task in self.working:
            task.cancel()

    async def handle(self, request: Request, reply: Reply, exchange: Exchange, ours: bool) -> None:
        """Answer a request, whatever happens."""
        try:
            if ours:
                await control(self, request, reply)
            else:
                await self.answer(request, reply, exchange)
        except Sprung as sprung:
            await faults.spring(request, reply, sprung)
        except Refused as refused:
            await self.refuse(reply, refused)
        except StreamFailed as failed:
            await self.fail(request, reply, failed)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            message = f"the stand-in failed: {error!r}"
            await self.refuse(reply, Refused(500, {"error": message}))

    async def refuse(self, reply: Reply, refused: Refused) -> None:
        """Answer with an error, or put it into a stream that has begun."""
        if reply.started:
            await reply.send_event(refused.body, "error")
            await reply.finish()
        else:
            await reply.body(encode(refused.body, refused.indent), refused.status, trapped=False)

    async def fail(self, request: Request, reply: Reply, failed: StreamFailed) -> None:
        """
        End a stream with an error event (docs/facts/lmstudio.md#stream-errors); one-shot, answer
        with a status.
        """
        if not request.wants_stream:
            await self.refuse(
                reply, refusal(request, failed.message, failed.status, bare=failed.bare)
            )
            return
        body: dict[str, Any] = {"error": {"message": failed.message}, "message": failed.message}
        if request.path.startswith("/api/v1/"):
            body = {"type": "error", "error": {"type": "internal_error", "message": failed.message}}
        await reply.send_event(body, "error")
        if failed.done:
            await reply.send_event("[DONE]")
        await reply.finish()

    async def answer(self, request: Request, reply: Reply, exchange: Exchange) -> None:
        """Answer by script, fault, fixture or in the ordinary way, whichever comes first."""
        self.authorize(request)
        after = None
        entry = self.script.pick(request)
        if entry is not None:
            exchange.rule = entry.n
            after = entry.rule.after
            if await self.follow(entry.rule, request, reply):
                return
        elif request.fault is None and not request.path.startswith("/api/v1/models"):
            request.fault = faults.fault_named(request.model)
        exchange.fault = request.fault
        if await faults.begin(request, reply, after):
            return
        recorded = self.fixtures.find(request) if self.fixtures is not None else None
        if recorded is not None and request.fault is None:
            await play(request, reply, recorded)
            return
        await self.route(request, reply)

    async def follow(self, rule: Rule, request: Request, reply: Reply) -> bool:
        """Carry out a rule; return whether the answer is over."""
        if rule.delay_ms:
            await asyncio.sleep(rule.delay_ms / 1000)
        reply.pause_s = rule.pause_ms / 1000
        if rule.hold is not None:
            held = self.script.hold(rule.hold, request.received)
            if rule.after is None:
                await held.wait()
            else:
                reply.hold_at, reply.held = rule.after, held
        if rule.answer is not None:
            await play(request, reply, rule.answer)
            return True
        if rule.error is not None:
            await self.state(rule, request, reply)
            return True
        request.fault = rule.fault
        return False

    async def state(self, rule: Rule, request: Request, reply: Reply) -> None:
        """State a named error, within a stream after the events that the rule asks for."""
        assert rule.error is not None
        error = stated_error(request, rule.error, done=rule.done)
        if rule.after and isinstance(error, StreamFailed):
            reply.trap = rule.after
            with contextlib.suppress(Sprung):
                await self.route(request, reply)
        raise error

    async def route(self, request: Request, reply: Reply) -> None:
        """Answer in the ordinary way."""
        version = self.options.host_version
        method = "GET" if request.method == "HEAD" else request.method
        handler = ROUTES[version].get((method, request.path))
        if handler is not None:
            await handler(self.host, request, reply)
            return
        if method == "GET":
            for prefix, named in NAMED[version]:
                if request.path.startswith(prefix) and request.path != prefix:
                    await named(self.host, request, reply, request.path.removeprefix(prefix))
                    return
        if version == "openai":
            raise refusal(
                request, f"Not found: {method} {quote(request.path)}", 404, code="not_found"
            )
        if (method, request.path) == ("GET", "/lmstudio-greeting"):
            await reply.json({"lmstudio": True}, indent=0)
        elif method == "OPTIONS" and (self.options.cors or request.path == "/v1/chat/completions"):
            await self.answer_options(request, reply)
        else:
            await reply.json(unknown_endpoint(request), indent=0)

    async def answer_options(self, request: Request, reply: Reply) -> None:
        """Answer a preflight: with CORS on politely, else as LM Studio 0.4 misreads one."""
        if self.options.cors:
            await reply.start(204, reply.common_headers())
            await reply.write(b"", last=True)
        elif self.host.is_old:
            await reply.json(unknown_endpoint(request), indent=0)
        else:
            raise refusal(request, "'messages' field is required", bare=True)

    def authorize(self, request: Request) -> None:
        """Raise `Refused` when a token is required and not given (docs/facts/lmstudio.md#token)."""
        if self.options.token is None or request.path == "/lmstudio-greeting":
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else ""
        if not given and request.path == "/v1/messages":
            given = request.headers.get("x-api-key", "")
        if given == self.options.token:
            return
        message = (
            f"Malformed LM Studio API token provided: {given[:3]}*****."
            if given
            else "An LM Studio API token is required to make requests to this server, but none was "
            "provided using the Authorization header using the 'Bearer' scheme."
        )
        error = {"message": message, "type": "invalid_request", "code": "invalid_api_key"}
        indent = 4 if request.path == "/v1/chat/completions" else 2
        raise Refused(401, {"error": error}, indent)


async def read_body(receive: Receive) -> tuple[bytes, bool]:
    """Read the whole body; return early, and True, where the fault `write` cuts an upload.

    Raises `CallerLeft`.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body), False
        if faults.cuts_upload(bytes(body[:4096])):
            return bytes(body), True


async def wait_for_leaving(receive: Receive) -> None:
    """Wait until the caller is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


__all__ = ["JSON_TYPE", "TRANSPORT", "App"]

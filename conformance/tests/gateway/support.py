"""
What the gateway's tests share: a gateway in front of a stand-in, and the words to use both.

This module starts the pair, controls the stand-in and reads answers. The tests have the
expectations.
"""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import msgspec
import structlog
import uvicorn
from uvicorn._types import ASGI3Application

from conformance.runner.runner import AsgiApp, make_gateway
from conformance.standin import StandIn
from conformance.standin.catalogue import (
    EMBEDDING,
    GRADED,
    PLAIN,
    SILENT,
    SWITCHED,
    TWO_VARIANTS,
)
from conformance.standin.options import Options
from conformance.standin.script import Rule
from conformance.standin.seen import Exchange
from conformance.standin.server import bind
from gateway.observability import journal
from gateway.server.protocol import ClientHttp
from gateway.settings.schema import LogSettings

LOADED = PLAIN.key
LOADED_EMBEDDER = EMBEDDING.key
COLD = GRADED.key
COLD_TOO = SWITCHED.key
COLD_SHORT = SILENT.key
VARIED = TWO_VARIANTS.key

LIST = "/api/v1/models"
LOAD = "/api/v1/models/load"
UNLOAD = "/api/v1/models/unload"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"

CERTIFICATES = False
"""Whether a client reads certificates: plain HTTP needs none, and that takes 58 ms for each."""

LONG = 3600
"""Seconds for which a catalogue is not asked for again, unless something makes it."""


@dataclass(eq=False, repr=False)
class Pair:
    """A running gateway, the stand-in behind it, and a client for each."""

    standin: StandIn
    app: "Noting"
    url: str
    client: httpx.AsyncClient
    hand: httpx.AsyncClient
    sending: "Sending"

    def asked(self, path: str, method: str | None = None) -> list[Exchange]:
        """Return what the gateway asked of a path."""
        return self.standin.log.select(path, method)

    def bodies(self, path: str) -> list[Any]:
        """Return the bodies that the gateway sent to a path."""
        return [exchange.body for exchange in self.asked(path)]

    def script(self, *rules: Mapping[str, Any]) -> None:
        """Add rules for what the stand-in is asked next."""
        self.standin.app.script.add([msgspec.convert(dict(rule), Rule) for rule in rules])

    def release(self, name: str) -> None:
        """Let go of what is held under a name."""
        self.standin.app.script.release(name)

    async def change(self, action: str, key: str = "", **more: Any) -> None:
        """Do something to a model at LM Studio, as by hand."""
        order = {"action": action, "key": key, **more}
        answer = await self.hand.post("/__standin/model", json=order)
        assert 200 == answer.status_code, answer.text

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is so at the stand-in."""
        assert await self.standin.log.wait_until(holds), self.story()

    async def until_asked(self, path: str, times: int = 1) -> list[Exchange]:
        """Wait until the gateway has asked a path so many times."""
        await self.until(lambda: len(self.asked(path)) >= times)
        return self.asked(path)

    async def until_answered(self, path: str, times: int = 1) -> None:
        """Wait until so many requests for a path are answered."""
        await self.until(lambda: sum(one.finished for one in self.asked(path)) >= times)

    async def until_left(self, path: str) -> None:
        """Wait until the gateway has left a request for a path before its end."""
        await self.until(lambda: any(one.left for one in self.asked(path)))

    async def reset(self) -> None:
        """Put the stand-in back to its start: its rules, its models, and what it was asked."""
        answer = await self.hand.post("/__standin/reset")
        assert 200 == answer.status_code, answer.text

    def forget(self) -> None:
        """Forget what was asked so far."""
        self.standin.log.clear()

    def story(self) -> str:
        """Return what was asked, in a line each."""
        return "\n".join(
            f"{one.method} {one.path} {one.status} left={one.left} {one.raw[:200]!r}"
            for one in self.standin.seen
        )

    def instances(self, key: str) -> list[str]:
        """Return the ids of a model's loaded instances at the stand-in."""
        return [one.id for one in self.standin.app.host.table.instances if one.model.key == key]

    async def post(self, path: str, body: Any) -> httpx.Response:
        """Post JSON to the gateway."""
        return await self.client.post(path, json=body)

    async def get(self, path: str) -> Any:
        """Return the JSON that the gateway answers to a GET, which must be a success."""
        answer = await self.client.get(path)
        assert 200 == answer.status_code, answer.text
        return answer.json()

    async def let_pass(self, path: str = "/api/ps") -> None:
        """
        Give the requests that were begun before the time to get as far as they can.

        All of them are sent first. The time is measured in other requests' whole ways, to LM Studio
        and back unless another path is given, not in seconds.
        """
        # A task that was made just before begins its request meanwhile.
        await self.get(path)
        await self.sending.until_sent()
        for _ in range(3):
            await self.get(path)

    async def running(self) -> dict[str, Any]:
        """Return what /api/ps shows, by name."""
        shown: list[dict[str, Any]] = (await self.get("/api/ps"))["models"]
        return {one["name"]: one for one in shown}


class Sending(httpx.AsyncHTTPTransport):
    """A client's way to a server that knows how many requests are begun and not yet sent."""

    def __init__(self) -> None:
        super().__init__(verify=False, trust_env=False)
        self._unsent = 0
        self._all_sent = asyncio.Event()
        self._all_sent.set()

    async def until_sent(self) -> None:
        """Wait until every request that was begun is sent, or was given up."""
        await self._all_sent.wait()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make a request."""
        is_sent = False

        def end() -> None:
            nonlocal is_sent
            self._unsent -= not is_sent
            is_sent = True
            if not self._unsent:
                self._all_sent.set()

        async def trace(event: str, _: Any) -> None:
            if event == "http11.send_request_body.complete":
                end()

        self._unsent += 1
        self._all_sent.clear()
        request.extensions = {**request.extensions, "trace": trace}
        try:
            return await super().handle_async_request(request)
        finally:
            end()


@dataclass(eq=False, repr=False)
class Noting:
    """An application around another that notes the task of each request, so it can be cancelled."""

    inner: AsgiApp
    tasks: dict[str, asyncio.Task[Any]] = field(default_factory=dict)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand on."""
        task = asyncio.current_task()
        if scope["type"] == "http" and task is not None:
            self.tasks[scope["path"]] = task
        await self.inner(scope, receive, send)

    def answer_now(self, scope: Any, answer: Any, body: bytes) -> bool:
        """Hand on."""
        answer_now = getattr(self.inner, "answer_now", None)
        return answer_now is not None and bool(answer_now(scope, answer, body))


@asynccontextmanager
async def open_pair(settings: Mapping[str, Any] | None = None, **host: Any) -> AsyncIterator[Pair]:
    """
    Run a gateway in front of a stand-in.

    `settings` are those of the gateway that differ; `host` are the stand-in's options. The
    catalogue is asked for anew with each request, unless the settings say otherwise.
    """
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(StandIn(Options(**host)))
        yield await stack.enter_async_context(open_gateway(standin, settings))


@asynccontextmanager
async def open_gateway(
    standin: StandIn, settings: Mapping[str, Any] | None = None, *, tells_of_host: bool = False
) -> AsyncIterator[Pair]:
    """Run a gateway in front of a stand-in that may be running or not."""
    app = Noting(make_gateway(standin.url, settings or {}, tells_of_host=tells_of_host))
    sending = Sending()
    async with (
        serve(app) as url,
        speak_to(url, sending) as client,
        speak_to(standin.url) as hand,
    ):
        yield Pair(standin, app, url, client, hand, sending)


@asynccontextmanager
async def serve(app: AsgiApp, port: int = 0) -> AsyncIterator[str]:
    """
    Serve the gateway with uvicorn in this loop, on a socket of its own; yields its address.

    `port` is for a gateway whose address others must know before it runs; 0 is any free port.

    uvicorn's own way of running looks for its end ten times a second, which many short tests can't
    afford; what it does at its start and end is called here one by one.
    """
    listening = bind("127.0.0.1", port)
    config = uvicorn.Config(
        cast("ASGI3Application", app),
        http=ClientHttp,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listening])
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        for each in server.servers:
            each.close()
        listening.close()
        running = list(server.server_state.tasks)
        for connection in list(server.server_state.connections):
            transport = cast("Any", connection).transport
            if transport is not None:
                transport.abort()
        if running:
            await asyncio.wait(running, timeout=5)
        await server.lifespan.shutdown()


def speak_to(url: str, way: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Return a client for an address."""
    return httpx.AsyncClient(
        base_url=url, trust_env=False, verify=CERTIFICATES, timeout=10, transport=way
    )


def caching(**models: Any) -> dict[str, Any]:
    """Return settings with which the catalogue is kept, and others of the section `models`."""
    return {"models": {"catalogue_ttl_s": LONG, **models}}


def chat(model: str = LOADED, text: str = "Why?", **more: Any) -> dict[str, Any]:
    """Return a chat request of one message, one-shot unless it says otherwise."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": False,
        **more,
    }


def generate(model: str = LOADED, prompt: str = "Why?", **more: Any) -> dict[str, Any]:
    """Return a generate request, one-shot unless it says otherwise."""
    return {"model": model, "prompt": prompt, "stream": False, **more}


def frames(text: str) -> list[dict[str, Any]]:
    """Return the objects of an answer, one a line."""
    assert text.endswith("\n") or "\n" not in text, text
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def said(text: str) -> str:
    """Return what the frames of a chat say."""
    return "".join(frame["message"]["content"] for frame in frames(text))


async def gather_all(*work: Any) -> list[httpx.Response]:
    """Await requests at once and return their answers."""
    return list(await asyncio.gather(*work))


@contextmanager
def written(**settings: Any) -> Iterator[io.StringIO]:
    """Have the journal written where it can be read, on its lowest level."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    stream = io.StringIO()
    journal.configure(LogSettings(level="debug", **settings), stream)
    try:
        yield stream
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**config)


def lines_of(stream: io.StringIO, event: str = "request", path: str = "") -> list[dict[str, Any]]:
    """Return the lines that say something, of requests those for a path."""
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [line for line in lines if event == line["event"] and path in ("", line.get("path"))]

"""
Running cases: a gateway and a stand-in are started, the client's request is sent, the judge asked.

This module starts, resets and drives both. `conformance.suite.case` has the cases, and
`conformance.suite.judge` judges answers.
"""

from __future__ import annotations

import asyncio
import copy
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec
import uvicorn

from conformance.runner.client import LIMIT_S, NoAnswer, ask
from conformance.runner.control import Control, open_standin
from conformance.suite.case import Case, ClientRequest, Run, method_of
from conformance.suite.compare import Mismatch
from conformance.suite.fixture import Fixture, Replay, load_fixture
from conformance.suite.judge import Answer, judge

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
GatewayFactory = Callable[[str, Mapping[str, Any]], AsgiApp]
"""Makes a gateway for the address of LM Studio and the settings that differ."""

RUN_LIMIT_S = 120.0
LATER_MS = 1000
POLL_S = 0.2
FIRST_ANSWER_S = 5.0
"""How long one attempt to reach a running gateway may take."""


def make_gateway(
    upstream_url: str, overrides: Mapping[str, Any], *, tells_of_host: bool = False
) -> AsgiApp:
    """
    Return the gateway as it is served, for the stand-in's address.

    The catalogue is never cached here, since every case starts with other models loaded. Nothing is
    asked of the stand-in before the first request, unless `tells_of_host`.
    """
    from gateway.app import create_app
    from gateway.settings.schema import Settings

    base = {
        "upstream": {"url": upstream_url},
        "models": {"catalogue_ttl_s": 0},
        "downloads": {"poll_interval_s": 0.01},
        "log": {"level": "error"},
    }
    settings = msgspec.convert(_merge(base, overrides), Settings)
    return create_app(settings, tells_of_host=tells_of_host)


def _merge(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in more.items():
        inner = merged.get(key)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(inner, value)
        else:
            merged[key] = value
    return merged


class _Server(uvicorn.Server):
    """Uvicorn that leaves signals to whoever runs the cases."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve_app(app: AsgiApp) -> AsyncIterator[str]:
    """Serve an ASGI application as the gateway is served, on a free port; yields its address."""
    from gateway.server.protocol import ClientHttp

    # Without the protocol stated, asyncio leaves Nagle on, and small answers wait 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    config = uvicorn.Config(
        app,
        http=ClientHttp,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        if serving.done():
            serving.result()
            raise RuntimeError("the gateway ended while starting: see its log above")
        await asyncio.sleep(0.002)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listening.close()


@dataclass
class Pair:
    """A gateway and the control of its stand-in; None when it calls something else."""

    gateway_url: str
    control: Control | None
    keep_times: bool = False
    limit_s: float = LIMIT_S

    async def run(self, run: Run) -> list[Mismatch]:
        """Run a case in one way and return everything that is wrong."""
        case = run.case
        await self.prepare(run)
        try:
            problems = await self._send_earlier(case)
            if problems:
                return problems
            answer = await self.send(case, _as_replayed(run))
        except NoAnswer as error:
            return [Mismatch("answer", "an HTTP answer", str(error))]
        return await self._judge(run, answer)

    async def prepare(self, run: Run) -> None:
        """Have the stand-in begin anew, with the rules and the models of a case."""
        if self.control is not None:
            await self.control.reset()
            await self.control.script(self._rules(run))
            for change in run.case.upstream.models:
                await self.control.change_models(change)

    async def _judge(self, run: Run, answer: Answer) -> list[Mismatch]:
        if self.control is None:
            return judge(run, answer, None)
        seen = await self.control.seen()
        problems = judge(run, answer, seen)
        while problems and run.case.upstream.expect_requests:
            # What is expected may come after the answer, as the unload of keep_alive 0 does.
            later = await self.control.seen(len(seen) + 1, LATER_MS)
            if len(later) == len(seen):
                break
            seen = later
            problems = judge(run, answer, seen)
        return problems

    async def _send_earlier(self, case: Case) -> list[Mismatch]:
        problems = []
        for number, request in enumerate(case.before, 1):
            answer = await self.send(case, request)
            if answer.status != request.status:
                got = f"{answer.status} {answer.body[:200].decode('utf-8', 'replace')}"
                problems.append(Mismatch(f"before {number}: status", str(request.status), got))
        return problems

    async def send(self, case: Case, request: ClientRequest) -> Answer:
        """Send one of a case's requests. Raises NoAnswer."""
        return await ask(
            self.gateway_url,
            method_of(request),
            case.path_of(request),
            request.headers,
            request.body,
            limit_s=self.limit_s,
        )

    def _rules(self, run: Run) -> list[dict[str, Any]]:
        upstream = run.case.upstream
        rules = [{"fixture": upstream.fixture}] if upstream.fixture else upstream.script
        return [self._rule(rule, run) for rule in rules]

    def _rule(self, rule: Mapping[str, Any], run: Run) -> dict[str, Any]:
        sent = copy.deepcopy(dict(rule))
        name = sent.pop("fixture", None)
        if name is not None:
            fixture = load_fixture(name)
            sent["match"] = {"path": fixture.path, **sent.get("match", {})}
            sent["answer"] = self._replay(fixture, run)
        return sent

    def _replay(self, fixture: Fixture, run: Run) -> dict[str, Any]:
        how: Replay = (
            "recorded" if run.replay == "one_shot" or not fixture.is_stream else run.replay
        )
        return fixture.replay(how, keep_times=self.keep_times)


def _as_replayed(run: Run) -> ClientRequest:
    if run.replay != "one_shot":
        return run.case.client
    request = {**run.case.client.request, "stream": False}
    return msgspec.structs.replace(run.case.client, request=request)


@dataclass
class _Job:
    work: Callable[[], Awaitable[Any]]
    done: Future[Any] = field(default_factory=Future)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of the kind the gateway is served on."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _wait_for(url: str, limit_s: float) -> None:
    """Ask for the version until there is an answer, whatever it says."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            await ask(url, "GET", "/api/version", limit_s=FIRST_ANSWER_S)
            return
        except NoAnswer:
            if time.monotonic() + POLL_S > deadline:
                raise
        await asyncio.sleep(POLL_S)


class Bench:
    """
    Runs cases from ordinary code: servers and client live in one thread with its own event loop.

    One pair of gateway and stand-in per distinct settings, started when first needed, reset between
    cases and ended with the bench. With `gateway_url` no gateway is started; the stand-in that it
    calls is at `standin_url`, or is started by `start_standin`. `limit_s` is how long an answer may
    take.
    """

    def __init__(
        self,
        factory: GatewayFactory = make_gateway,
        *,
        gateway_url: str | None = None,
        standin_url: str | None = None,
        keep_times: bool = False,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._factory = factory
        self._gateway_url = gateway_url
        self._standin_url = standin_url
        self._keep_times = keep_times
        self._limit_s = limit_s
        self._pairs: dict[str, Pair] = {}
        self._loop = new_loop()
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._thread = threading.Thread(target=self._serve, name="bench", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._standin_url is not None:
            self.submit(Control(self._standin_url).reset)
        self._loop.call_soon_threadsafe(self._jobs.put_nowait, None)
        self._thread.join(RUN_LIMIT_S)

    def applies(self, case: Case) -> bool:
        """Say whether the case can be run here at all: a running gateway is taken as it is."""
        if self._gateway_url is None:
            return True
        if case.settings or case.host or case.own_pair:
            return False
        return self._standin_url is not None or not case.needs_standin

    def start_standin(self, port: int) -> str:
        """
        Start the stand-in that a running gateway calls; return its address.

        Raises OSError when the port is taken.
        """

        async def start() -> str:
            control = await self._stack.enter_async_context(open_standin({"port": port}))
            return control.url

        url: str = self.submit(start)
        self._standin_url = url
        return url

    def wait_for_gateway(self, limit_s: float) -> None:
        """Wait until the running gateway answers. Raises NoAnswer when it does not in time."""
        url = self._gateway_url
        assert url is not None, "there is no running gateway"
        self.submit(lambda: _wait_for(url, limit_s))

    def run(self, run: Run) -> list[Mismatch]:
        """Run a case in one way and return everything that is wrong."""
        found: list[Mismatch] = self.submit(lambda: self._run(run))
        return found

    def submit(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do something in the bench's loop, and wait for it."""
        job = _Job(work)
        self._loop.call_soon_threadsafe(self._jobs.put_nowait, job)
        return job.done.result(RUN_LIMIT_S)

    async def pair_for(
        self, settings: Mapping[str, Any] | None = None, host: Mapping[str, Any] | None = None
    ) -> Pair:
        """Return the pair for these settings, started now if it is new. For `submit` only."""
        key = json.dumps([settings or {}, host or {}], sort_keys=True)
        if key not in self._pairs:
            self._pairs[key] = await self._open(self._stack, settings or {}, host or {})
        return self._pairs[key]

    async def _run(self, run: Run) -> list[Mismatch]:
        case = run.case
        if case.own_pair and self._gateway_url is None:
            async with AsyncExitStack() as stack:
                pair = await self._open(stack, case.settings, case.host)
                return await pair.run(run)
        return await (await self.pair_for(case.settings, case.host)).run(run)

    async def _open(
        self, stack: AsyncExitStack, settings: Mapping[str, Any], host: Mapping[str, Any]
    ) -> Pair:
        if self._gateway_url is not None:
            control = Control(self._standin_url) if self._standin_url else None
            return Pair(self._gateway_url, control, self._keep_times, self._limit_s)
        control = await stack.enter_async_context(open_standin(host))
        app = self._factory(control.url, settings)
        url = await stack.enter_async_context(serve_app(app))
        return Pair(url, control, self._keep_times, self._limit_s)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._work())
        finally:
            self._loop.close()

    async def _work(self) -> None:
        async with AsyncExitStack() as self._stack:
            while (job := await self._jobs.get()) is not None:
                try:
                    job.done.set_result(await job.work())
                except BaseException as error:
                    job.done.set_exception(error)

"""
The application: the generated endpoint table inside the edge, which calls what is asked for most by
itself, and has Litestar for the rest.

All routes come from the table. No endpoint is named here.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import groupby
from typing import Any, cast

from litestar import Litestar, asgi, route
from litestar.handlers import ASGIRouteHandler, BaseRouteHandler
from litestar.types import ASGIApp as LitestarApp
from litestar.types import Method

from .access.shared import KeyCounts
from .catalogue.uploads import Blobs
from .console.admission import COOKIE
from .console.console import Console
from .console.snapshot import Snapshots
from .engine.endpoint import Endpoint
from .engine.model_check import ModelCheck
from .engine.relay import Relay
from .engine.run import Services
from .engine.turns import Turns
from .explain.jobs import Jobs
from .faults import ClientGone, Refusal
from .fleet.drain_route import DrainRoute
from .fleet.fleet import Fleet, refuse_twins
from .fleet.host import Names
from .fleet.news import News
from .health import Elsewhere, answer_health
from .lean_imports import hide_modules
from .observability import journal, metrics
from .observability.inspector import Inspector
from .observability.metrics import Metrics
from .observability.tracing import open_tracer
from .observability.traffic import Traffic
from .observability.worker_label import labelled
from .passthrough.forward import Passthrough
from .plans.endpoints import ENDPOINTS, PASSED_ON, PASSTHROUGH
from .runtime.context import EMPTY
from .server import proxies
from .server.asgi import HOST, ASGIApp, Incoming, client_of, header, while_connected
from .server.bodies import Bodies
from .server.dialects import LMSTUDIO_MOUNTS, MOUNTS
from .server.edge import Edge, Gate
from .server.inspecting import Inspections, make_inspector
from .server.keys import KeyGate
from .server.loops import LoopGate
from .server.origins import GATES
from .server.pins import note_pin
from .server.reloading import Reloads
from .server.routes import (
    CONSOLE_PATHS,
    DRAIN,
    HEALTH,
    INSPECT,
    RELOAD,
    REST,
    UNDRAIN,
    Kept,
    RouteTable,
)
from .server.workers import Worker
from .settings.hosts import hosts_of
from .settings.live import LiveSettings
from .settings.schema import Settings
from .store.opening import open_store
from .wire import hops
from .wire.client_api import OLLAMA
from .wire.writing import JSON

_SLASHES = re.compile("//+")


class Process:
    """The services that all requests of a process share; created when the application starts."""

    def __init__(self, settings: Settings) -> None:
        """Open the store, which `aclose` closes. Raises StartProblem before that, or for it."""
        refuse_twins({name: host.url for name, host in hosts_of(settings).items()})
        self.name = hops.new_name()
        self.metrics = Metrics() if settings.routes.metrics else None
        self.tracer = open_tracer(os.environ)
        self.store = open_store(settings.store)
        gateway = uuid.uuid4().hex
        self.counts = KeyCounts(self.store.meter, gateway)
        names = Names(self.store, settings, gateway, self.name, OLLAMA.capabilities)
        self.fleet = Fleet(settings, names)
        self.news = News(self.fleet, names)
        self.aliases = names.aliases
        self.turns = Turns()
        self.bodies = Bodies(settings.limits)
        if self.metrics is not None:
            self.metrics.gauges.watch_bodies(lambda: self.bodies.used, lambda: self.bodies.waiting)
            self.metrics.gauges.watch_waiting(
                "load", lambda: sum(host.lifecycle.waiting for host in self.fleet.hosts)
            )
            self.metrics.gauges.watch_waiting("slot", lambda: self.fleet.queue.waiting)
            self.metrics.gauges.watch_hosts(
                lambda: {host.name: host.presence.is_up() for host in self.fleet.hosts}
            )
            self.metrics.gauges.watch_slots(
                lambda: {host.name: host.slots() for host in self.fleet.hosts}
            )
        services = self.services = Services(
            self.fleet,
            self.fleet.models,
            self.fleet.downloads,
            Blobs(),
            self.turns,
            self.bodies,
        )
        check = ModelCheck(settings)
        self.relay = Relay(OLLAMA, settings, services, check)
        self.passthrough = Passthrough(settings, services, check, PASSTHROUGH)

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Return the function that puts reloaded settings in force."""

        use_hosts = self.fleet.prepare(settings)

        def use() -> None:
            use_hosts()
            self.news.use_hosts()
            self.services.catalogue = self.fleet.models
            self.services.downloads = self.fleet.downloads
            self.fleet.queue.use(settings.queue)
            self.aliases.configure(settings.aliases)
            self.fleet.models.update_made()
            self.relay.use(settings)
            self.passthrough.use(settings)
            journal.set_level(settings.log.level)

        return use

    async def start(self, *, tells_of_hosts: bool) -> None:
        """Adopt the instances that an earlier process left."""
        await self.fleet.start(tells_of_hosts=tells_of_hosts)
        await self.news.start()

    async def aclose(self) -> None:
        """Stop timers and close connections."""
        self.turns.close()
        await self.news.aclose()
        await self.fleet.aclose()
        await self.counts.aclose()
        await self.store.aclose()
        if self.tracer is not None:
            await self.tracer.aclose()


class Served:
    """What is mounted, for the edge and for Litestar."""

    def __init__(self) -> None:
        self.handlers: list[BaseRouteHandler] = []
        """Litestar's, for what is asked for rarely, and for paths with parameters."""
        self.apps: dict[str, ASGIApp] = {}
        """The applications that the edge calls itself, by path or mount."""
        self.kept: dict[str, dict[str, Kept]] = {}
        """The answers that are kept, by path and method."""
        self.entries: list[tuple[str, str]] = []
        """The methods and paths that there are; others are answered 404 or 405."""
        self.mounts: list[str] = []
        """What is passed on below each of these."""

    def mount(self, method: str, path: str, app: ASGIApp) -> None:
        """Have Litestar serve a path."""
        self.handlers.append(_handler(path, app))
        self.entries.append((method, path))

    def mount_clients_routes(self, process: Process, settings: Settings) -> None:
        """Mount what the generated tables have: Ollama's routes, and those passed on."""
        for path, items in groupby(ENDPOINTS, key=lambda endpoint: endpoint.path):
            endpoints = {item.method: item for item in items}
            if "{" in path:
                self.handlers.append(_route(path, endpoints, process))
                continue
            self.apps[path] = _serve_endpoint(endpoints, process)
            self.kept[path] = {
                method: partial(process.relay.kept.find, endpoint, None)
                for method, endpoint in endpoints.items()
                if endpoint.keeps == "request" or (endpoint.keeps and method == "GET")
            }
        self.kept |= {
            row.path: {"GET": partial(process.passthrough.kept.find, row, None)}
            for row in PASSTHROUGH
            if row.is_kept
        }
        self.entries += [(endpoint.method, endpoint.path) for endpoint in ENDPOINTS]
        # For a path that Ollama has, a wrong method gets Ollama's answer and not LM Studio's error.
        self.entries += PASSED_ON
        self.mounts += MOUNTS
        if settings.routes.lmstudio:
            self.mounts += LMSTUDIO_MOUNTS
        self.apps |= {mount: _serve_mount(mount, process) for mount in self.mounts}

    def mount_own_routes(
        self,
        process: Process,
        live: LiveSettings,
        worker: Worker | None,
        elsewhere: Callable[[], Awaitable[Elsewhere]],
    ) -> None:
        """Mount what the gateway tells of itself, and how it is told something."""
        settings = live.current
        if settings.routes.health:
            self.mount("GET", HEALTH, _serve_health(process, settings, elsewhere))
        if settings.routes.reload:
            reloads = Reloads(live, worker.ask_for_reload if worker else None)
            self.mount("POST", RELOAD, _serve_reload(reloads))
        drains = DrainRoute(process.fleet, live)
        for path, is_drain in ((DRAIN, True), (UNDRAIN, False)):
            self.mount("POST", path, _serve_drain(drains, drains_host=is_drain))
        if process.metrics is not None:
            self.mount("GET", metrics.PATH, _serve_metrics(process.metrics, worker))

    def mount_inspector(self, kept: Inspections) -> None:
        """Mount the exchanges that the inspector keeps: all of them, and each by its id."""
        self.handlers.append(_handler(INSPECT, _serve_kept(kept), is_mount=True))
        self.entries += [("GET", INSPECT), ("GET", f"{INSPECT}/{{id}}")]


def create_app(
    settings: Settings,
    live: LiveSettings | None = None,
    *,
    tells_of_host: bool = False,
    worker: Worker | None = None,
) -> ASGIApp:
    """
    Return the complete ASGI application; its lifespan opens the connections.

    `live` has the same settings, and replaces some of them at a reload. With `tells_of_host` it
    asks LM Studio for its models at the start, in the background, and logs whether it is there, and
    every change of that. `worker` says which of several processes on one port this is.
    """
    live = live or LiveSettings(settings)
    process = Process(settings)
    keys = KeyGate(settings, process.counts)
    live.watch(process.prepare)
    live.watch(keys.prepare)

    async def elsewhere() -> Elsewhere:
        others = 0 if worker is None else len(worker.meeting.ports) - 1
        answers = [] if console is None or not others else await console.waits_elsewhere()
        return Elsewhere(others, tuple(answers))

    served = Served()
    served.mount_clients_routes(process, settings)
    served.mount_own_routes(process, live, worker, elsewhere)
    inspector = make_inspector(live, HEALTH, metrics.PATH)
    if inspector is not None:
        served.mount_inspector(Inspections(inspector, live))
    gates_of: dict[bytes, Gate] = {
        hops.HEADER: LoopGate(process.name),
        proxies.HEADER: proxies.believe_proxies,
        HOST: note_pin,
    }
    traffic: Traffic | None = None
    console: Console | None = None
    if settings.routes.console:
        traffic = Traffic((HEALTH, metrics.PATH, *CONSOLE_PATHS))
        console = _make_console(process, live, keys, traffic, inspector, worker)
        gates_of[COOKIE] = console.admission.note_session
        for route_of_page in console.routes():
            served.mount(*route_of_page)
    # Litestar would import OpenTelemetry where that is installed, also if no traces are wanted.
    with hide_modules("litestar.plugins.opentelemetry"):
        inner = Litestar(
            route_handlers=served.handlers,
            lifespan=[_lifespan(process, console, tells_of_hosts=tells_of_host)],
            openapi_config=None,
            logging_config=None,
        )
    edge = Edge(
        cast("ASGIApp", inner),
        RouteTable(served.entries, served.mounts, served.apps, served.kept),
        settings,
        GATES,
        process.metrics,
        gates_of,
        process.tracer,
        inspector,
        traffic,
        # The last check: a browser's preflight, which never has a key, is answered before it.
        callers=keys,
    )
    edge.when_draining.append(process.fleet.queue.close)
    if console is not None:
        edge.when_draining.append(console.close)
        console.act_on(edge)
    return edge


def _make_console(
    process: Process,
    live: LiveSettings,
    keys: KeyGate,
    traffic: Traffic,
    inspector: Inspector | None,
    worker: Worker | None,
) -> Console:
    """Return what serves the page, which shows and explains what the process does."""
    shown = Snapshots(process.fleet, live, traffic, process.store)
    return Console(shown, live, keys, explainer=Jobs(), inspector=inspector, worker=worker)


def _lifespan(
    process: Process, console: Console | None, *, tells_of_hosts: bool
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """Return what starts and closes the parts with the application."""

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        await process.start(tells_of_hosts=tells_of_hosts)
        if console is not None:
            await console.start()
        try:
            yield
        finally:
            if console is not None:
                await console.aclose()
            await process.aclose()

    return lifespan


def _route(path: str, endpoints: dict[str, Endpoint], process: Process) -> BaseRouteHandler:
    app = _serve_endpoint(endpoints, process)
    if path.endswith(REST):
        return _handler(path.removesuffix(REST), app, is_mount=True)
    answer = cast("LitestarApp", app)

    async def handle() -> LitestarApp:
        return answer

    # Litestar's ASGI handlers, which are cheaper, accept no path parameters.
    methods = [cast("Method", method) for method in endpoints]
    return route(path.replace("}", ":str}"), http_method=methods, status_code=200)(handle)


def _handler(path: str, app: ASGIApp, *, is_mount: bool = False) -> ASGIRouteHandler:
    return asgi(path, is_mount=is_mount, copy_scope=is_mount)(app)


def _serve_endpoint(endpoints: dict[str, Endpoint], process: Process) -> ASGIApp:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        client = client_of(scope)
        endpoint = endpoints[scope["method"]]
        agent, path = header(scope, b"user-agent"), scope.get("path_params", EMPTY)
        if endpoint.reads_bytes:
            incoming = Incoming(receive)
            work = process.relay.serve(endpoint, incoming.pieces(), agent, client, path)
            await while_connected(work, client, incoming)
            return
        bodies = process.bodies
        try:
            try:
                # In a list, from which the relay takes it: nothing else may keep a large body.
                whole = bodies.whole(client)
                body = [await bodies.receive(receive, client) if whole is None else whole]
                # Nothing else may keep it: not this frame, either.
                whole = None
            except ClientGone:
                return
            except Refusal as refusal:
                for name, value in refusal.headers:
                    client.add_header(name, value)
                error = OLLAMA.encode_error(refusal.error)
                await client.answer(refusal.status, OLLAMA.answer_type, error)
                return
            work = process.relay.serve(endpoint, body, agent, client, path)
            await while_connected(work, client)
        finally:
            if client.held_bytes:
                bodies.release(client)

    return serve


def _serve_mount(prefix: str, process: Process) -> ASGIApp:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        # Slashes that count for nothing. The raw path still has the path that the client sent.
        path: str = scope["path"]
        if path.endswith("/") or "//" in path:
            rest = _SLASHES.sub("/", path.removeprefix(prefix).strip("/"))
            scope = {**scope, "path": prefix + rest}
        client = client_of(scope)
        incoming = Incoming(receive)
        work = process.passthrough.serve(scope, incoming.receive, client)
        try:
            await while_connected(work, client, incoming)
        finally:
            if client.held_bytes:
                process.bodies.release(client)

    return serve


def _serve_metrics(counted: Metrics, worker: Worker | None) -> ASGIApp:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        text = counted.text()
        if worker is not None:
            text = labelled(text, worker.number)
        await client_of(scope).answer(200, metrics.CONTENT_TYPE, text)

    return serve


def _serve_kept(kept: Inspections) -> ASGIApp:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        status, body = kept.answer(scope, scope["path"].strip("/"))
        await client_of(scope).answer(status, JSON, body)

    return serve


def _serve_drain(drains: DrainRoute, *, drains_host: bool) -> ASGIApp:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        status, body = await drains.answer(scope, drains=drains_host)
        await client_of(scope).answer(status, JSON, body)

    return serve


def _serve_reload(reloads: Reloads) -> ASGIApp:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        status, body = reloads.answer(scope)
        await client_of(scope).answer(status, JSON, body)

    return serve


def _serve_health(
    process: Process, settings: Settings, elsewhere: Callable[[], Awaitable[Elsewhere]]
) -> ASGIApp:
    async def serve(scope: Any, receive: Any, send: Any) -> None:
        found = await elsewhere()
        await answer_health(
            process.fleet,
            client_of(scope),
            settings.limits.health_s,
            process.store,
            process.counts.trouble,
            found,
        )

    return serve

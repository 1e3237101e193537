"""
Running the gateway for one request, watched, against a host that is played.

The application is the one that serves, made by the same function; only the host's address, the
store (a copy) and the checks of keys differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from ..server.own_requests import Sent, own_scope, send_own
from ..settings.schema import Settings
from ..store.backup import back_up
from .asked import Asked, for_route
from .host import Host
from .trace import Trace

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
MakeApp: TypeAlias = Callable[[Settings], App]
"""Makes the application that serves, for settings."""

_STORE = "store.sqlite3"


def settings_for(
    settings: Settings, url: str, folder: Path, urls: Mapping[str, str] = MappingProxyType({})
) -> Settings:
    """
    Return settings for a run in which nothing of the user's is changed.

    `urls` are the addresses of the hosts that take part, by their names, where the settings have a
    table of hosts. The store is a copy in `folder`, or empty where it is a Redis. Keys are not
    asked for.
    """
    replace = msgspec.structs.replace
    path = settings.store.path
    copied = None
    if path is not None and Path(path).is_file():
        copied = str(folder / _STORE)
        back_up(Path(path), Path(copied))
    return replace(
        settings,
        upstream=replace(settings.upstream, url=url),
        hosts={name: replace(settings.hosts[name], url=each) for name, each in urls.items()},
        keys={},
        store=replace(settings.store, path=copied, url=None, url_file=None),
        listen=replace(settings.listen, keys=(), keys_file=None, more=()),
    )


async def run_watched(
    asked: Asked, settings: Settings, make_app: MakeApp, host: Host, trace: Trace
) -> Sent:
    """Send the requests before, and then the one that is watched; return what its client got."""
    async with alive(make_app(settings)) as app:
        for earlier in asked.before:
            await _send(app, earlier, host)
            host.reached.clear()
        return await send_watched(app, asked, host, trace)


async def send_watched(app: App, asked: Asked, host: Host, trace: Trace) -> Sent:
    """Send a request that is watched to an application that runs; return what its client got."""
    host.reached.clear()
    host.seen.clear()
    trace.is_on = True
    try:
        return await _send(app, asked, host)
    finally:
        trace.is_on = False


async def names_in(app: App, host: Host) -> bytes:
    """Return the models that an application lists, as bytes to compare."""
    host.reached.clear()
    sent = await _send(app, for_route("GET /api/tags", None, "the names"), host)
    return sent.body


@asynccontextmanager
async def alive(app: App) -> AsyncIterator[App]:
    """Start an application by ASGI's lifespan, and end it."""
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    outgoing: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    life: asyncio.Future[None] = asyncio.ensure_future(app(scope, incoming.get, outgoing.put))
    incoming.put_nowait({"type": "lifespan.startup"})
    started: asyncio.Future[Any] = asyncio.ensure_future(outgoing.get())
    await asyncio.wait([life, started], return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        started.cancel()
        life.result()
    message = await started
    if message["type"] != "lifespan.startup.complete":
        raise RuntimeError(str(message.get("message") or "the gateway did not start"))
    try:
        yield app
    finally:
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await life


async def _send(app: App, asked: Asked, host: Host) -> Sent:
    """Send one request; the client leaves when the host has nothing to answer with."""
    sent = Sent()
    scope = own_scope(asked.method, asked.path, asked.headers, asked.body, query=asked.query)
    await send_own(app, scope, asked.body, host.reached, sent)
    return sent

"""
The process around the application: the HTTP server, signals, and the shutdown.

It configures uvicorn, drains, and sets the limits of the whole process. `protocol` turns bytes into
requests, `signals` has the handlers of signals.

Shutdown: after the first SIGTERM or SIGINT, the process accepts nothing new, and running requests
may finish within `limits.drain_s`. Those that still run then are cancelled and may send a last
line. The second signal cancels them at once. The exit code is 0 in both cases.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from ..faults import StartProblem
from ..observability import journal
from ..settings.host_keys import keys_of
from ..settings.hosts import hosts_of
from ..settings.live import LiveSettings
from ..settings.more_ports import Address, addresses_of
from ..settings.schema import PortSettings, Settings
from .addresses import is_loopback
from .edge import Edge
from .listen import bind_all, refuse_missing_keys, refuse_own_upstream, shown_address
from .memory import tune_memory
from .open_files import FEW_FILES, raise_limit
from .protocol import ClientHttp
from .refusals import Noter
from .signals import find_terminal, has_hung_up, on_signals
from .tls import ServerTls, open_tls

if TYPE_CHECKING:
    from .asgi import ASGIApp

KEEP_ALIVE_S = 120
"""More than the 90 s after which Go's clients close an idle connection, so they close first."""

LAST_WORDS_S = 1.0
"""Seconds for a cancelled request to send its last line, and for its client to read it."""

FAREWELL_S = 5.0
"""Seconds that the application's own shutdown may take."""

TICK_S = 0.05
"""Seconds between two polls of a condition that cannot be awaited."""


def run(
    settings: Settings,
    make_app: "Callable[[Settings], ASGIApp]",
    listeners: Sequence[socket.socket] = (),
    reload: Callable[[], None] | None = None,
    live: LiveSettings | None = None,
) -> int:
    """Do the same as `serve`, on a new event loop: uvloop if it is installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve(settings, make_app, listeners, reload, live))


async def serve(
    settings: Settings,
    make_app: "Callable[[Settings], ASGIApp]",
    listeners: Sequence[socket.socket] = (),
    reload: Callable[[], None] | None = None,
    live: LiveSettings | None = None,
) -> int:
    """
    Serve until a signal ends it, and return the exit code.

    Prints `listening on http://HOST:PORT` on standard error once connections are accepted, and a
    further line for each port of `listen.more`. `make_app` is called on the running loop, after the
    addresses are bound; `listeners` are those of `bind_all`, for a caller that binds before.
    `reload` is called on the loop for each SIGHUP, and
    `live` tells of reloaded certificates. Exit code 1 with a sentence: the address cannot be bound
    or is LM Studio's, the certificate cannot be used, `make_app` raises a StartProblem, or the
    application does not start.
    """
    bound = [*listeners]
    try:
        refuse_missing_keys(settings)
        for name, host in hosts_of(settings).items():
            for address, _ in addresses_of(settings.listen):
                refuse_own_upstream(address, host.url, keys_of(settings, name))
        tls = open_tls(settings.listen)
        bound = bound or bind_all(settings.listen)
        app = make_app(settings)
    except StartProblem as problem:
        for each in bound:
            each.close()
        journal.say(f"olgate: {problem}", "error")
        return 1
    if tls is not None and live is not None:
        live.watch(tls.prepare)
    if (files := raise_limit()) < FEW_FILES:
        log = journal.get_logger()
        log.warning(
            "few files may be open",
            files=files,
            reason="each streamed request needs two",
            do="raise the hard limit (`ulimit -Hn`)",
        )
    tune_memory()
    return await _Server(settings, app, tls, reload).run_on(bound)


class _Server(uvicorn.Server):
    """uvicorn with other signal handling: uvicorn itself ends with the signal's exit status."""

    def __init__(
        self,
        settings: Settings,
        app: "ASGIApp",
        tls: ServerTls | None = None,
        reload: Callable[[], None] | None = None,
    ) -> None:
        """Wrap `app`, without opening anything yet."""
        self._settings = settings
        self._edge = app if isinstance(app, Edge) else None
        self._noter = _noter_of(app)
        self._reload = reload
        self._terminal = find_terminal()
        self._second_signal = asyncio.Event()
        self._log = journal.get_logger()
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                http=ClientHttp.limited_by(settings.limits, self._noter),
                ws="none",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                workers=1,
                ssl_context_factory=None if tls is None else lambda *_: tls.context,
            )
        )

    async def run_on(self, listeners: list[socket.socket]) -> int:
        """Serve on the sockets of `bind_all` until the shutdown, and return the exit code."""
        serving = asyncio.ensure_future(self.serve(listeners))
        leaving = asyncio.ensure_future(self._second_signal.wait())
        await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not self.started and not serving.done():
            # The application has not finished its start, so there is nothing to drain.
            serving.cancel()
            return 0
        await serving
        return 0 if self.started else 1

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Replace uvicorn's signal handling, which raises the signal again at the end."""
        with on_signals(self._on_signal, self._on_hangup):
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application and accept connections; a failed start ends the process."""
        listeners = sockets or []
        try:
            await super().startup(listeners[:1])
        except SystemExit:
            # uvicorn exits here. This method returns an exit code, and the caller exits.
            self.should_exit = True
            for each in listeners:
                each.close()
            return
        for address, listener in zip(addresses_of(self._settings.listen), listeners, strict=True):
            if address.port is not None:
                await self._open_port(address.port, listener)
            self._tell_of(address, shown_address(address.listen, listener))

    async def _open_port(self, port: PortSettings, listener: socket.socket) -> None:
        """Accept connections on a further port; uvicorn would take them for those of the first."""
        config, limits = self.config, self._settings.limits
        make = partial(
            ClientHttp.limited_by(limits, self._noter, port),
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        ssl = config.ssl if port.tls else None
        loop = asyncio.get_running_loop()
        self.servers.append(
            await loop.create_server(make, sock=listener, ssl=ssl, backlog=config.backlog)
        )

    def _tell_of(self, address: Address, url: str) -> None:
        """Say where the gateway listens, whatever the log level is, and who may use it there."""
        of_key = "" if address.port is None else f" for the key {address.port.key}"
        journal.say(f"listening on {url}{of_key}")
        settings = self._settings
        is_open = address.port is not None or not (settings.listen.keys or settings.keys)
        if not is_open or is_loopback(address.listen.host):
            return
        if address.port is not None:
            told = f"may use this gateway with the key {address.port.key} (listen.more)"
        else:
            told = (
                "may use this gateway and LM Studio behind it: set listen.keys "
                "(OLGATE_LISTEN_KEYS), or listen on 127.0.0.1"
            )
        journal.say(f"WARNING: everyone who can reach {url} {told}", "warning")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let running requests finish, cancel the rest, stop the application."""
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()
        if self._edge is not None:
            self._edge.drain()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if running := len(self.server_state.tasks):
            self._log.info("draining", requests=running, limit_s=self._settings.limits.drain_s)
        await self._drain()
        if running := len(self.server_state.tasks):
            self._log.warning("cancelling", requests=running)
            await self._cut()
        await self._close_connections()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self.lifespan.shutdown()

    async def _drain(self) -> None:
        """Wait until all answers are read, the time is over, or a second signal arrives."""
        state = self.server_state
        second = asyncio.ensure_future(self._second_signal.wait())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.limits.drain_s):
                # A connection whose client still reads the last bytes has no task to wait for.
                while (state.tasks or state.connections) and not second.done():
                    await asyncio.wait(
                        {second, *state.tasks},
                        timeout=TICK_S,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
        second.cancel()

    async def _cut(self) -> None:
        running = set(self.server_state.tasks)
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=LAST_WORDS_S)

    async def _close_connections(self) -> None:
        """Let written bytes reach their clients, without waiting for clients that do not read."""
        for connection in list(self.server_state.connections):
            connection.transport.close()
        for _ in range(int(LAST_WORDS_S / TICK_S)):
            if not self.server_state.connections:
                return
            await asyncio.sleep(TICK_S)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _on_signal(self) -> None:
        if self.should_exit:
            self._second_signal.set()
        self.should_exit = True

    def _on_hangup(self) -> None:
        """Reload, unless the terminal that the process was started in is gone: then end."""
        if self._reload is None or has_hung_up(self._terminal):
            self._on_signal()
        else:
            self._reload()


def _noter_of(app: "ASGIApp") -> Noter | None:
    """Return the function that notes what the server refuses; applications of tests have none."""
    return app.note_refusal if isinstance(app, Edge) else None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop

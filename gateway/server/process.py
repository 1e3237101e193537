"""
The process around the application: the socket, the HTTP server, signals, and how it all ends.

Here live binding (and the sentences for when it fails), uvicorn with what we ask of it, draining,
and the limits that concern a whole process. Not here: how bytes become a request (`intake`), and
anything about a request's meaning.

How it ends: the first SIGTERM or SIGINT stops accepting and lets running requests finish within
`limits.drain_s`; what still runs then is cancelled and may send a last line. The second signal
cancels at once. Both end with exit code 0.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from gateway.faults import GOING_DOWN, StartProblem
from gateway.observability import journal
from gateway.server.addresses import is_loopback
from gateway.server.dialects import error_body
from gateway.server.listen import bind, shown_address
from gateway.server.protocol import ClientHttp
from gateway.settings.schema import Settings
from gateway.wire.writing import JSON

if TYPE_CHECKING:
    from gateway.server.edge import ASGIApp, Message, Receive, Scope, Send

KEEP_ALIVE_S = 120
"""Above the 90 s after which Go's clients drop an idle connection, so that they drop it first."""

LAST_WORDS_S = 1.0
"""How long a cancelled request may take for its last line, and its client to read it."""

FAREWELL_S = 5.0
"""How long the application may take for its own end."""

TICK_S = 0.05
"""How often is looked at what cannot be awaited."""

YOUNG_OBJECTS = 10_000
"""How many objects may be new before they are looked through for cycles; Python's own is 700."""

OPEN_FILES = 65536
"""Two per streamed request, where the system allows it; the usual soft limit is 1,024."""


def run(
    settings: Settings,
    make_app: "Callable[[Settings], ASGIApp]",
    listener: socket.socket | None = None,
) -> int:
    """Do what `serve` does, on a loop of its own: uvloop where there is one."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve(settings, make_app, listener))


async def serve(
    settings: Settings,
    make_app: "Callable[[Settings], ASGIApp]",
    listener: socket.socket | None = None,
) -> int:
    """
    Serve until a signal ends it, and return the exit code.

    Prints `listening on http://HOST:PORT` on standard error once connections are accepted.
    `make_app` is called on the running loop, after the address is bound; `listener` is a socket of
    `bind`, for a caller that binds before. Exit code 1 with a sentence: the address cannot be
    bound, `make_app` raises a StartProblem, or the application does not start.
    """
    bound = listener
    try:
        bound = bound or bind(settings.listen)
        app = make_app(settings)
    except StartProblem as problem:
        if bound is not None:
            bound.close()
        _say(f"olgate: {problem}")
        return 1
    _allow_open_files()
    _tune_collector()
    return await _Server(settings, app).run_on(bound)


class _Server(uvicorn.Server):
    """uvicorn with signals and an end of our own: its own end with the signal's exit status."""

    def __init__(self, settings: Settings, app: "ASGIApp") -> None:
        """Wrap `app`; nothing is opened yet."""
        self._settings = settings
        self._second_signal = asyncio.Event()
        self._log = journal.get_logger()
        self.is_cutting = False
        super().__init__(
            uvicorn.Config(
                _Guard(app, self),
                lifespan="on",
                http=ClientHttp.limited_by(settings.limits),
                ws="none",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                workers=1,
            )
        )

    async def run_on(self, listener: socket.socket) -> int:
        """Serve on one socket to the end, and return the exit code."""
        logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)
        self._address = shown_address(self._settings.listen, listener)
        serving = asyncio.ensure_future(self.serve([listener]))
        leaving = asyncio.ensure_future(self._second_signal.wait())
        await asyncio.wait({serving, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not self.started and not serving.done():
            # The application hangs in its start, and there is nothing to drain.
            serving.cancel()
            return 0
        await serving
        return 0 if self.started else 1

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Replace uvicorn's way, which raises the signal again at the end."""
        with _signals(self._on_signal):
            yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, accept, and say so; an application that fails ends it all."""
        try:
            await super().startup(sockets)
        except SystemExit:
            # uvicorn leaves the process here; we return an exit code and let the caller end.
            self.should_exit = True
            for each in sockets or ():
                each.close()
            return
        _say(f"listening on {self._address}")
        listen = self._settings.listen
        if not listen.keys and not is_loopback(listen.host):
            # Said whatever the level of the journal is.
            _say(
                f"WARNING: everyone who can reach {self._address} may use this gateway and LM "
                "Studio behind it: set listen.keys (OLGATE_LISTEN_KEYS), or listen on 127.0.0.1"
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let running requests finish, cancel what is left, end the application."""
        for server in self.servers:
            server.close()
        for each in sockets or ():
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if running := len(self.server_state.tasks):
            self._log.info("draining", requests=running, seconds=self._settings.limits.drain_s)
        await self._drain()
        if running := len(self.server_state.tasks):
            self._log.warning("cutting", requests=running)
            await self._cut()
        await self._close_connections()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self.lifespan.shutdown()

    async def _drain(self) -> None:
        """Wait until every answer is given and read, the time is up, or the second signal comes."""
        state = self.server_state
        second = asyncio.ensure_future(self._second_signal.wait())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.limits.drain_s):
                # A connection whose last bytes are still being read has no task to wait for.
                while (state.tasks or state.connections) and not second.done():
                    await asyncio.wait(
                        {second, *state.tasks},
                        timeout=TICK_S,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
        second.cancel()

    async def _cut(self) -> None:
        self.is_cutting = True
        running = set(self.server_state.tasks)
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=LAST_WORDS_S)

    async def _close_connections(self) -> None:
        """Let what was written reach its clients; who does not read is not waited for."""
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


class _Guard:
    """
    Ends a request that the drain has cancelled: quietly, and never as if it were complete.

    Without an answer begun, the client gets a 503. With one, the cancellation goes on to uvicorn,
    which closes the connection in the midst of the answer: every HTTP client can tell that from an
    end.
    """

    def __init__(self, app: "ASGIApp", server: _Server) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        has_begun = False
        # Kept: a router may change the scope.
        path = scope.get("path", "")

        async def noting_send(message: "Message") -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except asyncio.CancelledError:
            if has_begun or not self._server.is_cutting or scope["type"] != "http":
                raise
            await _give_shutting_down(path, send)


async def _give_shutting_down(path: str, send: "Send") -> None:
    body = error_body(path, 503, GOING_DOWN)
    headers = [
        (b"content-type", JSON),
        (b"content-length", str(len(body)).encode("ascii")),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Drop what uvicorn says of things that are no trouble: cut requests, upgrades (the edge's)."""
    if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
        return False
    text = record.getMessage()
    return "upgrade request" not in text and "WebSocket library" not in text


@contextlib.contextmanager
def _signals(act: Callable[[], None]) -> Iterator[None]:
    """
    Have `act` called on the loop for SIGTERM and SIGINT (and Windows' SIGBREAK).

    `signal.signal` and not the loop's own way, which Windows lacks. Off the main thread, where
    signals cannot be had, whoever started the thread has to end it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(act)

    numbers = [signal.SIGTERM, signal.SIGINT]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _tune_collector() -> None:
    """
    Have the garbage collector look at requests only, and seldom.

    What is there at start stays; tokens are freed by counting, and make no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


def _allow_open_files() -> None:
    """Raise the soft limit of open files as far as we need and may."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)

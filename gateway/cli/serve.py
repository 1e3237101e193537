"""
`olgate serve`: run the gateway until a signal stops it.
"""

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Unpack

import click

from .options import (
    MEMORY,
    Flags,
    exit_quietly_on_signals,
    load_settings,
    read_settings,
    serve_options,
    shown_store,
    start_journal,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..server.workers import Worker
    from ..settings.schema import Settings
    from ..settings.sources import Loaded


@click.command()
@serve_options
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    metavar="N",
    help="Processes on the one port, with a store that they share (default 1).",
)
def serve(workers: int, **flags: Unpack[Flags]) -> NoReturn:
    """
    Run the gateway until SIGTERM or SIGINT.

    \b
    Example: olgate serve --upstream http://studio.local:1234
    """
    exit_quietly_on_signals()
    loaded = load_settings(flags)
    load_server()
    if workers > 1:
        sys.exit(run_workers(workers, loaded, flags))
    _begin(loaded, flags)
    sys.exit(run_gateway(loaded.settings, flags, sources=loaded.sources))


def run_workers(count: int, loaded: "Loaded", flags: Flags) -> int:
    """Serve with several processes until a signal stops them; return the exit code."""
    from ..faults import StartProblem
    from ..server.listen import bind_all, refuse_missing_keys
    from ..server.meeting import Meeting
    from ..server.workers import Supervisor, Worker, check_workers

    settings = loaded.settings
    try:
        check_workers(count, settings.store.url or settings.store.path)
        refuse_missing_keys(settings)
        listeners = bind_all(settings.listen)
    except StartProblem as problem:
        click.echo(f"olgate: {problem}", err=True)
        return 1
    try:
        meeting = Meeting(count)
    except OSError as problem:
        reason = problem.strerror or str(problem)
        click.echo(f"olgate: the processes can't have ports on 127.0.0.1: {reason}", err=True)
        return 1

    def work(worker: Worker) -> int:
        # Each process has a thread of its own for the log, which no fork takes along.
        if worker.number == 0:
            _begin(loaded, flags)
        else:
            start_journal(loaded)
        return run_gateway(settings, flags, listeners, worker)

    return Supervisor(meeting, listeners, work).run()


def _begin(loaded: "Loaded", flags: Flags) -> None:
    """Configure the log, and write what the process starts with."""
    from ..settings.location import find_file

    start_journal(loaded)
    tell_of_start(loaded, find_file(flags["config"], os.environ))


def run_gateway(
    settings: "Settings",
    flags: Flags,
    listeners: "Sequence[socket.socket]" = (),
    worker: "Worker | None" = None,
    sources: "Mapping[str, str] | None" = None,
) -> int:
    """
    Serve the gateway's application until a signal stops it; return the exit code.

    A reload reads the flags and all other sources anew. `listeners` are those of
    `gateway.server.listen.bind_all`. Without them, the addresses are bound here. `worker` says
    which of several processes this is. `sources` says where each setting comes from, for the page.
    """
    from ..app import create_app
    from ..server import process
    from ..server.reloading import Reloads
    from ..settings.live import LiveSettings

    live = LiveSettings(settings, lambda: read_settings(flags).settings)
    live.sources = sources or {}
    reload = Reloads(live).reload
    return process.run(
        settings,
        partial(create_app, live=live, tells_of_host=True, worker=worker),
        listeners,
        reload,
        live,
    )


def tell_of_start(loaded: "Loaded", file: "Path | None") -> None:
    """Log what the process starts with: its version, its settings file and its store."""
    from ..observability.journal import get_logger
    from ..observability.version import find_version

    log = get_logger()
    store = shown_store(loaded.settings.store)
    log.info(
        "starting",
        version=find_version() or "not installed",
        settings=str(file) if file else "none",
        upstream=loaded.settings.upstream.url,
        store=store,
    )
    if store == MEMORY:
        log.warning(
            "nothing is stored",
            reason="derived models, and which models olgate loaded, are lost at the end",
            do="set store.path (OLGATE_STORE_PATH) to a file",
        )


def load_server() -> None:
    """Import everything that serving needs, without optional packages of libraries."""
    from ..lean_imports import UNUSED, hide_modules

    with hide_modules(*UNUSED):
        from .. import app  # noqa: F401 - imported here, used later
        from ..server import process  # noqa: F401 - likewise

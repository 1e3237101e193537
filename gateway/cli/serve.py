"""
`olgate serve`: run the gateway until a signal stops it.
"""

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Unpack

import click

from gateway.cli.options import (
    Flags,
    exit_quietly_on_signals,
    load_settings,
    read_settings,
    serve_options,
    start_journal,
)

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from gateway.settings.schema import Settings
    from gateway.settings.sources import Loaded


@click.command()
@serve_options
def serve(**flags: Unpack[Flags]) -> NoReturn:
    """Run the gateway until SIGTERM or SIGINT."""
    exit_quietly_on_signals()
    loaded = load_settings(flags)
    load_server()
    from gateway.settings.location import find_file

    start_journal(loaded)
    tell_of_start(loaded, find_file(flags["config"], os.environ))
    sys.exit(run_gateway(loaded.settings, flags))


def run_gateway(settings: "Settings", flags: Flags, listener: "socket.socket | None" = None) -> int:
    """
    Serve the gateway's application until a signal stops it; return the exit code.

    A reload reads the flags and all other sources anew. `listener` is a socket from
    `gateway.server.listen.bind`. Without it, the address is bound here.
    """
    from gateway.app import create_app
    from gateway.server import process
    from gateway.server.reloading import Reloads
    from gateway.settings.live import LiveSettings

    live = LiveSettings(settings, lambda: read_settings(flags).settings)
    reload = Reloads(live).reload
    return process.run(
        settings, partial(create_app, live=live, tells_of_host=True), listener, reload, live
    )


def tell_of_start(loaded: "Loaded", file: "Path | None") -> None:
    """Log what the process starts with: its version, its settings file and its store."""
    from gateway.cli.version import find_version
    from gateway.observability.journal import get_logger

    log = get_logger()
    store = loaded.settings.store.path
    log.info(
        "starting",
        version=find_version() or "not installed",
        settings=str(file) if file else "none",
        upstream=loaded.settings.upstream.url,
        store=store or "memory",
    )
    if store is None:
        log.warning(
            "nothing is stored",
            reason="derived models, and which models olgate loaded, are lost at the end",
            do="set store.path (OLGATE_STORE_PATH) to a file",
        )


def load_server() -> None:
    """Import everything that serving needs, without optional packages of libraries."""
    from gateway.lean_imports import UNUSED, hide_modules

    with hide_modules(*UNUSED):
        from gateway import app  # noqa: F401 - imported here, used later
        from gateway.server import process  # noqa: F401 - likewise

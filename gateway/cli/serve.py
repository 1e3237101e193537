"""
`olgate serve`: run the gateway until a signal stops it.
"""

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Unpack

import click

from .options import (
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

    from ..settings.schema import Settings, StoreSettings
    from ..settings.sources import Loaded


@click.command()
@serve_options
def serve(**flags: Unpack[Flags]) -> NoReturn:
    """
    Run the gateway until SIGTERM or SIGINT.

    \b
    Example: olgate serve --upstream http://studio.local:1234
    """
    exit_quietly_on_signals()
    loaded = load_settings(flags)
    load_server()
    from ..settings.location import find_file

    start_journal(loaded)
    tell_of_start(loaded, find_file(flags["config"], os.environ))
    sys.exit(run_gateway(loaded.settings, flags))


def run_gateway(settings: "Settings", flags: Flags, listener: "socket.socket | None" = None) -> int:
    """
    Serve the gateway's application until a signal stops it; return the exit code.

    A reload reads the flags and all other sources anew. `listener` is a socket from
    `gateway.server.listen.bind`. Without it, the address is bound here.
    """
    from ..app import create_app
    from ..server import process
    from ..server.reloading import Reloads
    from ..settings.live import LiveSettings

    live = LiveSettings(settings, lambda: read_settings(flags).settings)
    reload = Reloads(live).reload
    return process.run(
        settings, partial(create_app, live=live, tells_of_host=True), listener, reload, live
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


MEMORY = "memory"


def shown_store(settings: "StoreSettings") -> str:
    """Return where the store is, without what is secret in a URL."""
    if settings.url is None:
        return settings.path or MEMORY
    from ..settings.written import shown_url

    return shown_url(settings.url)


def load_server() -> None:
    """Import everything that serving needs, without optional packages of libraries."""
    from ..lean_imports import UNUSED, hide_modules

    with hide_modules(*UNUSED):
        from .. import app  # noqa: F401 - imported here, used later
        from ..server import process  # noqa: F401 - likewise

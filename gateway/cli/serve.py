"""
`olgate serve`: run the gateway until a signal stops it.
"""

import sys
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

    from gateway.settings.schema import Settings


@click.command()
@serve_options
def serve(**flags: Unpack[Flags]) -> NoReturn:
    """Run the gateway until SIGTERM or SIGINT."""
    exit_quietly_on_signals()
    loaded = load_settings(flags)
    load_server()
    start_journal(loaded)
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
    return process.run(settings, lambda _: create_app(settings, live), listener, reload)


def load_server() -> None:
    """Import everything that serving needs, without optional packages of libraries."""
    from gateway.lean_imports import UNUSED, hide_modules

    with hide_modules(*UNUSED):
        from gateway import app  # noqa: F401 - imported here, used later
        from gateway.server import process  # noqa: F401 - likewise

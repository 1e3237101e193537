"""
`olgate reload`: have the running gateway read its settings anew.
"""

import sys
from typing import NoReturn, Unpack

import click

from .options import Flags, load_settings, serve_options


@click.command("reload")
@serve_options
def reload_settings(**flags: Unpack[Flags]) -> NoReturn:
    """
    Have the gateway that runs here read its settings anew; requests that run are not touched.

    \b
    Example: olgate reload --port 11435
    """
    from ..server.routes import RELOAD
    from .own_api import NoAnswer, ask, find_key
    from .tables import fail

    settings = load_settings(flags).settings
    try:
        status, answer = ask(settings, "POST", RELOAD, find_key(settings))
    except NoAnswer as problem:
        fail(str(problem))
    if status == 404:
        fail(f"{RELOAD} is not served there (routes.reload)")
    if status != 200:
        fail(answer.get("error", "") or f"the gateway answered with the status {status}")
    changed, waiting = answer.get("changed", ()), answer.get("needs_restart", ())
    click.echo(f"in force now: {', '.join(changed) or 'nothing has changed'}")
    if waiting:
        click.echo(f"needs a restart: {', '.join(waiting)}")
    sys.exit(0)

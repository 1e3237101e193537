"""
`olgate reload`: have the running gateway read its settings anew.
"""

import json
import sys
from typing import TYPE_CHECKING, Any, NoReturn, Unpack

import click

from gateway.cli.options import Flags, load_settings, serve_options

if TYPE_CHECKING:
    from gateway.settings.schema import Settings

LIMIT_S = 10.0
"""Seconds that the gateway may take to answer."""


@click.command("reload")
@serve_options
def reload_settings(**flags: Unpack[Flags]) -> NoReturn:
    """Have the gateway that runs here read its settings anew; requests that run are not touched."""
    settings = load_settings(flags).settings
    try:
        status, answer = _ask(settings)
    except (OSError, ValueError) as problem:
        host, port = _address(settings)
        _fail(
            f"no gateway answers on port {port} of {host} ({problem}); "
            "give the flags or variables with which it was started"
        )
    if status != 200:
        _fail(answer.get("error", "") or f"the gateway answered with the status {status}")
    changed, waiting = answer.get("changed", ()), answer.get("needs_restart", ())
    click.echo(f"in force now: {', '.join(changed) or 'nothing has changed'}")
    if waiting:
        click.echo(f"needs a restart: {', '.join(waiting)}")
    sys.exit(0)


def _ask(settings: "Settings") -> tuple[int, dict[str, Any]]:
    """Return the status and the JSON of the answer. Raises OSError and ValueError."""
    from http.client import HTTPConnection, HTTPException

    from gateway.server.routes import RELOAD

    host, port = _address(settings)
    headers = {"Content-Length": "0"}
    if settings.listen.keys:
        headers["Authorization"] = f"Bearer {settings.listen.keys[0]}"
    connection = HTTPConnection(host, port, timeout=LIMIT_S)
    try:
        connection.request("POST", RELOAD, headers=headers)
        answer = connection.getresponse()
        data = answer.read()
    except HTTPException as problem:
        raise ValueError(f"what answers does not speak HTTP: {problem!r}") from None
    finally:
        connection.close()
    if answer.status == 404:
        return 404, {"error": f"{RELOAD} is not served there (routes.reload)"}
    found = json.loads(data)
    return answer.status, found if isinstance(found, dict) else {}


def _address(settings: "Settings") -> tuple[str, int]:
    """Return the address at which a gateway on this machine is reached."""
    from gateway.server.addresses import is_everywhere

    listen = settings.listen
    return "127.0.0.1" if is_everywhere(listen.host) else listen.host, listen.port


def _fail(sentence: str) -> NoReturn:
    click.echo(f"olgate: {sentence}", err=True)
    sys.exit(1)

"""
`olgate status`: whether a gateway runs here, and what it says of LM Studio.
"""

import sys
from typing import Any, NoReturn, Unpack

import click

from .options import Flags, client_options, load_settings


@click.command()
@client_options
def status(key: str | None, as_json: bool, **flags: Unpack[Flags]) -> NoReturn:
    """
    Tell whether the gateway runs and LM Studio answers; exit code 1 if not.

    \b
    Example: olgate status --json
    """
    from ..server.routes import HEALTH
    from .own_api import NoAnswer, ask, find_key, url_of
    from .tables import fail, print_json, print_table

    settings = load_settings(flags).settings
    try:
        code, found = ask(settings, "GET", HEALTH, find_key(settings, key))
    except NoAnswer as problem:
        fail(str(problem))
    if code == 404:
        fail(f"the gateway at {url_of(settings)} does not serve {HEALTH} (routes.health)")
    upstream = found.get("upstream", {})
    if as_json:
        print_json({"gateway": url_of(settings), **found})
    else:
        rows = [("gateway", f"answers at {url_of(settings)}")]
        if isinstance(hosts := found.get("hosts"), dict):
            rows += [(f"host {name}", _state_of(host)) for name, host in hosts.items()]
            print_table(("WHAT", "STATE"), rows)
            sys.exit(0 if code == 200 else 1)
        is_there = bool(upstream.get("reachable"))
        rows.append(("LM Studio", f"{'answers' if is_there else 'away'} at {upstream.get('url')}"))
        if is_there:
            rows.append(("server", f"{upstream.get('server')}, dialect {upstream.get('dialect')}"))
            rows.append(("models", f"{upstream.get('models')}, {upstream.get('loaded')} loaded"))
        rows += [(name, str(upstream[name])) for name in ("reason", "advice") if name in upstream]
        print_table(("WHAT", "STATE"), rows)
    sys.exit(0 if code == 200 else 1)


def _state_of(host: dict[str, Any]) -> str:
    """Return what is to be said of one of several hosts."""
    where = f"{host.get('state')} at {host.get('url')}, tier {host.get('tier')}"
    if host.get("reachable"):
        where += (
            f": {host.get('server')}, dialect {host.get('dialect')}, {host.get('models')} models, "
            f"{host.get('loaded')} loaded"
        )
    said = "; ".join(str(host[name]) for name in ("reason", "advice") if name in host)
    return f"{where}: {said}" if said else where

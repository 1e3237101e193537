"""
`olgate status`: whether a gateway runs here, and what it says of LM Studio.
"""

import sys
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Unpack

import click

from .options import Flags, client_options, load_settings

if TYPE_CHECKING:
    from ..settings.schema import Settings


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
    from .queue import queue_text
    from .tables import fail, print_json, print_table

    settings = load_settings(flags).settings
    try:
        code, found = ask(settings, "GET", HEALTH, find_key(settings, key))
    except NoAnswer as problem:
        fail(str(problem))
    if code == 404:
        fail(f"the gateway at {url_of(settings)} does not serve {HEALTH} (routes.health)")
    upstream = found.get("upstream", {})
    ports = _look_at_ports(settings)
    if as_json:
        shown = {"ports": [each._asdict() for each in ports]} if ports else {}
        print_json({"gateway": url_of(settings), **found, **shown})
    else:
        rows = [("gateway", f"answers at {url_of(settings)}")]
        rows += [(f"port {each.port}", each.state) for each in ports]
        if queue := queue_text(found):
            rows.append(("queue", queue))
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


class PortState(NamedTuple):
    """A further port (`listen.more`), the key that it stands for, and what is there."""

    port: int
    key: str
    url: str
    answers: bool
    state: str


def _look_at_ports(settings: "Settings") -> list[PortState]:
    """Ask at each further port whether the gateway answers there."""
    import msgspec

    from ..server.routes import HEALTH
    from ..settings.more_ports import addresses_of
    from .own_api import NoAnswer, ask, url_of

    states = []
    for listen, port in addresses_of(settings.listen):
        if port is None:
            continue
        there = msgspec.structs.replace(settings, listen=listen)
        try:
            ask(there, "GET", HEALTH)
            problem = ""
        except NoAnswer as found:
            problem = str(found)
        state = problem or f"answers at {url_of(there)}, with the key {port.key}"
        if port.key not in settings.keys:
            state = f"refuses requests: the key {port.key}, for which it stands, is not there"
        states.append(PortState(port.port, port.key, url_of(there), not problem, state))
    return states


def _state_of(host: dict[str, Any]) -> str:
    """Return what is to be said of one of several hosts."""
    where = f"{host.get('state')} at {host.get('url')}, tier {host.get('tier')}"
    if host.get("reachable"):
        where += (
            f": {host.get('server')}, dialect {host.get('dialect')}, {host.get('models')} models, "
            f"{host.get('loaded')} loaded, {host.get('running')} of {host.get('slots')} slots used"
        )
    said = "; ".join(str(host[name]) for name in ("reason", "advice") if name in host)
    return f"{where}: {said}" if said else where

"""
What `olgate models` and `olgate ps` have in common: a list of the gateway, and of each host.
"""

from typing import Any, NamedTuple

from .options import Flags, load_settings


class Listed(NamedTuple):
    """
    The gateway's list, and that of each host by its name; None where there is only one.

    `health` is what `/health` says.
    """

    found: dict[str, Any]
    homes: dict[str, dict[str, Any]] | None
    health: dict[str, Any]


def fetch_list(path: str, key: str | None, flags: Flags, *, as_json: bool) -> Listed | None:
    """
    Return the list of a path, or print it as JSON and return None.

    Ends the command with a sentence if there is no list.
    """
    from ..server.routes import HEALTH
    from .own_api import NoAnswer, ask, ask_hosts, find_key
    from .tables import fail, print_json

    settings = load_settings(flags).settings
    try:
        code, found = ask(settings, "GET", path, find_key(settings, key))
        health: dict[str, Any] = {}
        homes = None
        if not as_json:
            _, health = ask(settings, "GET", HEALTH, find_key(settings, key))
            homes = ask_hosts(settings, path, find_key(settings, key), health)
    except NoAnswer as problem:
        fail(str(problem))
    if code != 200:
        fail(str(found.get("error") or f"the gateway answered with the status {code}"))
    if as_json:
        print_json(found)
        return None
    return Listed(found, homes, health)

"""
`olgate models`: the models that clients see.
"""

from typing import Any, Unpack

import click

from .options import Flags, client_options, load_settings


@click.command()
@client_options
def models(key: str | None, as_json: bool, **flags: Unpack[Flags]) -> None:
    """
    List the models under the names that clients use.

    \b
    Example: olgate models --json
    """
    from .own_api import NoAnswer, ask, ask_hosts, find_key
    from .tables import fail, print_json, print_table, show_size

    settings = load_settings(flags).settings
    try:
        code, found = ask(settings, "GET", "/api/tags", find_key(settings, key))
        homes = None if as_json else ask_hosts(settings, "/api/tags", find_key(settings, key))
    except NoAnswer as problem:
        fail(str(problem))
    if code != 200:
        fail(str(found.get("error") or f"the gateway answered with the status {code}"))
    if as_json:
        print_json(found)
        return
    listed: list[dict[str, Any]] = found.get("models") or []
    rows = []
    for one in listed:
        details = one.get("details") or {}
        rows.append(
            (
                str(one.get("name", "")),
                show_size(one.get("size") or 0),
                str(details.get("parameter_size") or "-"),
                str(details.get("quantization_level") or "-"),
                str(details.get("context_length") or "-"),
                ", ".join(one.get("capabilities") or ()) or "-",
                *(() if homes is None else (_hosts_of(one, homes),)),
            )
        )
    columns = ("NAME", "SIZE", "PARAMETERS", "QUANTIZATION", "CONTEXT", "CAN")
    print_table(columns if homes is None else (*columns, "HOSTS"), rows)


def _hosts_of(one: dict[str, Any], homes: dict[str, dict[str, Any]]) -> str:
    """Return the hosts that have a model, of those that are there."""
    having = [
        host
        for host, found in homes.items()
        if any(each.get("name") == one.get("name") for each in found.get("models") or ())
    ]
    return ", ".join(having) or "-"

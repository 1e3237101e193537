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
    from .own_api import NoAnswer, ask, find_key
    from .tables import fail, print_json, print_table, show_size

    settings = load_settings(flags).settings
    try:
        code, found = ask(settings, "GET", "/api/tags", find_key(settings, key))
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
            )
        )
    print_table(("NAME", "SIZE", "PARAMETERS", "QUANTIZATION", "CONTEXT", "CAN"), rows)

"""
`olgate models`: the models that clients see.
"""

from typing import Any, Unpack

import click

from .options import Flags, client_options


@click.command()
@client_options
def models(key: str | None, as_json: bool, **flags: Unpack[Flags]) -> None:
    """
    List the models under the names that clients use.

    \b
    Example: olgate models --json
    """
    from .lists import fetch_list
    from .tables import print_table, show_size

    answer = fetch_list("/api/tags", key, flags, as_json=as_json)
    if answer is None:
        return
    found, homes, _ = answer
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

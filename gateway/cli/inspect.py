"""
`olgate inspect`: the exchanges that the running gateway has kept.
"""

from typing import Any, Unpack

import click

from .options import Flags, client_options, load_settings

HOW_TO_KEEP = "set inspect.requests to the number of exchanges to keep, and restart the gateway"


@click.command("inspect")
@click.argument("identifier", metavar="[ID]", default="")
@client_options
@click.option("--case", "as_case", is_flag=True, help="Print a case of the conformance suite.")
@click.option("--name", metavar="CASE", help="The name of the case (inspected/ID).")
def inspect(
    identifier: str,
    as_case: bool,
    name: str | None,
    key: str | None,
    as_json: bool,
    **flags: Unpack[Flags],
) -> None:
    """
    List the last exchanges, show one, or write it as a case that runs.

    The gateway keeps none unless inspect.requests says how many. ID may be `last`.

    \b
    Example: olgate inspect last --case > report.yaml
    """
    from .own_api import NoAnswer, ask, find_key
    from .tables import fail, print_json, print_table, show_size

    settings = load_settings(flags).settings
    found_key = find_key(settings, key)

    def get(path: str) -> tuple[int, dict[str, Any]]:
        try:
            return ask(settings, "GET", path, found_key)
        except NoAnswer as problem:
            fail(str(problem))

    from ..server.routes import INSPECT

    code, listed = get(INSPECT)
    if code == 404:
        fail(f"the gateway keeps no exchanges; {HOW_TO_KEEP}")
    if code != 200:
        fail(str(listed.get("error") or f"the gateway answered with the status {code}"))
    rows: list[dict[str, Any]] = listed.get("exchanges") or []
    if not identifier:
        if as_case:
            fail("--case needs the ID of an exchange, or `last`", 2)
        if as_json:
            print_json(listed)
            return
        print_table(
            ("ID", "TIME", "REQUEST", "STATUS", "MODEL", "IN", "OUT", "CALLS"),
            [
                (
                    str(one["id"]),
                    str(one["at"])[11:19],
                    f"{one['method']} {one['path']}",
                    str(one["status"] or "-"),
                    str(one["model"] or "-"),
                    show_size(one["bytes_in"]),
                    show_size(one["bytes_out"]),
                    str(one["calls"]),
                )
                for one in rows
            ],
        )
        return
    if identifier == "last":
        if not rows:
            fail("no exchange has been kept yet; send a request first")
        identifier = str(rows[0]["id"])
    code, exchange = get(f"{INSPECT}/{identifier}")
    if code != 200:
        fail(str(exchange.get("error") or f"the gateway answered with the status {code}"))
    if not as_case:
        print_json(exchange)
        return
    from ..calls.host import list_v1

    code, models = get(list_v1().path)
    from ..explain.exporting import case_name

    _print_case(exchange, name or case_name(identifier), models if code == 200 else None)


def _print_case(exchange: dict[str, Any], name: str, models: dict[str, Any] | None) -> None:
    from ..explain.exporting import as_case, case_text
    from ..explain.problems import NotExplained
    from .tables import fail

    try:
        click.echo(case_text(as_case(exchange, name, models)), nl=False)
    except NotExplained as problem:
        fail(str(problem))

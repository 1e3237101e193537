"""
`olgate explain`: what would become of a request, rule by rule; nothing is sent.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from .options import Flags, load_settings, serve_options

if TYPE_CHECKING:
    from ..explain.asked import Asked

STDIN = "-"


@click.command("explain")
@click.argument("request_", metavar="[REQUEST]", default=STDIN)
@serve_options
@click.option("--route", metavar="PATH", help="Route of a body, such as /api/chat.")
@click.option(
    "--answer",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What LM Studio answers: a fixture, a stream as it arrives, or JSON.",
)
@click.option(
    "--models",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="LM Studio's list of models, in place of asking it.",
)
@click.option("--name", metavar="CASE", help="The case to take from a file with several.")
@click.option("--as-it-is", is_flag=True, help="Take a body that is not JSON.")
@click.option("--all", "whole", is_flag=True, help="Show what has no consequence, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    request_: str,
    route: str | None,
    answer: Path | None,
    models: Path | None,
    name: str | None,
    as_it_is: bool,
    whole: bool,
    as_json: bool,
    **flags: Unpack[Flags],
) -> None:
    """
    Say what becomes of a request, rule by rule. Nothing is sent.

    REQUEST is a body, a line of curl, or a file with one of them, with a case of the conformance
    suite, or with an exchange that `olgate inspect` has written; without it, standard input is
    read. LM Studio is only asked for its list of models.

    \b
    Example: olgate explain --route /api/chat body.json --answer stream.txt
    """
    import structlog

    from .serve import load_server

    load_server()
    from ..app import create_app
    from ..explain.explaining import explain as explained
    from ..explain.models import read_models
    from ..explain.problems import NotExplained
    from ..faults import StoreFailure
    from .tables import fail, say

    # What the watched gateway logs would stand between the lines.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    settings = load_settings(flags).settings
    try:
        asked = _asked(request_, route, answer, name, as_it_is=as_it_is)
        listed = read_models(models) if models is not None else None
        found = explained(asked, settings, create_app, listed)
    except (NotExplained, StoreFailure) as problem:
        fail(str(problem), 2)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    from ..explain.text import lines_of

    for line in lines_of(found, whole=whole):
        say(line)


def _asked(
    given: str, route: str | None, answer: Path | None, name: str | None, *, as_it_is: bool
) -> "Asked":
    """Return the request to explain. Raises NotExplained."""
    from dataclasses import replace

    from ..explain.asked import check_json, for_route
    from ..explain.files import read_answer, read_request
    from ..explain.problems import NotExplained

    text, where, folder = given, "the command line", Path()
    if given == STDIN:
        if route is not None and sys.stdin.isatty():
            text, where = "", "the command line"
        else:
            text, where = sys.stdin.read(), "standard input"
    elif not given.lstrip().startswith(("{", "[", "curl")):
        path = Path(given)
        where, folder = str(path), path.parent
        try:
            text = path.read_text("utf-8")
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or "it is not text"
            raise NotExplained(
                f"{given} is neither JSON nor a line of curl, and as a file it can't be read: "
                f"{reason}"
            ) from None
    if route is not None and (as_it_is or not text.strip()):
        asked = for_route(route, text.encode() if text.strip() else None, where)
    else:
        asked = read_request(text, route, where, folder, name)
    if not as_it_is:
        check_json(asked.body, where)
    return replace(asked, answer=read_answer(answer)) if answer is not None else asked

"""
`olgate doctor`: look at everything that can keep the gateway from working.
"""

import os
import sys
from typing import TYPE_CHECKING, NoReturn, Unpack

import click

from .options import Flags, read_settings, serve_options

if TYPE_CHECKING:
    from .checks import Finding

MARKS = {"ok": "ok", "hint": "HINT", "wrong": "WRONG", "skipped": "-"}


@click.command()
@serve_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool, **flags: Unpack[Flags]) -> NoReturn:
    """
    Check settings, port, LM Studio and store, and say what to do.

    No setting and no model is changed. The exit code is 1 if something is wrong; a hint alone is
    not.

    \b
    Example: olgate doctor --json
    """
    from .serve import load_server

    load_server()
    from .tables import print_json

    findings = examine(flags)
    is_well = all(one.verdict != "wrong" for one in findings)
    if as_json:
        print_json({"ok": is_well, "checks": [one._asdict() for one in findings]})
    else:
        _show(findings)
    sys.exit(0 if is_well else 1)


def examine(flags: Flags) -> "list[Finding]":
    """Return what the checks have found; wrong settings are the only finding then."""
    import asyncio

    import structlog

    from ..settings.location import find_file
    from ..settings.sources import SettingsProblem
    from .checks import Finding, Scene, run_checks

    # What the parts log would stand between the findings, which say it.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    try:
        loaded = read_settings(flags)
    except SettingsProblem as problem:
        return [
            Finding("settings", "wrong", str(problem), "correct it; nothing else was looked at")
        ]
    file = find_file(flags["config"], os.environ)
    notes = [Finding("settings", "hint", note) for note in loaded.notes]

    async def run() -> "list[Finding]":
        return await run_checks(Scene(loaded.settings, str(file) if file else None))

    try:
        return [*notes, *asyncio.run(run())]
    except OSError as problem:
        return [*notes, Finding("doctor", "wrong", f"the checks could not run: {problem}")]


def _show(findings: "list[Finding]") -> None:
    from .tables import say

    width = max(len(one.check) for one in findings)
    for one in findings:
        say(f"{MARKS[one.verdict]:<5}  {one.check:<{width}}  {one.found}")
        if one.do:
            say(f"{'':<5}  {'':<{width}}  -> {one.do}")

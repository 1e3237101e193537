"""
`python -m conformance.schemas.fuzz`: thousands of drawn requests for every operation, by all
descriptions.

The long form of conformance/tests/schemas, which draw nothing at random; the same checks and the
same lists of known findings hold. This module has only the loop and its report.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
import structlog

from conformance.runner.runner import Bench
from conformance.schemas.ollama import PHASES
from conformance.schemas.targets import TARGETS, run_targets

ALL_PHASES = (*PHASES, "fuzzing")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("only", nargs=-1)
def main(only: Sequence[str]) -> None:
    """Fuzz the gateway and the stand-in; ONLY names operations, by default all."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    cases = wrong = 0
    with Bench() as bench:
        for ran in run_targets(bench, TARGETS, ALL_PHASES, only):
            cases += ran.account.cases
            report = ran.account.report(ran.known)
            wrong += bool(report)
            click.echo(
                f"{ran.target.name} {ran.operation}: {ran.account.cases} requests"
                f"{' WRONG' if report else ''}"
            )
            if report:
                click.echo(report)
    click.echo(f"{cases} requests, {wrong} operations with findings")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

"""
`python -m conformance.fuzz`: thousands of drawn requests for every operation, by all descriptions.

The long form of conformance/tests/schemas, which draw nothing at random; the same checks and the
same lists of known findings hold. Only the loop and its report live here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import structlog

from conformance.case_known import KnownFailing, read_known_failing
from conformance.runner import Bench
from conformance.schemas import PHASES, copy_for, operation_ids, read_document, run_operation
from conformance.schemas_upstream import APIS, known_of, operations, run_upstream
from conformance.standin.catalogue import DEFAULT

KNOWN = Path(__file__).parent / "tests" / "schemas" / "known.txt"
ALL_PHASES = (*PHASES, "fuzzing")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("only", nargs=-1)
def main(only: Sequence[str]) -> None:
    """Fuzz the gateway and the stand-in; ONLY names operations, by default all."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    names = {
        kind: [model.key for model in DEFAULT if model.type == kind]
        for kind in ("llm", "embedding")
    }
    names["llm"].sort(key=lambda name: name != "harbor/lantern-8b")
    document = copy_for(read_document(), names)
    known = read_known_failing(KNOWN)
    cases = wrong = 0
    with Bench() as bench:
        pair = bench.submit(bench.pair_for)
        for operation in operation_ids(document):
            if only and operation not in only:
                continue
            bench.submit(pair.control.reset)
            account = run_operation(pair.gateway_url, document, operation, ALL_PHASES)
            cases += account.cases
            wrong += _tell(f"gateway {operation}", account.cases, account.report(known))
        for api in APIS:
            for operation in operations(api):
                if only and operation not in only:
                    continue
                bench.submit(pair.control.reset)
                account = run_upstream(pair.control.url, api, operation, names, ALL_PHASES)
                cases += account.cases
                excused: KnownFailing = known_of("standin", operation)
                wrong += _tell(f"stand-in {operation}", account.cases, account.report(excused))
    click.echo(f"{cases} requests, {wrong} operations with findings")
    sys.exit(1 if wrong else 0)


def _tell(name: str, cases: int, report: str) -> bool:
    click.echo(f"{name}: {cases} requests{' WRONG' if report else ''}")
    if report:
        click.echo(report)
    return bool(report)


if __name__ == "__main__":
    main()

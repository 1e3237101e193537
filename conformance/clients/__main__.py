"""
Runs clients and cases and makes the table of them: `python -m conformance.clients [--write]`.

This module is the command line only. Exit codes: 0 as expected, 1 not as expected, 2 used wrongly.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import structlog

from conformance.clients.matrix import CaseResult, ClientResult, render_page
from conformance.clients.pair import Pair, open_pair
from conformance.clients.roster import Client, chosen
from conformance.clients.toolchain import InstallError, MissingToolError
from conformance.runner.processes import ROOT
from conformance.runner.runner import Bench
from conformance.schemas.targets import Ran, run_targets, totals_of
from conformance.suite.case import load_cases, select
from conformance.suite.known import read_known_failing

PAGE = ROOT / "docs" / "compatibility.md"


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m conformance.clients")
    parser.add_argument(
        "--all", action="store_true", help="run all clients, not only the default set"
    )
    parser.add_argument("--matrix", action="store_true", help="print the table (the default)")
    parser.add_argument("--write", action="store_true", help=f"run all and write {PAGE.name}")
    said = parser.parse_args()
    # The page that is kept must not depend on who wrote it.
    clients = run_clients(chosen(include_all=said.all or said.write))
    cases = run_cases()
    done = run_descriptions()
    totals = totals_of(done)
    page = render_page(clients, cases, totals)
    wrong = list_wrong(clients, cases) + list_findings(done)
    for line in wrong:
        print(line, file=sys.stderr)
    if not said.write:
        print(page)
    elif wrong or any(result.not_run for result in clients):
        print(f"{PAGE} is left as it was: not all ran as expected", file=sys.stderr)
        return 1
    else:
        PAGE.write_text(page, "utf-8")
    return 1 if wrong else 0


def run_clients(clients: list[Client]) -> list[ClientResult]:
    """Run each client against one gateway, and say so as it comes."""
    with tempfile.TemporaryDirectory() as folder, open_pair(Path(folder, "olgate.toml")) as pair:
        return [run_client(client, pair) for client in clients]


def run_client(client: Client, pair: Pair) -> ClientResult:
    """Run one client, or tell why it can't be."""
    try:
        outcomes = pair.drive(client.command())
    except (MissingToolError, InstallError, AssertionError, subprocess.TimeoutExpired) as error:
        print(f"{client.name}: not run: {error}", file=sys.stderr)
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return ClientResult(client, not_run=first.rstrip(".:"))
    passed = sum(one.ok for one in outcomes)
    print(f"{client.name}: {passed} of {len(outcomes)}", file=sys.stderr)
    return ClientResult(client, outcomes)


def run_cases() -> dict[str, CaseResult]:
    """Run all cases; what they came to by the first part of their names."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    known = read_known_failing()
    results: dict[str, CaseResult] = {}
    with Bench() as bench:
        for one in select(load_cases(), ()):
            result = results.setdefault(one.name.split("/", 1)[0], CaseResult())
            entry = known.find(one.name)
            has_failed = bool(bench.run(one))
            if has_failed and entry:
                result.known[one.name] = entry.reason
            elif has_failed or entry:
                result.wrong.append(one.name)
            else:
                result.passed += 1
    return results


def run_descriptions() -> list[Ran]:
    """Make requests from all descriptions, and say what they come to as it comes."""
    done = []
    with Bench() as bench:
        for ran in run_targets(bench):
            print(f"{ran.target.name}: {ran.operation}: {ran.account.cases}", file=sys.stderr)
            done.append(ran)
    return done


def list_findings(done: list[Ran]) -> list[str]:
    """Return a line, and what it is about, for each operation with findings that are not known."""
    return [
        f"{ran.target.name}: {ran.operation}: not as described\n{report}"
        for ran in done
        if (report := ran.account.report(ran.known))
    ]


def list_wrong(clients: list[ClientResult], cases: dict[str, CaseResult]) -> list[str]:
    """Return a line for each thing that came out otherwise than the lists say."""
    lines = [f"case {name}: not as expected" for one in cases.values() for name in one.wrong]
    for result in clients:
        if result.not_run:
            continue
        for one in result.outcomes:
            if one.ok == (one.name in result.client.deviations):
                lines.append(f"{result.client.name}: {one.name}: {one.detail or 'passes'}")
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""
`python -m conformance`: run, list and check cases, and run the shared black-box cases.

This module is the command line only. Exit codes: 0 as expected, 1 not as expected, 2 used wrongly.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import click
import structlog

from conformance.runner.client import NoAnswer
from conformance.runner.runner import Bench
from conformance.runner.shared_cases import (
    EMBED,
    KNOWN_FAILING,
    PLAIN,
    SharedCase,
    find_shared,
    load_shared_cases,
    missing_sentence,
    run_shared,
)
from conformance.suite.case import Case, Run, check_cases, load_cases, read_cases, select
from conformance.suite.compare import Mismatch
from conformance.suite.fixture import list_fixtures, load_fixture
from conformance.suite.known import FILE, KnownFailing, read_known_failing
from conformance.suite.source import SourceProblem


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--log", default="critical", metavar="LEVEL", help="log level of the gateway")
def main(log: str) -> None:
    """Judge the gateway from outside, by cases."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(log))


@main.command()
@click.argument("patterns", nargs=-1)
@click.option("--gateway", metavar="URL", help="judge a running gateway instead of starting one")
@click.option("--standin", metavar="URL", help="a running stand-in that this gateway calls")
@click.option(
    "--standin-port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="start a stand-in on this port for this gateway",
)
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=30.0,
    metavar="S",
    show_default=True,
    help="seconds to wait for this gateway's first answer",
)
@click.option("--keep-times", is_flag=True, help="wait as long as the fixtures state")
def run(
    patterns: Sequence[str],
    gateway: str | None,
    standin: str | None,
    standin_port: int | None,
    wait: float,
    keep_times: bool,
) -> None:
    """
    Run the cases that match PATTERNS (all by default), e.g. 'chat/stream/*', or that files hold.

    A file may be one that `olgate inspect ID --case` has written.
    docs/suite.md describes how to judge another gateway.
    """
    if gateway is None and (standin is not None or standin_port is not None):
        raise click.UsageError("--standin and --standin-port need --gateway")
    if standin is not None and standin_port is not None:
        raise click.UsageError("--standin and --standin-port exclude each other")
    files = [Path(pattern) for pattern in patterns if Path(pattern).is_file()]
    named = [pattern for pattern in patterns if not Path(pattern).is_file()]
    known = _load_known(FILE)
    runs = [one for path in files for one in select(_load_file(path), ())]
    if named or not files:
        chosen = select(_load(), named)
        if not chosen:
            raise click.UsageError(f"no case matches {' '.join(named)}; see `conformance list`")
        runs += chosen
    with Bench(gateway_url=gateway, standin_url=standin, keep_times=keep_times) as bench:
        if gateway is not None:
            _prepare(bench, standin_port, wait)
        fitting = [one for one in runs if bench.applies(one.case)]
        report = Report(known, _command(gateway, standin, standin_port))
        for one in fitting:
            report.add(one.name, one.case.why, partial(bench.run, one))
    if len(fitting) < len(runs):
        left_out = len(runs) - len(fitting)
        reason = "they need a stand-in, or a gateway with other settings"
        click.echo(f"{left_out} runs left out: {reason}")
    if not patterns and not gateway:
        report.add_unmatched([one.name for one in runs])
    sys.exit(report.finish())


def _command(gateway: str | None, standin: str | None, standin_port: int | None) -> str:
    """Return the command that repeats a run, without the run's name."""
    options = {"--gateway": gateway, "--standin": standin, "--standin-port": standin_port}
    return " ".join(["run", *(f"{name} {value}" for name, value in options.items() if value)])


def _prepare(bench: Bench, standin_port: int | None, wait_s: float) -> None:
    """Start the stand-in for a running gateway, and wait for the gateway."""
    if standin_port is not None:
        try:
            url = bench.start_standin(standin_port)
        except OSError as error:
            raise click.UsageError(f"--standin-port {standin_port}: {error}") from None
        click.echo(f"stand-in listening on {url}", err=True)
    try:
        bench.wait_for_gateway(wait_s)
    except NoAnswer as error:
        raise click.UsageError(f"--gateway: {error}") from None


@main.command("list")
@click.argument("patterns", nargs=-1)
def list_cases(patterns: Sequence[str]) -> None:
    """Print the cases that match PATTERNS, with what each is for."""
    known = _load_known(FILE)
    named: dict[str, list[Run]] = {}
    for one in select(_load(), patterns):
        named.setdefault(one.case.name, []).append(one)
    for name, runs in named.items():
        mark = " (known to fail)" if any(known.find(one.name) for one in runs) else ""
        ways = ", ".join(one.replay for one in runs)
        click.echo(f"{name}{mark}\n    {runs[0].case.why}\n    {ways}   {runs[0].case.place}")


@main.command()
def check() -> None:
    """Check cases, fixtures and the list of known failures themselves; starts nothing."""
    cases, known = _load(), _load_known(FILE)
    problems = list(check_cases(cases))
    problems += check_fixtures(cases)
    names = [one.name for one in select(cases, ())]
    for entry in known.unmatched(names):
        problems.append(f"{entry.place}: `{entry.pattern}` matches no case")
    for problem in problems:
        click.echo(problem)
    click.echo(f"{len(cases)} cases, {len(names)} runs, {len(problems)} problems")
    sys.exit(1 if problems else 0)


@main.command()
@click.argument("patterns", nargs=-1)
@click.option("--gateway", metavar="URL", help="judge a running server instead of starting one")
@click.option(
    "--plain", default=PLAIN, metavar="NAME", show_default=True, help="stands for {{PLAIN}}"
)
@click.option(
    "--embed", default=EMBED, metavar="NAME", show_default=True, help="stands for {{EMBED}}"
)
def shared(patterns: Sequence[str], gateway: str | None, plain: str, embed: str) -> None:
    """Run the shared black-box cases, when the folder with them is there."""
    folder = find_shared()
    if folder is None:
        click.echo(missing_sentence())
        return
    known = _load_known(KNOWN_FAILING)
    cases = [
        case
        for case in load_shared_cases(folder, plain=plain, embed=embed)
        if not patterns or any(fnmatch.fnmatchcase(case.id, one) for one in patterns)
    ]
    if not cases:
        raise click.UsageError(f"no shared case matches {' '.join(patterns)}")
    report = Report(known, "shared")
    with Bench(gateway_url=gateway) as bench:
        for case in cases:
            report.add(case.id, case.why, _shared_work(bench, case))
    if not patterns and not gateway:
        report.add_unmatched([case.id for case in cases])
    sys.exit(report.finish())


def _shared_work(bench: Bench, case: SharedCase) -> Callable[[], list[Mismatch]]:
    return lambda: run_shared(bench, case)


def check_fixtures(cases: Iterable[Case]) -> list[str]:
    """Return a line for each fixture that can't be read or that no case uses."""
    used = {name for case in cases for name in (*case.upstream.fixtures, case.expect.bytes_of)}
    problems: list[str] = []
    for name in list_fixtures():
        try:
            load_fixture(name)
        except SourceProblem as error:
            problems += error.problems
        if name not in used:
            problems.append(f"conformance/fixtures/{name}.yaml: no case uses it")
    return problems


class Report:
    """Counts runs, prints what is wrong as it comes, and turns the whole into an exit code."""

    def __init__(self, known: KnownFailing, command: str) -> None:
        self._known = known
        self._command = command
        self._passed = self._expected = self._wrong = 0

    def add(self, name: str, why: str, work: Callable[[], list[Mismatch]]) -> None:
        """Do one run and count it."""
        problems = work()
        entry = self._known.find(name)
        if problems and entry:
            self._expected += 1
        elif problems:
            self._wrong += 1
            click.echo(f"\nFAIL {name}\n  {why}")
            for problem in problems:
                click.echo(f"  {problem}")
            click.echo(f"  again: python -m conformance {self._command} '{name}'")
        elif entry:
            self._wrong += 1
            click.echo(f"\nFAIL {name}\n  passes, but is listed at {entry.place}: take it out")
        else:
            self._passed += 1

    def add_unmatched(self, names: Iterable[str]) -> None:
        """Count list entries that match none of all names."""
        for entry in self._known.unmatched(names):
            self._wrong += 1
            click.echo(f"\n{entry.place}: `{entry.pattern}` matches no case: take it out")

    def finish(self) -> int:
        """Print the sums; returns the exit code."""
        known = f", {self._expected} failed as known" if self._expected else ""
        click.echo(f"\n{self._passed} passed{known}, {self._wrong} wrong")
        return 1 if self._wrong else 0


def _load() -> list[Case]:
    try:
        return load_cases()
    except SourceProblem as error:
        click.echo(str(error))
        sys.exit(1)


def _load_file(path: Path) -> list[Case]:
    try:
        return read_cases(path)
    except SourceProblem as error:
        click.echo(str(error))
        sys.exit(1)


def _load_known(path: Path) -> KnownFailing:
    try:
        return read_known_failing(path)
    except SourceProblem as error:
        click.echo(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()

"""
The bench: `python -m conformance.bench [--quick] [--against NAME=URL]... [--compare OLD.json]
[--write]`.

Starts what is measured, measures, and says what came out; results go to `build/bench/`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import click
import msgspec

from conformance.bench import instructions, moved, peers, report, servers
from conformance.bench.dialect import Dialect
from conformance.bench.instructions import Counted
from conformance.bench.measures import Bench
from conformance.bench.results import QUICK, Results, Size, as_json
from conformance.bench.servers import StartProblem, Target
from conformance.bench.yardsticks import vectors

WORKERS = 2
YARDSTICKS: tuple[tuple[str, str, Dialect], ...] = (
    (report.FLOOR, "passthrough", "openai"),
    (report.HANDLER, "handler", "handler"),
    (report.VECTORS, "vectors", "vectors"),
    (report.PLAIN, "straightforward", "ollama"),
)
"""What the gateway is measured against: its name, its module, and what it answers."""


@click.command()
@click.option(
    "--quick", is_flag=True, help="A small run: checks that it works, not how fast it is."
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    help="Number of rounds; each target is measured once a round.",
)
@click.option(
    "--against", metavar="NAME=URL", multiple=True, help="A running server; can be repeated."
)
@click.option("--standin", "standin_url", metavar="URL", help="A running bench stand-in.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/bench"),
    show_default=True,
    help="Folder of results.json and spread.svg.",
)
@click.option(
    "--from",
    "taken",
    type=click.Path(path_type=Path, exists=True),
    help="Only report a results.json.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Say what moved since another results.json.",
)
@click.option("--write", is_flag=True, help="Write the tables and the picture into docs/.")
def main(
    quick: bool,
    rounds: int | None,
    against: tuple[str, ...],
    standin_url: str | None,
    out: Path,
    taken: Path | None,
    compare: Path | None,
    write: bool,
) -> None:
    """Measure the gateway, its yardsticks, and any other server of Ollama's API."""
    if taken is not None:
        results = msgspec.json.decode(taken.read_bytes(), type=Results)
    else:
        size = QUICK if quick else Size()
        if rounds is not None:
            size = msgspec.structs.replace(size, rounds=rounds)
        try:
            results = measure(size, against, standin_url)
            if not quick:
                results.instructions = count()
            results.machine = report.machine()
        except StartProblem as missing:
            sys.exit(f"bench: {missing}")
        out.mkdir(parents=True, exist_ok=True)
        (out / "results.json").write_text(as_json(results), "utf-8")
    click.echo(report.tables(results))
    if compare is not None:
        old = msgspec.json.decode(compare.read_bytes(), type=Results)
        click.echo(report.changes(moved.changes(old, results)))
    if write:
        report.write(results)
    report.draw(results, out / "spread.svg")
    for problem in results.problems:
        click.echo(f"problem: {problem}", err=True)
    sys.exit(1 if results.problems else 0)


def measure(size: Size, against: tuple[str, ...], standin_url: str | None) -> Results:
    """Start everything, measure, end everything. Raises StartProblem."""
    with contextlib.ExitStack() as stack:
        if standin_url is None:
            standin = stack.enter_context(
                servers.started("direct", "openai", "-m", "conformance.bench.standin")
            )
        else:
            standin = servers.found("direct", standin_url, "openai")
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gateway = stack.enter_context(
            servers.started(
                "olgate", "ollama", *servers.gateway_arguments(standin.url), state=state
            )
        )
        targets = [standin, gateway]
        if hasattr(os, "fork"):
            shared = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            words = [*servers.gateway_arguments(standin.url), "--workers", str(WORKERS)]
            workers = servers.started(
                f"{report.OWN}, {WORKERS} workers", "ollama", *words, state=shared
            )
            target = stack.enter_context(workers)
            targets.append(msgspec.structs.replace(target, processes=WORKERS))
        for name, module, dialect in _yardsticks():
            arguments = servers.yardstick_arguments(module, standin.url)
            targets.append(stack.enter_context(servers.started(name, dialect, *arguments)))
        targets += stack.enter_context(peers.started(standin.url, state))
        targets += [_other(item) for item in against]
        return Bench(standin, targets, size, _say).run()


def count() -> list[Counted]:
    """Count instructions of the gateway and of its floors. Raises StartProblem."""
    if missing := instructions.missing():
        _say(f"no instructions are counted: that needs {' and '.join(missing)}")
        return []
    _say("instructions, under valgrind")
    return [
        instructions.count(report.OWN, "ollama", servers.gateway_arguments),
        *(
            instructions.count(name, dialect, partial(servers.yardstick_arguments, module))
            for name, module, dialect in _yardsticks()
            if name != report.PLAIN
        ),
    ]


def _yardsticks() -> list[tuple[str, str, Dialect]]:
    """Return those whose libraries are installed."""
    if not (missing := vectors.missing()):
        return [*YARDSTICKS]
    _say(f"no {report.VECTORS}: without {' and '.join(missing)} of the extra `vectors`")
    return [each for each in YARDSTICKS if each[0] != report.VECTORS]


def _say(text: str) -> None:
    click.echo(f"bench: {text}", err=True)


def _other(item: str) -> Target:
    name, found, url = item.partition("=")
    if not found or not url.startswith("http://"):
        raise StartProblem(f"--against {item}: expected NAME=http://HOST:PORT")
    return servers.found(name, url)


if __name__ == "__main__":
    main()

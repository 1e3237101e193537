"""
The command line of the soak, and what it says in the end.

Exit codes: 0 nothing is wrong, 1 something is, 2 used wrongly.
"""

from __future__ import annotations

import asyncio
import sys

import click

from conformance.soak.run import Report, Wish, soak


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="minutes to run, with the warm-up")
@click.option("--streams", default=200, show_default=True, help="number of clients at a time")
@click.option("--rate", default=4.0, show_default=True, help="tokens per second of a stream")
@click.option("--seed", default=1, show_default=True, help="seed of the random numbers")
@click.option(
    "--large",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="part of the requests that have bodies of 1 to 20 MB",
)
def main(minutes: float, streams: int, rate: float, seed: int, large: float) -> None:
    """Run clients against a gateway, with faults, and check for leaks and wrong answers."""
    if minutes <= 0 or streams <= 0:
        raise click.UsageError("--minutes and --streams are above 0")
    report = asyncio.run(soak(Wish(minutes * 60, streams, rate, seed, large)))
    show(report)
    sys.exit(1 if report.problems else 0)


def show(report: Report) -> None:
    """Print what was done, what was measured, and what is wrong."""
    for name, value in report.figures.items():
        click.echo(f"{name:<28} {value}")
    for problem in report.problems[:50]:
        click.echo(f"WRONG  {problem}")
    if len(report.problems) > 50:
        click.echo(f"WRONG  and {len(report.problems) - 50} more")
    click.echo("all well" if not report.problems else f"{len(report.problems)} wrong")


if __name__ == "__main__":
    main()

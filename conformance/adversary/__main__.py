"""
The command line of the adversary.

Exit codes: 0 the gateway held, 1 it did not, 2 used wrongly.
"""

from __future__ import annotations

import asyncio
import sys

import click

from conformance.adversary.run import LOOPS, Report, attack

MOST_SHOWN = 30


@click.command()
@click.option("--count", default=4000, show_default=True, help="exchanges, on all loops together")
@click.option("--seed", default=1, show_default=True, help="seed of the random numbers")
@click.option(
    "--loop",
    "loops",
    type=click.Choice([*LOOPS]),
    multiple=True,
    default=[*LOOPS],
    show_default=True,
    help="event loop of the gateway; can be repeated",
)
@click.option("--only", type=int, help="the number of the only exchange to make")
def main(count: int, seed: int, loops: tuple[str, ...], only: int | None) -> None:
    """Attack a gateway from both sides, and see that it stays true to everybody else."""
    if count <= 0:
        raise click.UsageError("--count is above 0")
    if only is None:
        reports = [asyncio.run(attack(loop, count // len(loops), seed)) for loop in loops]
    else:
        reports = [asyncio.run(attack(loop, 1, seed, only)) for loop in loops]
    for report in reports:
        show(report)
    sys.exit(1 if any(report.problems for report in reports) else 0)


def show(report: Report) -> None:
    """Print what was done, and what is wrong."""
    click.echo(f"on {report.loop}:")
    for name, value in report.figures.items():
        click.echo(f"  {name:<20} {value}")
    for problem in report.problems[:MOST_SHOWN]:
        click.echo(f"  WRONG  {problem}")
    if len(report.problems) > MOST_SHOWN:
        click.echo(f"  WRONG  and {len(report.problems) - MOST_SHOWN} more")
    click.echo("  held" if not report.problems else f"  {len(report.problems)} wrong")


if __name__ == "__main__":
    main()

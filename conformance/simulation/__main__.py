"""
`python -m conformance.simulation`: compares policies of placement in simulated fleets, and orders
of a queue.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from . import report
from .batch import run_batches
from .policies import POLICIES
from .simulating import Result, simulate
from .workload import Plan

PLANS = {
    3: (Plan(3, models=2, groups=8, requests=3_000), 1),
    30: (Plan(30, models=4, groups=40, requests=9_000), 3),
    1000: (Plan(1000, models=8, groups=400, requests=40_000), 20),
}
"""For each number of hosts: the work, and how many hosts are off for a time."""


def run_all(counts: tuple[int, ...], seed: int) -> Iterator[Result]:
    """Run every policy for each number of hosts."""
    for count in counts:
        plan, dying = PLANS[count]
        for policy in POLICIES:
            yield simulate(plan, policy, seed, dying=dying)


@click.command()
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same numbers.")
@click.option("--hosts", multiple=True, type=click.Choice([str(count) for count in PLANS]))
@click.option("--queue", "only_queue", is_flag=True, help="Only the queue, which takes a moment.")
@click.option("--write", is_flag=True, help="Write the table and the picture into docs/.")
def main(seed: int, hosts: tuple[str, ...], only_queue: bool, write: bool) -> None:
    """Compare policies; a decision's time is of this machine, all else of the seed."""
    outcomes = run_batches(seed)
    click.echo(report.queue_table(outcomes))
    if write:
        report.write_queue(outcomes)
    if only_queue:
        return
    counts = tuple(int(count) for count in hosts) or tuple(PLANS)
    results = list(run_all(counts, seed))
    click.echo(report.table(results))
    if write:
        report.write(results)


if __name__ == "__main__":
    main()

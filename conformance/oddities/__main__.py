"""`python -m conformance.oddities` tries every odd answer, those of some calls, or a number."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time

import structlog

from conformance.oddities.check import all_tries, checker, some_tries


async def run(only: str, count: int | None, seed: int, most: int) -> int:
    """Try odd answers, print what is wrong, and return the number of those."""
    tries = list(all_tries(only)) if count is None else some_tries(count, seed)
    started, wrong = time.monotonic(), 0
    async with checker() as found:
        for one in tries:
            if problem := await found.problem(one):
                wrong += 1
                print(f"{one.name}: {problem}", flush=True)
                if wrong >= most:
                    break
    took = time.monotonic() - started
    print(f"{len(tries)} odd answers in {took:.0f} s, {wrong} wrong", file=sys.stderr)
    return wrong


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m conformance.oddities", description=__doc__)
    parser.add_argument("--only", default="", help="calls whose name contains this text")
    parser.add_argument("--count", type=int, help="how many, drawn by the seed; all by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=50, help="stop after so many wrong ones")
    given = parser.parse_args()
    quiet = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=quiet)
    return 1 if asyncio.run(run(given.only, given.count, given.seed, given.most)) else 0


if __name__ == "__main__":
    sys.exit(main())

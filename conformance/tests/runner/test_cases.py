"""Every case, in every replay; known failures must keep failing."""

from __future__ import annotations

import pytest

from conformance.runner.runner import Bench
from conformance.suite.case import Run, load_cases, select
from conformance.suite.known import read_known_failing

RUNS = select(load_cases(), ())
KNOWN = read_known_failing()


@pytest.mark.parametrize("run", RUNS, ids=[run.name for run in RUNS])
def test_case(gateway_bench: Bench, run: Run) -> None:
    """What the client gets, and what reaches LM Studio, is what the case says."""
    problems = gateway_bench.run(run)

    entry = KNOWN.find(run.name)
    if problems and entry:
        pytest.xfail(f"{entry.reason} ({entry.place})")
    report = "\n".join(f"  {problem}" for problem in problems)
    assert not problems, f"{run.case.why}\n{report}\n  python -m conformance run '{run.name}'"
    assert entry is None, f"passes, but is listed at {entry.place}: take it out"


def test_known_failures_match_cases() -> None:
    """An entry that matches no case is stale."""
    unmatched = KNOWN.unmatched(run.name for run in RUNS)

    assert [] == [f"{entry.place}: {entry.pattern}" for entry in unmatched]

"""
That the bench sees what there is: tokens, their times, and answers that are wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.bench import instructions, report, servers, stalls
from conformance.bench.instructions import Counted
from conformance.bench.measures import Bench, Paced, Results, Size, Spread
from conformance.bench.servers import Target
from conformance.bench.stalls import Stall
from conformance.bench.standin import Plan


@pytest.fixture(scope="module")
def standin() -> Iterator[Target]:
    """Run the bench's stand-in."""
    with servers.started("direct", "openai", "-m", "conformance.bench.standin") as target:
        yield target


def test_counts_every_token_of_paced_streams(standin: Target) -> None:
    """Each token is seen with its time, and the first ones apart."""
    servers.set_plan(standin, Plan(tokens=5, interval_s=0.001))
    bench = Bench(standin, [standin], Size(), print)
    got, _ = bench._drive(standin, "stream", workers=2, cycles=3)
    assert (30, 6, 6) == (got.tokens, len(got.first_token), got.requests)
    assert min(got.token) > 0
    assert [] == bench.results.problems


def test_an_answer_without_tokens_counts_none(standin: Target) -> None:
    """A server that answers something else has not answered fast."""
    bench = Bench(standin, [standin], Size(), print)
    wrong = Target("direct", standin.url, "ollama", standin.pid)
    servers.set_plan(standin, Plan(tokens=1, interval_s=0.001))
    got, _ = bench._drive(wrong, "stream", workers=1, cycles=1)
    assert 0 == got.tokens


def test_tells_what_a_server_adds() -> None:
    """Times are told against those of the stand-in itself, percentile by percentile."""
    direct = Spread(1e6, 2e6, 3e6)
    slow = Spread(2e6, 4e6, 7e6)
    results = Results(
        paced=[
            Paced("direct", 16, direct, direct, 10.0),
            Paced("bare pass-through", 16, direct, direct, 20.0),
            Paced("olgate", 16, slow, slow, 30.0),
        ]
    )
    told = report.tables(results)
    assert "1.00 / 2.00 / 4.00" in told
    assert "30.0 (1.50x)" in told


def test_every_kind_of_large_body_is_answered_and_others_are_watched(standin: Target) -> None:
    """All kinds are of the size that is wished, and what others wait is told with its ratio."""
    assert all(len(body) > 900_000 for body in stalls.bodies(1).values())
    with (
        tempfile.TemporaryDirectory() as state,
        servers.started(
            "olgate", "ollama", *servers.gateway_arguments(standin.url), state=Path(state)
        ) as gateway,
    ):
        found = stalls.measure(gateway, 1)
    assert [*stalls.bodies(1)] == [row.kind for row in found]
    assert {200, 400} == {row.status for row in found}
    assert all(0 < row.p99_ms <= row.most_ms for row in found)
    told = report.tables(Results(stalls=[Stall("olgate", "odd", 1.0, 200, 9.0, 2.0, 3.0, 8.0)]))
    assert "| odd  | olgate | 1.0 | 200    | 9    | 2.0      | 3.0 | 8.0  | 4" in told


def test_tells_what_a_token_takes_with_its_share_of_the_request() -> None:
    """Of a stream of 200 tokens; without valgrind there is nothing to tell, and that is said."""
    results = Results(instructions=[Counted("olgate", 40_000.0, 1_000_000.0)])
    assert "45,000" in report.tables(results)
    assert "that needs valgrind" in report.tables(Results())


@pytest.mark.parametrize(
    ("dump", "total"),
    [
        (b"fn=(1) f\n1 20\n\ntotals: 4711\n", 4711),
        (b"summary: 12\nfn=(1) f\n1 12\n", 12),
        (b"fn=(1) f\n1 20\n", None),
    ],
)
def test_a_dump_that_is_not_whole_has_no_total(dump: bytes, total: int | None) -> None:
    """Valgrind writes the total at the end, or before a short one."""
    assert total == instructions.total_of(dump)

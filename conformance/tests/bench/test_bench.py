"""
That the bench sees what there is: tokens, their times, and answers that are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.bench import report, servers
from conformance.bench.measures import Bench, Paced, Results, Size, Spread
from conformance.bench.servers import Target
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

"""The retry budget: a share of what runs, and a few in any case."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.retry_budget import RetryBudget


def test_a_quiet_gateway_may_retry() -> None:
    """The least counts, whatever runs."""
    budget = RetryBudget(percent=20, least=2)
    assert [True, True, False] == [budget.take(1) for _ in range(3)]
    budget.give_back(2)
    assert 0 == budget.taken
    assert budget.take(1)


def test_a_share_of_many() -> None:
    """A fifth of fifty requests."""
    budget = RetryBudget(percent=20, least=3)
    assert 10 == sum(budget.take(50) for _ in range(50))


def test_no_retries() -> None:
    """With 0 of both there are none."""
    assert not RetryBudget(percent=0, least=0).take(1000)


@given(st.lists(st.integers(0, 40), max_size=80))
def test_any_history(steps: list[int]) -> None:
    """A retry is there if and only if fewer than the budget run."""
    budget = RetryBudget(percent=50, least=1)
    for running in steps:
        before = budget.taken
        assert budget.take(running) == (before < max(1, running // 2))
    budget.give_back(budget.taken)
    assert 0 == budget.taken

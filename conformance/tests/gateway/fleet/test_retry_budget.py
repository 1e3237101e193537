"""The retry budget: a share of what runs, and a few in any case."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.retry_budget import RetryBudget


def test_a_quiet_gateway_may_retry() -> None:
    """The least counts, whatever runs."""
    budget = RetryBudget(share=0.2, least=2)
    budget.begin()
    assert [True, True, False] == [budget.take() for _ in range(3)]
    budget.end(retries=2)
    assert (0, 0) == (budget.running, budget.retries)
    budget.begin()
    assert budget.take()


def test_a_share_of_many() -> None:
    """A fifth of fifty requests."""
    budget = RetryBudget(share=0.2, least=3)
    for _ in range(50):
        budget.begin()
    assert 10 == sum(budget.take() for _ in range(50))


@given(st.lists(st.sampled_from(["begin", "take", "end"]), max_size=80))
def test_any_history(steps: list[str]) -> None:
    """Retries never exceed the budget at the moment they are taken, and all are given back."""
    budget, running = RetryBudget(share=0.5, least=1), list[int]()
    for step in steps:
        if step == "begin":
            budget.begin()
            running.append(0)
        elif running and step == "take":
            allowed = max(1, len(running) // 2)
            before = budget.retries
            if budget.take():
                running[-1] += 1
                assert before < allowed
            else:
                assert before >= allowed
        elif running:
            budget.end(running.pop())
    for retries in running:
        budget.end(retries)
    assert (0, 0) == (budget.running, budget.retries)

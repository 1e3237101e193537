"""What keys use within a minute, by a clock of the test's own."""

from __future__ import annotations

import pytest

from gateway.access.counting import Excess, OwnCounts, Window
from gateway.settings.schema import KeySettings


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_window_forgets_after_a_minute() -> None:
    """And keeps one number a second, however much is added."""
    window = Window()
    for _ in range(1000):
        window.add(10.5, 1)
    assert 0 == window.wait_s(10.6, 1001)
    assert 60 == window.wait_s(10.6, 1000)
    assert 1 == window.wait_s(69.9, 1)
    assert 0 == window.wait_s(70.0, 1)
    assert 0 == window.total
    for second in range(200):
        window.add(100.0 + second, 1)
        window.wait_s(100.0 + second, 1)
    assert window.total <= 61


def test_requests_begin_as_often_as_they_may() -> None:
    """Those that are refused do not count; each key is counted for itself."""
    clock = Clock()
    counts = OwnCounts(clock)
    limits = KeySettings(requests_per_minute=2)
    assert [None, None] == [counts.begin("a", limits) for _ in range(2)]
    for _ in range(3):
        assert Excess("requests_per_minute", 60) == counts.begin("a", limits)
    assert None is counts.begin("b", limits)
    clock.now += 59
    assert Excess("requests_per_minute", 1) == counts.begin("a", limits)
    clock.now += 1
    assert None is counts.begin("a", limits)


def test_as_many_run_as_may() -> None:
    """One that ends makes room."""
    counts = OwnCounts(Clock())
    limits = KeySettings(max_running=1)
    assert None is counts.begin("a", limits)
    assert Excess("max_running", 1) == counts.begin("a", limits)
    counts.end("a", 0)
    assert None is counts.begin("a", limits)


def test_tokens_that_were_used_are_waited_for() -> None:
    """They are known at a request's end, so the last one may go beyond the limit."""
    clock = Clock()
    counts = OwnCounts(clock)
    limits = KeySettings(tokens_per_minute=100)
    assert None is counts.begin("a", limits)
    counts.end("a", 90)
    clock.now += 10
    assert None is counts.begin("a", limits)
    counts.end("a", 500)
    # Without the 90 there would still be too many.
    assert Excess("tokens_per_minute", 60) == counts.begin("a", limits)
    clock.now += 50
    assert Excess("tokens_per_minute", 10) == counts.begin("a", limits)
    clock.now += 10
    assert None is counts.begin("a", limits)


@pytest.mark.parametrize("number", [1, 50])
def test_zero_is_no_limit(number: int) -> None:
    """For all three."""
    counts = OwnCounts(Clock())
    for _ in range(number):
        assert None is counts.begin("a", KeySettings())
        counts.end("a", 10**9)

"""In which order and how many at a time requests are begun that come at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.waves import AT_ONCE, Waves


class Turns:
    """A loop whose clock stands still within a turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self._soon: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, act: Callable[..., None], *arguments: Any) -> None:
        self._soon.append((act, arguments))

    def turn(self) -> None:
        """Do what was put off in the last turn."""
        self.now += 1
        due, self._soon = self._soon, []
        for act, arguments in due:
            act(*arguments)

    @property
    def is_idle(self) -> bool:
        return not self._soon


def as_loop(turns: Turns) -> asyncio.AbstractEventLoop:
    """Return it as the loop that is asked for."""
    return cast("asyncio.AbstractEventLoop", turns)


@given(st.lists(st.integers(min_value=0, max_value=3 * AT_ONCE), max_size=12))
def test_all_are_begun_in_their_order_and_few_in_a_turn(arriving: list[int]) -> None:
    """Whatever comes in which turn, nothing is lost, nothing overtakes, and no turn is full."""
    turns, waves = Turns(), Waves[int]()
    begun: list[int] = []
    number = 0
    for count in arriving:
        before = len(begun)
        for _ in range(count):
            waves.begin(begun.append, number, as_loop(turns))
            number += 1
        # What waited for this turn, and what came in it.
        assert len(begun) - before <= AT_ONCE
        between = len(begun)
        turns.turn()
        assert len(begun) - between <= AT_ONCE
    while not turns.is_idle:
        turns.turn()
    assert list(range(number)) == begun


def test_one_alone_does_not_wait() -> None:
    """A request that comes alone is begun where it came."""
    turns, waves = Turns(), Waves[int]()
    begun: list[int] = []
    waves.begin(begun.append, 1, as_loop(turns))
    assert [1] == begun
    assert turns.is_idle


def test_one_that_fails_holds_up_no_other() -> None:
    """An exception comes out where the loop sees it, and the rest goes on."""
    turns, waves = Turns(), Waves[int]()
    begun: list[int] = []

    def fail(_: int) -> None:
        raise ValueError

    for number in range(AT_ONCE):
        waves.begin(begun.append, number, as_loop(turns))
    waves.begin(fail, 0, as_loop(turns))
    waves.begin(begun.append, -1, as_loop(turns))
    with pytest.raises(ValueError, match=r"^$"):
        turns.turn()
    turns.turn()
    assert [*range(AT_ONCE), -1] == begun
    assert turns.is_idle

"""Outlier detection, with a clock that the test moves."""

from __future__ import annotations

from math import inf
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.ejection import EjectionRules, Ejections

RULES = EjectionRules(failures=3, base_s=10, longest_s=25, forgiven_s=60, probe_s=1, jitter=0.5)


def ejections(tiers: tuple[int, ...] = (1, 1, 1, 1), drawn: float = 0.0) -> Ejections:
    """Return hosts that are all up; the jitter is always `drawn`."""
    return Ejections(tiers, RULES, lambda: drawn)


def fail(health: Ejections, number: int, now: float, times: int = 3) -> None:
    """Let a host answer badly some times in a row."""
    for _ in range(times):
        health.note_failure(number, "answer", now)


def test_a_host_that_cannot_be_reached_is_down_at_once() -> None:
    """One failure to connect is enough, and only a probe opens it again."""
    health = ejections()
    health.note_failure(1, "connect", 0.0)

    assert "down" == health.state(1, 1e9)
    assert inf == health.shut_until[1]
    assert [] == health.due(0.9)
    assert [1] == health.due(1.0)
    assert [] == health.due(1.0)
    health.note_probe(1, 1.1, is_well=True)
    assert "up" == health.state(1, 1.1)
    assert inf == health.next_probe_at()


def test_all_hosts_may_be_unreachable() -> None:
    """That is a fact and no judgement, so the limit of a tier does not count."""
    health = ejections((1, 1))
    health.note_failure(0, "connect", 0.0)
    health.note_failure(1, "connect", 0.0)
    assert ["down", "down"] == [health.state(number, 5.0) for number in (0, 1)]


def test_probes_come_less_often() -> None:
    """After 1, 2, 4 and 8 seconds, then every 15; each with jitter."""
    for drawn, factor in ((0.0, 1.0), (0.8, 1.4)):
        health, now, pauses = ejections(drawn=drawn), 0.0, []
        health.note_failure(0, "connect", now)
        for _ in range(6):
            pauses.append(health.next_probe_at() - now)
            now = health.next_probe_at()
            assert [0] == health.due(now)
            health.note_probe(0, now, is_well=False)
        assert [pytest.approx(pause * factor) for pause in (1, 2, 4, 8, 15, 15)] == pauses


def test_bad_answers_in_a_row_eject() -> None:
    """Two make a host suspect, a good one between forgives them, the third ejects."""
    health = ejections()
    fail(health, 0, 0.0, times=2)
    assert "suspect" == health.state(0, 0.0)
    health.note_answer(0, 1.0)
    fail(health, 0, 2.0, times=2)
    assert "suspect" == health.state(0, 2.0)
    fail(health, 0, 3.0, times=1)
    assert "down" == health.state(0, 12.9)
    assert "suspect" == health.state(0, 13.0)


def test_ejections_grow() -> None:
    """After an ejection, one bad answer is enough for the next, which is longer, to a limit."""
    health, now, lengths = ejections(), 0.0, []
    for times in (3, 1, 1, 1):
        fail(health, 0, now, times)
        lengths.append(health.shut_until[0] - now)
        now = health.shut_until[0]
    assert [10, 20, 25, 25] == lengths


def test_a_host_that_was_well_for_long_is_forgiven() -> None:
    """Its next ejection is a first one."""
    health = ejections()
    fail(health, 0, 0.0)
    health.note_answer(0, 10.0)
    fail(health, 0, 71.0)
    assert 81.0 == health.shut_until[0]


def test_half_of_a_tier_stays() -> None:
    """A third host of four is not ejected, however it answers; another tier is not counted."""
    health = ejections((1, 1, 1, 1, 2))
    for number in (0, 1, 2):
        fail(health, number, 0.0, times=9)
    assert ["down", "down", "suspect"] == [health.state(number, 1.0) for number in (0, 1, 2)]
    # Half of one host is none.
    fail(health, 4, 0.0, times=9)
    assert "suspect" == health.state(4, 1.0)


def test_an_unreachable_host_counts_for_its_tier() -> None:
    """The hosts that are left are not ejected as well."""
    health = ejections((1, 1))
    health.note_failure(0, "connect", 0.0)
    fail(health, 1, 0.0)
    assert "suspect" == health.state(1, 1.0)


def test_a_late_answer_does_not_end_an_ejection() -> None:
    """It began before the ejection."""
    health = ejections()
    fail(health, 0, 0.0)
    health.note_answer(0, 5.0)
    assert "down" == health.state(0, 5.0)


def test_a_probe_does_not_end_an_ejection() -> None:
    """A host may list its models well and still be unable to use them."""
    health = ejections()
    fail(health, 0, 0.0)
    health.note_probe(0, 1.0, is_well=True)
    assert "down" == health.state(0, 1.0)


def test_an_answer_opens_a_host_that_was_unreachable() -> None:
    """Better than any probe: it has answered."""
    health = ejections()
    health.note_failure(0, "connect", 0.0)
    health.note_answer(0, 0.5)
    assert "up" == health.state(0, 0.5)
    assert [] == health.due(100.0)


events = st.tuples(
    st.sampled_from(["connect", "answer", "good", "well", "ill"]),
    st.integers(0, 3),
    st.floats(0, 30),
)


FAILURES: dict[str, Literal["connect", "answer"]] = {"connect": "connect", "answer": "answer"}
"""The events that are failures, as the kinds of failures."""


@given(st.lists(events, max_size=60), st.floats(0, 1, exclude_max=True))
def test_any_history(history: list[tuple[str, int, float]], drawn: float) -> None:
    """No host is lost: one that is down is probed or opens by itself; half of the tier is kept."""
    health, now = Ejections((1, 1, 1, 1), RULES, lambda: drawn), 0.0
    unreachable: set[int] = set()
    for kind, number, pause in history:
        now += pause
        for due in health.due(now):
            health.note_probe(due, now, is_well=False)
            unreachable.add(due)
        if (failure := FAILURES.get(kind)) is not None:
            health.note_failure(number, failure, now)
        elif kind == "good":
            health.note_answer(number, now)
        else:
            health.note_probe(number, now, is_well=kind == "well")
        shut = [other for other in range(4) if health.shut_until[other] > now]
        ejected = [other for other in shut if health.shut_until[other] < inf]
        assert len(ejected) <= 2
        for other in shut:
            assert health.shut_until[other] < inf or health.next_probe_at() < inf
            assert "down" == health.state(other, now)

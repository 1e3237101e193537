"""The homes of names, brought up to date host by host: as if all hosts were looked at anew."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.tests.gateway.fleet.silent_fleets import open_fleet, send_list
from gateway.fleet.fleet import Fleet
from gateway.fleet.homes import Homes, HomesOfNames
from gateway.fleet.host import Host

KEYS = ("qwen/qwen3-8b", "Qwen/Qwen3-8B", "other/qwen3-8b", "x")
NAMES = ("qwen/qwen3-8b", "QWEN/qwen3-8b", "qwen3-8b", "x", "x:latest", "none")
HOSTS, FORGET_S = 4, 100.0

lists = st.dictionaries(st.sampled_from(KEYS), st.booleans(), max_size=3)
changes = st.lists(
    st.tuples(st.integers(0, HOSTS - 1), st.none() | lists, st.lists(st.sampled_from(NAMES))),
    max_size=20,
)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Make some hosts, which are asked nothing."""
    with open_fleet(HOSTS) as (made, _):
        yield made


def change(host: Host, models: dict[str, bool] | None) -> None:
    """Have a host list these models, of which some are loaded; None is a host that is forgotten."""
    host.is_away = models is None
    host.seen_at = time.monotonic() - (2 * FORGET_S if models is None else 0.0)
    if models is not None:
        send_list(host, models)


def shown(homes: Homes | None) -> object:
    """Return homes without the order of the hosts."""
    return None if homes is None else (homes.key, dict(sorted(homes.rows.items())), homes.hosts)


@given(changes)
def test_homes_after_changes(
    fleet: Fleet, changes: list[tuple[int, dict[str, bool] | None, list[str]]]
) -> None:
    """Whichever names were asked for in between; what a request holds stays as it was."""
    for host in fleet.hosts:
        change(host, {})
    names = HomesOfNames(lambda: fleet.hosts, FORGET_S)
    for number, models, asked in changes:
        change(fleet.hosts[number], models)
        names.note_change(fleet.hosts[number])
        for name in asked:
            held = names.resolve(name)
            before = shown(held)
            fresh = HomesOfNames(lambda: fleet.hosts, FORGET_S).resolve(name)
            assert shown(fresh) == before == shown(held)
    for name in NAMES:
        assert shown(HomesOfNames(lambda: fleet.hosts, FORGET_S).resolve(name)) == shown(
            names.resolve(name)
        )


def test_the_first_host_gives_the_key_also_if_it_has_its_model_last(fleet: Fleet) -> None:
    """Where a name is written as no host has it, and hosts write it in two ways."""
    first, second, third, _ = fleet.hosts
    for host in fleet.hosts:
        change(host, {})
    names = HomesOfNames(lambda: fleet.hosts, FORGET_S)
    for host, key in (
        (second, "qwen/qwen3-8b"),
        (third, "Qwen/Qwen3-8B"),
        (first, "Qwen/Qwen3-8B"),
    ):
        change(host, {key: True})
        names.note_change(host)
        fresh = HomesOfNames(lambda: fleet.hosts, FORGET_S).resolve("QWEN/qwen3-8b")
        assert shown(fresh) == shown(names.resolve("QWEN/qwen3-8b"))


def test_who_has_missed_many_changes_looks_at_all(fleet: Fleet) -> None:
    """Only the last ones are remembered."""
    for host in fleet.hosts:
        change(host, {})
    names = HomesOfNames(lambda: fleet.hosts, FORGET_S)
    assert None is names.resolve("x")
    change(fleet.hosts[1], {"x": True})
    names.note_change(fleet.hosts[1])
    for _ in range(1000):
        names.note_change(fleet.hosts[0])
    found = names.resolve("x")
    assert found is not None
    assert {1} == found.hosts


def test_a_host_that_is_forgotten_is_news_once(fleet: Fleet) -> None:
    """And one that is back, though its list is as it was."""
    for each in fleet.hosts:
        change(each, {})
    host = fleet.hosts[2]
    change(host, {"x": True})
    names = HomesOfNames(lambda: fleet.hosts, FORGET_S)
    names.note_change(None)
    for models in (None, {"x": True}):
        assert not names.is_news(host)
        change(host, models)
        assert names.is_news(host)
        names.note_change(host)
        assert (names.resolve("x") is None) == (models is None)

"""The snapshot of hosts and homes: what a change makes of it, and what it shares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.view import LOADED, LOADING, UNLOADED, HomeFacts, HostFacts, View

HOSTS = [HostFacts(name) for name in "abc"]
homes = st.builds(HomeFacts, st.sampled_from([LOADED, LOADING, UNLOADED]), st.sampled_from([0, 9]))
lists = st.dictionaries(st.sampled_from(["x", "y", "z"]), homes)


def view_of(by_host: list[dict[str, HomeFacts]]) -> View:
    """Return a view of what each host lists."""
    models: dict[str, dict[int, HomeFacts]] = {}
    for number, listed in enumerate(by_host):
        for model, home in listed.items():
            models.setdefault(model, {})[number] = home
    return View.of(HOSTS, models, [0] * 3, [0.0] * 3)


def shown(view: View) -> object:
    """Return what a view says, to compare it with another."""
    return {model: homes.by_host for model, homes in view.homes.items()}, view.held


@given(st.lists(lists, min_size=3, max_size=3), st.integers(0, 2), lists)
def test_a_new_list_of_one_host(
    before: list[dict[str, HomeFacts]], number: int, listed: dict[str, HomeFacts]
) -> None:
    """It is as if the view had been made of all lists; the old view stays as it was."""
    view = view_of(before)
    was = shown(view)
    after = view.with_host(number, listed)

    assert shown(view_of([*before[:number], listed, *before[number + 1 :]])) == shown(after)
    assert was == shown(view)


@given(st.lists(lists, min_size=3, max_size=3), st.integers(0, 2))
def test_the_same_list_changes_nothing(before: list[dict[str, HomeFacts]], number: int) -> None:
    """What was prepared for decisions is kept while lists say the same."""
    view = view_of(before)
    assert view is view.with_host(number, before[number])


def test_other_models_are_shared() -> None:
    """A change of one model does not cost the preparation of the others."""
    view = view_of([{"x": HomeFacts(LOADED), "y": HomeFacts(LOADED)}, {}, {}])
    after = view.with_home("x", 1, HomeFacts(LOADING))

    assert view.homes["y"] is after.homes["y"]
    assert (2, 1, 0) == after.held


def test_kinds_of_needs_are_few() -> None:
    """Clients can ask for any context; only those between listed ones make a kind of needs."""
    homes = view_of([{"x": HomeFacts(LOADED, 100)}, {"x": HomeFacts(LOADED, 200)}, {}]).homes["x"]
    kinds = {id(homes.levels_for(0, context, HOSTS)) for context in range(1000)}
    assert 3 == len(kinds)

"""The snapshot of hosts and homes: what a change makes of it, and what it shares."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.fleet.view import LOADED, LOADING, UNLOADED, HomeFacts, HostFacts, ModelHomes, View

HOSTS = [HostFacts(name) for name in "abc"]
homes = st.builds(
    HomeFacts,
    st.sampled_from([LOADED, LOADING, UNLOADED]),
    st.sampled_from([0, 5, 9]),
    st.sampled_from([0, 2]),
    st.sampled_from([0, 8]),
)


def view_of(by_host: list[dict[str, HomeFacts]]) -> View:
    """Return a view of what each host lists."""
    models: dict[str, dict[int, HomeFacts]] = {}
    for number, listed in enumerate(by_host):
        for model, home in listed.items():
            models.setdefault(model, {})[number] = home
    return View.of(HOSTS, models, [0] * 3, [0.0] * 3)


@given(
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 59), st.none() | homes), max_size=40),
    st.lists(st.tuples(st.sampled_from([0, 2]), st.sampled_from([0, 5, 9, 12]))),
)
def test_homes_that_change_one_by_one(
    count: int,
    changes: list[tuple[int, HomeFacts | None]],
    kinds: list[tuple[int, int]],
) -> None:
    """The levels are as if they had been made of all homes; those of before stay as they were."""
    facts = [HostFacts(f"host {n}", 1 + n % 2, 1 + n % 3, 1.0 + n % 2) for n in range(60)]
    by_host = {number: HomeFacts(LOADED, 9) for number in range(count)}
    known = first = ModelHomes(dict(by_host))
    before = [levels_of(first, kind, facts) for kind in kinds]
    for number, home in changes:
        by_host.pop(number, None)
        if home is not None:
            by_host[number] = home
        known = known.with_home(number, home, facts)
        made = ModelHomes(dict(by_host))
        assert made.by_host == known.by_host
        for kind in kinds:
            assert levels_of(made, kind, facts) == levels_of(known, kind, facts)
    assert before == [levels_of(first, kind, facts) for kind in kinds]


def levels_of(homes: ModelHomes, kind: tuple[int, int], facts: list[HostFacts]) -> object:
    """Return all that a decision reads of the levels for a kind of needs."""
    running = list(range(len(facts)))
    return [
        (
            (level.tier, level.step, level.state, level.size, level.mean_load(running)),
            level.parts,
            [part.numbers for part in level.parts_for(7)],
        )
        for level in homes.levels_for(*kind, facts)
    ]


def test_the_same_home_changes_nothing() -> None:
    """What was prepared for decisions is kept while lists say the same."""
    homes = ModelHomes({0: HomeFacts(LOADED)})
    assert homes is homes.with_home(0, HomeFacts(LOADED), HOSTS)


def test_other_models_are_shared() -> None:
    """A change of one model does not cost the preparation of the others."""
    view = view_of([{"x": HomeFacts(LOADED), "y": HomeFacts(LOADED)}, {}, {}])
    after = view.with_home("x", 1, HomeFacts(LOADING))

    assert view.homes["y"] is after.homes["y"]
    assert [2, 1, 0] == after.held


def test_kinds_of_needs_are_few() -> None:
    """Clients can ask for any context; only those between listed ones make a kind of needs."""
    homes = view_of([{"x": HomeFacts(LOADED, 100)}, {"x": HomeFacts(LOADED, 200)}, {}]).homes["x"]
    kinds = {id(homes.levels_for(0, context, HOSTS)) for context in range(1000)}
    assert 3 == len(kinds)

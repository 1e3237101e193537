"""
Random histories break no rule of the lifecycle (docs/lifecycle.md).

`--histories N` runs N of them, other ones each time; without it a fixed set runs.
"""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conformance.tests.gateway.lifecycle.histories import (
    BASES,
    GATEWAYS,
    NAMES,
    Act,
    Ask,
    History,
    play,
)

USUAL = 150
LOADING_S = 2.02
"""How long the first request waits for its model, to some milliseconds: lists and a load."""

gateways = st.integers(0, GATEWAYS - 1)
asks = st.builds(
    Ask,
    gateway=gateways,
    name=st.sampled_from(NAMES),
    lasts_s=st.sampled_from([0.0, 0.5, 5.0, 60.0, 400.0]),
    keep_alive=st.sampled_from([None, None, None, 0, 1, 20, 600, -1]),
    num_ctx=st.sampled_from([None, None, None, 2048, 8192, 16384]),
    leaves_after_s=st.sampled_from([None, None, None, 0.0, 0.015, 1.0, 3.0, 50.0]),
)
acts = st.builds(
    Act,
    what=st.sampled_from(
        [
            "unload",
            "load by hand",
            "unload by hand",
            "crash",
            "restart host",
            "lock",
            "fail unload",
        ]
    ),
    gateway=gateways,
    base=st.sampled_from(BASES),
)
pauses = st.sampled_from([0.0, 0.001, 0.02, 0.3, 1.1, 2.5, 7.0, 31.0, 130.0, 400.0])
histories = st.builds(
    History,
    steps=st.lists(st.tuples(pauses, asks | asks | asks | acts), min_size=1, max_size=25),
    ends=st.lists(st.sampled_from(["well", "well", "failed", "cut", "proxy", "slow"]), max_size=6),
    room=st.sampled_from([0, 0, 1, 2, 3]),
    max_loaded=st.sampled_from([0, 0, 0, 1, 2]),
    keep_alive=st.sampled_from(["0", "10s", "5m"]),
)


@pytest.mark.parametrize("later_s", [-1.0, *(ms / 1000 for ms in range(0, 30, 2)), 0.3, 1.0])
@pytest.mark.parametrize(("room", "max_loaded"), [(1, 0), (0, 1)], ids=["memory", "number"])
def test_a_model_that_is_never_idle_makes_room(room: int, max_loaded: int, later_s: float) -> None:
    """A request for it that comes as an answer ends, or before, waits behind the earlier load."""
    used, wanted = NAMES[3:5]
    ends_at = 20.0
    broken, story = play(
        History(
            steps=[
                (0.0, Ask(0, used, lasts_s=ends_at)),
                (5.0, Ask(0, wanted, lasts_s=3.0)),
                *[(pause_s, Ask(0, used, lasts_s=9.0)) for pause_s in (4.0, 4.0, 4.0)],
                (ends_at + LOADING_S - 17.0 + later_s, Ask(0, used, lasts_s=9.0)),
            ],
            room=room,
            max_loaded=max_loaded,
        )
    )
    assert not broken, "\n".join(story)
    answers = [line.rsplit(" ", 1)[1] for line in story if "answers from" in line]
    assert [used, wanted, *[used] * 4] == answers, "\n".join(story)


def test_a_use_is_taken_back_when_its_client_leaves_as_it_is_shown() -> None:
    """In every step of that; the other gateway unloads the model when its keep-alive is over."""
    for ms in range(30):
        broken, story = play(
            History(
                steps=[
                    (0.0, Ask(0, NAMES[3], lasts_s=0.0)),
                    (5.0, Ask(1, NAMES[3], lasts_s=0.0)),
                    (130.0, Ask(1, NAMES[3], lasts_s=0.0, leaves_after_s=(ms + 0.5) / 1000)),
                ]
            )
        )
        assert not broken, "\n".join(story)


def test_a_variant_that_grows_for_the_bare_key_stays_that_variant() -> None:
    """Another one in its place would be nobody's, and would never be unloaded."""
    key, _, variant = NAMES[:3]
    broken, story = play(
        History(
            steps=[
                (0.0, Ask(0, variant, lasts_s=1.0)),
                (9.0, Ask(0, key, lasts_s=1.0, num_ctx=8192)),
            ]
        )
    )
    assert not broken, "\n".join(story)
    answers = [line.rsplit(" ", 1)[1] for line in story if "answers from" in line]
    assert [BASES[1]] * 2 == answers, "\n".join(story)


def test_histories_break_no_rule(request: pytest.FixtureRequest) -> None:
    """Nothing is loaded twice, cut, taken from a user, left behind or kept waiting."""
    number = request.config.getoption("--histories")

    @settings(
        max_examples=number or USUAL,
        derandomize=not number,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(histories)
    def check(history: History) -> None:
        broken, story = play(history)
        assert not broken, "\n".join([*broken, "", *story])

    check()

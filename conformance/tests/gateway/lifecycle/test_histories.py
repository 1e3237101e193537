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

"""The clock that durations come from."""

import time

import pytest

from conformance.tests.gateway.support import Pair, chat, generate


async def test_durations_are_finer_than_windows_monotonic_clock(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still for 15.6 ms, in which a whole answer fits; clients divide by durations."""
    monkeypatch.setattr(time, "monotonic_ns", lambda: 1_000_000_000)

    said = (await pair.post("/api/chat", chat())).json()
    assert said["total_duration"] > 0
    assert said["eval_duration"] > 0
    generated = (await pair.post("/api/generate", generate())).json()
    assert generated["total_duration"] > 0

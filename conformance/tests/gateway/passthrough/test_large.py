"""Large bodies that are passed on: what looks through them does so outside of the event loop."""

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from conformance.tests.gateway.support import CHAT, chat, open_pair
from gateway import transforms
from gateway.passthrough import preparing
from gateway.runtime import patching
from gateway.transforms import _raw
from gateway.transforms._raw import found_in
from gateway.wire.reading import AT_ONCE


@pytest.mark.parametrize("is_large", [False, True])
async def test_a_large_body_is_looked_through_in_a_thread(
    monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """A small one is at once: a thread costs more than the look."""
    threads: dict[str, bool] = {}

    def noting(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*values: Any, **named: Any) -> Any:
            threads[name] = threading.current_thread() is not threading.main_thread()
            return work(*values, **named)

        return noted

    look = noting("look", transforms.may_have_refused_url)
    monkeypatch.setattr(transforms, "may_have_refused_url", look)
    monkeypatch.setattr(preparing, "changed", noting("change", patching.changed))
    text = "x" * (AT_ONCE if is_large else 1)
    async with open_pair() as pair:
        answer = await pair.post(CHAT, chat(text=text))
        assert 200 == answer.status_code, answer.text
        assert text == pair.bodies(CHAT)[-1]["messages"][0]["content"]

    assert {"look": is_large, "change": is_large} == threads


def test_a_search_in_windows_finds_what_stands_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they meet."""
    monkeypatch.setattr(_raw, "SEARCHED_BYTES", 100)
    for at in range(300):
        text = b"x" * at + b'"image_url"' + b"y" * 50
        assert found_in(Raw(text), re.compile(b'"image_url"'))
    assert not found_in(Raw(b"x" * 300), re.compile(b'"image_url"'))

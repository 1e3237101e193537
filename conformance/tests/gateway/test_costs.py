"""
How many calls of LM Studio one call of a client costs, with the catalogue just seen.
"""

from typing import Any

import pytest

from conformance.tests.gateway.support import LIST, LOADED, LOADED_EMBEDDER, Pair

MESSAGES = [{"role": "user", "content": "hi"}]
CALLS: list[tuple[str, dict[str, Any], int]] = [
    ("/api/chat", {"model": LOADED, "messages": MESSAGES}, 1),
    ("/api/chat", {"model": LOADED, "messages": MESSAGES, "stream": False}, 1),
    ("/api/generate", {"model": LOADED, "prompt": "hi"}, 1),
    ("/api/embed", {"model": LOADED_EMBEDDER, "input": ["a", "b"]}, 1),
    ("/api/show", {"model": LOADED}, 0),
]


@pytest.mark.parametrize(("path", "body", "calls"), CALLS)
async def test_a_call_costs_one_call(
    kept: Pair, path: str, body: dict[str, Any], calls: int
) -> None:
    """A model that is loaded and known is neither looked up nor loaded again."""
    for _ in range(3):
        kept.forget()
        answer = await kept.client.post(path, json=body)
        assert 200 == answer.status_code
        assert calls == len(kept.standin.log.select()), "what was asked of LM Studio"


async def test_a_list_costs_no_call_while_it_is_fresh(kept: Pair) -> None:
    """The catalogue is fetched once for all who want it within its time."""
    for _ in range(3):
        assert 200 == (await kept.client.get("/api/tags")).status_code
    assert [] == kept.asked(LIST)

"""
A prompt that LM Studio refuses for its length gets more context once (docs/lifecycle.md,
docs/facts/lmstudio.md#context-overflow).
"""

from typing import Any

import pytest

from conformance.tests.gateway.lifecycle.test_context_length import contexts, wanting
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LOAD,
    LOADED,
    Pair,
    chat,
    generate,
    open_pair,
)

REFUSALS = ["overflow_keep_first", "overflow_truncate", "overflow_n_keep", "overflow_exceeded"]


@pytest.mark.parametrize("error", REFUSALS)
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", chat(COLD)),
        ("/api/chat", chat(COLD, stream=True)),
        ("/api/generate", generate(COLD)),
        (CHAT, chat(COLD)),
        (CHAT, chat(COLD, stream=True)),
    ],
    ids=["chat", "streamed chat", "generate", "passed chat", "passed stream"],
)
async def test_a_prompt_that_is_too_long_gets_more_context(
    fresh: Pair, error: str, path: str, body: dict[str, Any]
) -> None:
    """The own model is loaded again, and the client sees only the answer."""
    await fresh.post("/api/chat", wanting(4096))
    fresh.script({"match": {"path": CHAT}, "nth": 1, "error": error})
    answer = await fresh.post(path, body)
    assert 200 == answer.status_code, answer.text
    assert "error" not in answer.text
    first, second = contexts(fresh)
    assert first == 4096
    assert second is not None
    assert 4096 < second <= 32768
    assert 3 == len(fresh.asked(CHAT))


async def test_the_prompt_says_how_much_is_needed(fresh: Pair) -> None:
    """It gets that and a quarter more, not all that there may be."""
    await fresh.post("/api/chat", wanting(4096))
    fresh.script({"match": {"path": CHAT}, "nth": 1, "error": "overflow_keep_first"})
    assert 200 == (await fresh.post("/api/chat", chat(COLD))).status_code
    assert [4096, 7168] == contexts(fresh)


async def test_it_is_tried_once(fresh: Pair) -> None:
    """Then LM Studio's words are told."""
    await fresh.post("/api/chat", wanting(4096))
    fresh.script({"match": {"path": CHAT}, "error": "overflow_keep_first"})
    answer = await fresh.post("/api/chat", chat(COLD))
    assert 400 == answer.status_code
    assert "keep the first" in answer.json()["error"]
    assert 2 == len(fresh.asked(LOAD))


@pytest.mark.parametrize(
    ("models", "key"),
    [({"grow_for_prompt": False}, COLD), ({"context_policy": "ignore"}, COLD), ({}, LOADED)],
    ids=["switched off", "no context by request", "loaded by somebody else"],
)
async def test_it_may_not_grow(models: dict[str, Any], key: str) -> None:
    """The refusal is told at once; nothing is loaded for it."""
    async with open_pair({"models": models}) as pair:
        await pair.post("/api/chat", chat(key))
        loads = len(pair.asked(LOAD))
        pair.script({"match": {"path": CHAT}, "error": "overflow_keep_first"})
        for path in ("/api/chat", CHAT):
            assert 400 == (await pair.post(path, chat(key))).status_code
        assert loads == len(pair.asked(LOAD))


async def test_it_grows_no_further_than_the_cap() -> None:
    """A prompt that is longer than that is refused without a load."""
    async with open_pair({"models": {"context_cap": 4500}}) as pair:
        await pair.post("/api/chat", wanting(4096))
        pair.script({"match": {"path": CHAT}, "error": "overflow_keep_first"})
        assert 400 == (await pair.post("/api/chat", chat(COLD))).status_code
        assert [4096] == contexts(pair)

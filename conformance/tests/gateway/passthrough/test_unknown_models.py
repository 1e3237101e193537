"""
Names that nobody knows on /v1, for clients that have names of their own (docs/models.md).
"""

from typing import Any

import pytest

from conformance.tests.gateway.support import CHAT, LOADED, Pair, chat, open_pair

BUILT_IN = "gpt-3.5-turbo"
NEAR = LOADED.replace("tiny-plain", "tiny-plane")


async def test_a_refusal_says_how_another_model_could_serve(pair: Pair) -> None:
    """In a header: the text is Ollama's."""
    answer = await pair.post(CHAT, chat(BUILT_IN))
    assert 404 == answer.status_code
    assert f"model '{BUILT_IN}' not found" == answer.json()["error"]["message"]
    assert "models.unknown" in answer.headers["x-olgate-hint"]


@pytest.mark.parametrize(
    ("unknown", "asked"),
    [(LOADED, BUILT_IN), (f"{LOADED}:latest", BUILT_IN), ("nearest", NEAR)],
)
async def test_another_model_may_serve(unknown: str, asked: str) -> None:
    """The client is told in a header."""
    async with open_pair({"models": {"unknown": unknown}}) as pair:
        answer = await pair.post(CHAT, chat(asked))
        assert 200 == answer.status_code, answer.text
        assert [LOADED] == [body["model"] for body in pair.bodies(CHAT)]
        assert LOADED in answer.headers["x-olgate-warning"]
        assert "x-olgate-hint" not in answer.headers


@pytest.mark.parametrize(
    ("unknown", "asked"),
    [("nearest", BUILT_IN), ("nearest", "orchard/pebble"), ("no/such-model", BUILT_IN)],
    ids=["nothing is near", "two variants are near", "the setting's model is not there"],
)
async def test_a_doubtful_name_is_refused(unknown: str, asked: str) -> None:
    """Guessing stops where more than one model could be meant."""
    async with open_pair({"models": {"unknown": unknown}}) as pair:
        assert 404 == (await pair.post(CHAT, chat(asked))).status_code
        assert [] == pair.asked(CHAT)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", chat(BUILT_IN)),
        ("/api/show", {"model": BUILT_IN}),
        ("/api/v0/chat/completions", chat(BUILT_IN)),
        ("/api/v1/models/load", {"model": BUILT_IN}),
    ],
)
async def test_only_v1_serves_another_model(path: str, body: dict[str, Any]) -> None:
    """Elsewhere a name means what it says."""
    async with open_pair({"models": {"unknown": LOADED}}) as pair:
        answer = await pair.post(path, body)
        assert 404 == answer.status_code, answer.text
        assert "x-olgate-hint" not in answer.headers

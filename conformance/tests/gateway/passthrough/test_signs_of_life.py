"""Comments in an event stream while LM Studio is silent, and where there are none."""

from typing import Any

import pytest

from conformance.tests.gateway.support import CHAT, LOADED, chat, open_pair
from gateway.passthrough.signs_of_life import COMMENT

pytestmark = pytest.mark.asyncio(loop_scope="session")

OFTEN = {"answers": {"sign_of_life_s": 0.02}}
FIRST = 'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
LAST = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
SILENCE_MS = 300


def spoken(*parts: str) -> dict[str, Any]:
    """Return a rule by which LM Studio is silent before each part but the first."""
    chunks = [[SILENCE_MS if place else 0, part] for place, part in enumerate(parts)]
    headers = {"content-type": "text/event-stream"}
    return {"match": {"path": CHAT}, "answer": {"headers": headers, "chunks": chunks}}


async def test_a_silent_stream_gets_comments() -> None:
    """Between two events, and LM Studio's own bytes stay as they are."""
    async with open_pair(OFTEN) as pair:
        pair.script(spoken(FIRST, LAST))
        answer = await pair.client.post(CHAT, json={**chat(), "stream": True})

    assert FIRST.encode() + COMMENT == answer.content[: len(FIRST) + len(COMMENT)]
    assert (FIRST + LAST).encode() == answer.content.replace(COMMENT, b"")


async def test_no_comment_cuts_an_event() -> None:
    """Part of an event has come: a comment must not stand within its line."""
    async with open_pair(OFTEN) as pair:
        pair.script(spoken(FIRST + LAST[:20], LAST[20:]))
        answer = await pair.client.post(CHAT, json={**chat(), "stream": True})

    assert (FIRST + LAST).encode() == answer.content.replace(COMMENT, b"")
    assert LAST.encode() in answer.content


@pytest.mark.parametrize("settings", [{"answers": {"sign_of_life_s": 0}}, None])
async def test_no_comment_without_need(settings: dict[str, Any] | None) -> None:
    """When they are switched off, and within the default of 15 seconds."""
    async with open_pair(settings) as pair:
        pair.script(spoken(FIRST, LAST))
        answer = await pair.client.post(CHAT, json={**chat(), "stream": True})

    assert (FIRST + LAST).encode() == answer.content


async def test_lines_get_no_comments() -> None:
    """A blank line breaks clients of Ollama's own routes (clients.md#blank-lines)."""
    async with open_pair(OFTEN) as pair:
        pair.script(spoken(FIRST, LAST))
        body = {"model": LOADED, "messages": [{"role": "user", "content": "Hi"}]}
        answer = await pair.client.post("/api/chat", json=body)

    assert all(line.startswith(b"{") for line in answer.content.splitlines())

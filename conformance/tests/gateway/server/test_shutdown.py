"""What a request does when the server cancels it: a last word, and the upstream closed."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from conformance.tests.gateway.support import (
    CHAT,
    LOADED_EMBEDDER,
    Pair,
    chat,
    generate,
)

GOING_DOWN = '{"error":"the gateway is shutting down"}'


async def read_until_cancelled(pair: Pair, path: str, body: dict[str, Any]) -> list[str]:
    """Read a stream whose request is cancelled in its middle; return its lines."""
    pair.script({"match": {"path": CHAT}, "hold": "rest", "after": 3})
    lines: list[str] = []
    async with pair.client.stream("POST", path, json=body) as answer:
        assert 200 == answer.status_code
        async for line in answer.aiter_lines():
            if not lines:
                pair.app.tasks[path].cancel()
            lines.append(line)
    await pair.until_left(CHAT)
    return lines


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/chat", chat(stream=True)), ("/api/generate", generate(stream=True))],
)
async def test_a_stream_ends_with_a_line_that_says_why(
    pair: Pair, path: str, body: dict[str, Any]
) -> None:
    """Never with a line that says it is done, and never without a word."""
    *before, last = await read_until_cancelled(pair, path, body)
    assert GOING_DOWN == last
    assert before
    assert all('"done":false' in line for line in before)


async def test_a_stream_that_is_passed_through_ends_with_an_event_that_says_why(
    pair: Pair,
) -> None:
    """In the caller's words, and without the mark of an end."""
    lines = await read_until_cancelled(pair, CHAT, chat(stream=True))
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    assert "the gateway is shutting down" == events.pop()["error"]["message"]
    assert events
    assert not any("error" in event for event in events)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", chat()),
        ("/api/chat", chat(stream=True)),
        ("/api/embed", {"model": LOADED_EMBEDDER, "input": "Why?"}),
        (CHAT, chat()),
    ],
    ids=["chat", "streamed chat", "embed", "passed"],
)
async def test_a_request_without_an_answer_yet_is_closed_upstream(
    pair: Pair, path: str, body: dict[str, Any]
) -> None:
    """LM Studio may stop at once; the server decides what the client gets."""
    pair.script({"match": {"path": "/v1/*"}, "hold": "prompt"})
    asking = asyncio.create_task(pair.post(path, body))
    await pair.until(lambda: any(one.path.startswith("/v1/") for one in pair.standin.seen))
    pair.app.tasks[path].cancel()
    await pair.until(lambda: any(one.left for one in pair.standin.seen))
    answer = (await asyncio.gather(asking, return_exceptions=True))[0]
    assert not isinstance(answer, httpx.Response) or answer.status_code >= 500

"""What is left of a large request while its answer comes."""

import json
from typing import Any

import msgspec

from conformance.tests.gateway.support import CHAT, chat, open_pair
from gateway.engine.shortening import LONG, encode_and_shorten
from gateway.transforms.counts import prompt_count
from gateway.types import ollama, openai
from gateway.wire.reading import AT_ONCE

TEXT = "x" * (LONG + 1)


def requests() -> tuple[openai.ChatCompletionRequest, ollama.ChatRequest]:
    """Return a request and what is sent for it."""
    messages = [{"role": "user", "content": TEXT}, {"role": "tool", "content": "short"}]
    body = {"model": "m", "messages": messages}
    return (
        msgspec.convert(body, openai.ChatCompletionRequest),
        msgspec.convert(body, ollama.ChatRequest),
    )


def run(work: Any) -> Any:
    """Run steps to their end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def test_estimates_are_those_of_the_whole_request() -> None:
    """Of a long text its length is left, of a short one all."""
    sent, request = requests()
    assert isinstance(request.messages, list)
    before = prompt_count(None, request.messages)
    encoded = run(encode_and_shorten(sent, request))

    assert TEXT == msgspec.json.decode(encoded)["messages"][0]["content"]
    assert before == prompt_count(None, request.messages)
    assert ["", "short"] == [f"{message.content}" for message in request.messages]
    assert len(TEXT) == len(request.messages[0].content or "")


async def test_a_large_body_counts_until_its_answer_streams() -> None:
    """None of its texts is in memory any more then."""
    async with open_pair() as pair:
        pair.script({"match": {"path": CHAT}, "hold": "rest", "after": 2})
        # Blanks make it large, as a long text does not fit into the model's context.
        body = json.dumps(chat(stream=True)).encode() + b" " * AT_ONCE
        async with pair.client.stream("POST", "/api/chat", content=body) as answer:
            lines = answer.aiter_lines()
            first = await anext(lines)
            metrics = (await pair.client.get("/metrics")).text
            pair.release("rest")
            rest = [line async for line in lines]

    assert "error" not in first
    assert "\nolgate_bodies_bytes 0.0\n" in metrics
    assert '"done":true' in rest[-1]

"""
Drives the official SDK of /v1/messages: `python -m conformance.clients.python_anthropic …`.

Ollama has that route since 0.14 (docs/facts/ollama.md#messages-route).
"""

import base64
import sys
from typing import Any

import anthropic
from anthropic import Anthropic

from conformance.clients.scenarios import (
    HELD_QUESTION,
    MISSING_MODEL,
    QUESTION,
    TIME_LIMIT_S,
    WEATHER_QUESTION,
    WEATHER_TOOL,
    Place,
    Scenarios,
    make_png,
    refusal_of,
)

TOOL = {
    "name": "get_weather",
    "description": WEATHER_TOOL["function"]["description"],
    "input_schema": WEATHER_TOOL["function"]["parameters"],
}

scenarios = Scenarios()


def wanted(place: Place, content: Any = QUESTION, **more: Any) -> dict[str, Any]:
    """Return what one question is asked with."""
    messages = [{"role": "user", "content": content}]
    return {"model": place.chat, "max_tokens": 4096, "messages": messages, **more}


def connect(place: Place) -> Any:
    """Return a client for the place; any key must do."""
    return Anthropic(base_url=place.url, api_key="ollama", max_retries=0, timeout=TIME_LIMIT_S)


def ask(place: Place, content: Any = QUESTION, **more: Any) -> Any:
    """Ask one question."""
    return connect(place).messages.create(**wanted(place, content, **more))


def text_of(answer: Any) -> str:
    """Return the text of an answer."""
    return "".join(block.text for block in answer.content if block.type == "text")


@scenarios.add
def chat(place: Place) -> None:
    """A question is answered, with counts and a reason."""
    answer = ask(place, system="Be brief.")
    assert text_of(answer)
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0


@scenarios.add
def chat_stream(place: Place) -> None:
    """A question is answered in events, which the client joins."""
    with connect(place).messages.stream(**wanted(place)) as stream:
        assert len(list(stream.text_stream)) > 2
        assert text_of(stream.get_final_message())


@scenarios.add
def tools_roundtrip(place: Place) -> None:
    """A call is made and its result answered in words."""
    first = ask(place, WEATHER_QUESTION, tools=[TOOL])
    assert first.stop_reason == "tool_use"
    (call,) = [block for block in first.content if block.type == "tool_use"]
    assert isinstance(call.input["city"], str)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "17"}
    messages = [
        {"role": "user", "content": WEATHER_QUESTION},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result]},
    ]
    assert text_of(ask(place, tools=[TOOL], messages=messages))


@scenarios.add
def tools_stream(place: Place) -> None:
    """A streamed call has whole arguments when joined."""
    with connect(place).messages.stream(**wanted(place, WEATHER_QUESTION, tools=[TOOL])) as stream:
        answer = stream.get_final_message()
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert isinstance(call.input["city"], str)


@scenarios.add
def vision(place: Place) -> None:
    """A picture is taken."""
    data = base64.b64encode(make_png()).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    parts = [{"type": "image", "source": source}, {"type": "text", "text": QUESTION}]
    assert text_of(ask(place, parts))


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not there is a 404 with words."""
    error = refusal_of(lambda: ask(place, model=MISSING_MODEL), anthropic.NotFoundError)
    assert "not found" in str(error)


@scenarios.add
def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    with connect(place).messages.stream(**wanted(place, HELD_QUESTION)) as stream:
        next(iter(stream))
    assert text_of(ask(place))


if __name__ == "__main__":
    sys.exit(scenarios.main())

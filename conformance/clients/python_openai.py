"""
Drives the official SDK of the OpenAI dialect: `python -m conformance.clients.python_openai …`.

It asks below /v1, which Ollama has too; models go by the names that Ollama gives them.
"""

import base64
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import openai
from openai import OpenAI

from conformance.clients.scenarios import (
    BROKEN_QUESTION,
    HELD_QUESTION,
    MISSING_MODEL,
    PERSON_QUESTION,
    PERSON_SCHEMA,
    QUESTION,
    TIME_LIMIT_S,
    TIME_TOOL,
    TWO_QUESTION,
    WEATHER_QUESTION,
    WEATHER_TOOL,
    Place,
    Scenarios,
    check_person,
    make_png,
    refusal_of,
)

scenarios = Scenarios()


def connect(place: Place) -> Any:
    """Return a client for the place; any key must do."""
    return OpenAI(base_url=f"{place.url}/v1", api_key="ollama", max_retries=0, timeout=TIME_LIMIT_S)


def ask(place: Place, question: Any = QUESTION, **more: Any) -> Any:
    """Ask one question."""
    messages = [{"role": "user", "content": question}]
    wanted = {"model": place.chat, "messages": messages, **more}
    return connect(place).chat.completions.create(**wanted)


def text_of(chunks: Sequence[Any]) -> str:
    """Return the text in the chunks of a stream."""
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


@scenarios.add
def models(place: Place) -> None:
    """Models are listed."""
    assert list(connect(place).models.list())


@scenarios.add
def chat(place: Place) -> None:
    """A chat answers in one piece, with its counts."""
    answer = ask(place)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0


@scenarios.add
def chat_stream(place: Place) -> None:
    """A chat answers in chunks, the last with its counts."""
    chunks = list(ask(place, stream=True, stream_options={"include_usage": True}))
    assert len(chunks) > 3
    assert text_of(chunks)
    assert chunks[-1].usage.completion_tokens > 0


@scenarios.add
def options(place: Place) -> None:
    """A limit cuts."""
    answer = ask(place, max_tokens=4, temperature=0, seed=7, reasoning_effort="none")
    assert answer.choices[0].finish_reason == "length"


@scenarios.add
def tools_roundtrip(place: Place) -> None:
    """Calls are made and their results answered in words."""
    messages: list[Any] = [{"role": "user", "content": TWO_QUESTION}]
    wanted = {"model": place.chat, "tools": [WEATHER_TOOL, TIME_TOOL], "messages": messages}
    first = connect(place).chat.completions.create(**wanted).choices[0]
    assert first.finish_reason == "tool_calls"
    names = sorted(call.function.name for call in first.message.tool_calls)
    assert names == ["get_time", "get_weather"]
    messages.append(first.message)
    for call in first.message.tool_calls:
        json.loads(call.function.arguments)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "17"})
    assert connect(place).chat.completions.create(**wanted).choices[0].message.content


@scenarios.add
def tools_stream(place: Place) -> None:
    """The pieces of a call's arguments are JSON when joined."""
    stream = ask(place, WEATHER_QUESTION, tools=[WEATHER_TOOL], stream=True)
    pieces = [call for c in stream if c.choices for call in c.choices[0].delta.tool_calls or ()]
    arguments = "".join(piece.function.arguments or "" for piece in pieces)
    assert isinstance(json.loads(arguments)["city"], str)


@scenarios.add
def tool_choice(place: Place) -> None:
    """A tool can be named as the one to call."""
    named = {"type": "function", "function": {"name": "get_weather"}}
    answer = ask(place, tools=[WEATHER_TOOL, TIME_TOOL], tool_choice=named)
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"


@scenarios.add
def format_schema(place: Place) -> None:
    """With a schema the text is an instance of it."""
    schema = {"name": "person", "schema": PERSON_SCHEMA, "strict": True}
    answer = ask(
        place,
        PERSON_QUESTION,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    check_person(json.loads(answer.choices[0].message.content))


@scenarios.add
def format_json(place: Place) -> None:
    """Any JSON object, which LM Studio alone would refuse."""
    question = f"{PERSON_QUESTION} Answer in JSON."
    answer = ask(place, question, response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


@scenarios.add
def vision(place: Place) -> None:
    """A picture as a data URL is taken, and counts."""
    url = f"data:image/png;base64,{base64.b64encode(make_png()).decode()}"
    parts = [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    assert ask(place, parts).usage.prompt_tokens > ask(place).usage.prompt_tokens


@scenarios.add
def responses(place: Place) -> None:
    """The newer route answers, whole and streamed."""
    client = connect(place)
    assert client.responses.create(model=place.chat, input=QUESTION).output_text
    kinds = [e.type for e in client.responses.create(model=place.chat, input=QUESTION, stream=True)]
    assert "response.output_text.delta" in kinds
    assert kinds[-1] == "response.completed"


@scenarios.add
def completions(place: Place) -> None:
    """A prompt is carried on."""
    answer = connect(place).completions.create(model=place.chat, prompt="The lighthouse stood on")
    assert answer.choices[0].text


@scenarios.add
def embed(place: Place) -> None:
    """Vectors, which this client asks for in base64."""
    texts = ["harbour", "a lantern in the fog"]
    answer = connect(place).embeddings.create(model=place.embedding, input=texts)
    assert len(answer.data) == len(texts)
    assert math.hypot(*answer.data[0].embedding) > 0


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not there is a 404 with words."""
    error = refusal_of(lambda: ask(place, model=MISSING_MODEL), openai.NotFoundError)
    assert "not found" in str(error)
    error = refusal_of(
        lambda: connect(place).embeddings.create(model=MISSING_MODEL, input="x"),
        openai.NotFoundError,
    )
    assert "not found" in str(error)


@scenarios.add
def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    stream = ask(place, HELD_QUESTION, stream=True)
    next(iter(stream))
    stream.close()
    assert ask(place).choices[0].message.content


@scenarios.add
def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error."""
    refusal_of(lambda: list(ask(place, BROKEN_QUESTION, stream=True)), Exception)


if __name__ == "__main__":
    sys.exit(scenarios.main())

"""
Drives any-llm-sdk: `python -m conformance.clients.python_any_llm URL CHAT EMBEDDING`.

It makes levels of thinking of a reasoning effort, and lists models.
"""

import base64
import json
import sys
from typing import Any

import any_llm

from conformance.clients.scenarios import (
    BROKEN_QUESTION,
    HELD_QUESTION,
    MISSING_MODEL,
    PERSON_QUESTION,
    PERSON_SCHEMA,
    QUESTION,
    WEATHER_QUESTION,
    WEATHER_TOOL,
    Place,
    Scenarios,
    check_person,
    check_unit,
    make_png,
    refusal_of,
)

scenarios = Scenarios()


def ask(place: Place, content: Any = QUESTION, **more: Any) -> Any:
    """Ask one question."""
    messages = [{"role": "user", "content": content}]
    wanted = {"model": place.chat, "provider": "ollama", "messages": messages}
    return any_llm.completion(**{**wanted, "api_base": place.url, **more})


@scenarios.add
def models(place: Place) -> None:
    """Models are listed."""
    names = [model.id for model in any_llm.list_models("ollama", api_base=place.url)]
    assert f"{place.chat}:latest" in names


@scenarios.add
def chat(place: Place) -> None:
    """A question is answered, with its counts."""
    answer = ask(place)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


@scenarios.add
def stream(place: Place) -> None:
    """A question is answered in pieces."""
    chunks = list(ask(place, stream=True))
    assert len([c for c in chunks if c.choices and c.choices[0].delta.content]) > 2


@scenarios.add
def tools(place: Place) -> None:
    """A tool is called."""
    (call,) = ask(place, WEATHER_QUESTION, tools=[WEATHER_TOOL]).choices[0].message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["city"], str)


@scenarios.add
def tools_roundtrip(place: Place) -> None:
    """A call's result is answered in words."""
    messages: list[Any] = [{"role": "user", "content": WEATHER_QUESTION}]
    first = ask(place, messages=messages, tools=[WEATHER_TOOL]).choices[0].message
    (call,) = first.tool_calls
    messages.append(first)
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "17"})
    second = ask(place, messages=messages, tools=[WEATHER_TOOL]).choices[0].message
    assert second.content
    assert not second.tool_calls


@scenarios.add
def tools_stream(place: Place) -> None:
    """A streamed call is whole."""
    chunks = list(ask(place, WEATHER_QUESTION, tools=[WEATHER_TOOL], stream=True))
    (call,) = [one for c in chunks for one in c.choices[0].delta.tool_calls or ()]
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


@scenarios.add
def response_format(place: Place) -> None:
    """With a schema the text is an instance of it."""
    schema = {"name": "person", "schema": PERSON_SCHEMA}
    wanted = {"type": "json_schema", "json_schema": schema}
    answer = ask(place, PERSON_QUESTION, response_format=wanted)
    check_person(json.loads(answer.choices[0].message.content))


@scenarios.add
def reasoning(place: Place) -> None:
    """Thinking is kept apart from the text."""
    assert ask(place, reasoning_effort="low").choices[0].message.reasoning


@scenarios.add
def reasoning_stream(place: Place) -> None:
    """Thinking comes in pieces of its own."""
    chunks = list(ask(place, stream=True, reasoning_effort="high"))
    assert any(c.choices[0].delta.reasoning for c in chunks)
    assert any(c.choices[0].delta.content for c in chunks)


@scenarios.add
def reasoning_none(place: Place) -> None:
    """Without thinking there is none."""
    message = ask(place, reasoning_effort="none").choices[0].message
    assert message.content
    assert not message.reasoning


@scenarios.add
def vision(place: Place) -> None:
    """A picture is taken."""
    url = f"data:image/png;base64,{base64.b64encode(make_png()).decode()}"
    parts = [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    assert ask(place, parts).choices[0].message.content


@scenarios.add
def embed(place: Place) -> None:
    """Vectors of one text and of two, each of length one."""
    wanted = {"model": place.embedding, "provider": "ollama", "api_base": place.url}
    for texts in (QUESTION, ["harbour", "fog"]):
        answer: Any = any_llm.embedding(**wanted, inputs=texts)
        assert len(answer.data) == (1 if texts == QUESTION else 2)
        for one in answer.data:
            check_unit(one.embedding)


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not there."""
    error = refusal_of(lambda: ask(place, model=MISSING_MODEL), Exception)
    assert "not found" in str(error)


@scenarios.add
def missing_model_stream(place: Place) -> None:
    """A streamed chat with a model that is not there."""
    error = refusal_of(lambda: list(ask(place, model=MISSING_MODEL, stream=True)), Exception)
    assert "not found" in str(error)


@scenarios.add
def missing_embed_model(place: Place) -> None:
    """Vectors of a model that is not there."""
    wanted: Any = {"model": MISSING_MODEL, "provider": "ollama", "api_base": place.url}
    error = refusal_of(lambda: any_llm.embedding(**wanted, inputs="x"), Exception)
    assert "not found" in str(error)


@scenarios.add
async def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    wanted: Any = {"model": place.chat, "provider": "ollama", "api_base": place.url}
    held = [{"role": "user", "content": HELD_QUESTION}]
    stream: Any = await any_llm.acompletion(**wanted, messages=held, stream=True)
    assert (await anext(stream)).choices
    await stream.aclose()
    asked = [{"role": "user", "content": QUESTION}]
    assert (await any_llm.acompletion(**wanted, messages=asked)).choices[0].message.content


@scenarios.add
def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error."""
    assert str(refusal_of(lambda: list(ask(place, BROKEN_QUESTION, stream=True)), Exception))


if __name__ == "__main__":
    sys.exit(scenarios.main())

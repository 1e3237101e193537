"""
Drives pydantic-ai with its Ollama provider: `python -m conformance.clients.python_pydantic_ai …`.

It asks below /v1, and sends assistant turns whose content is null
(docs/facts/clients.md#missing-content, docs/facts/clients.md#openai-shapes).
"""

import sys
from typing import Any

import openai
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.ollama import OllamaProvider

from conformance.clients.scenarios import (
    BROKEN_QUESTION,
    HELD_QUESTION,
    MISSING_MODEL,
    PERSON_QUESTION,
    QUESTION,
    WEATHER_QUESTION,
    Place,
    Scenarios,
    make_png,
    refusal_of,
)

scenarios = Scenarios()


class Person(BaseModel):
    """A person, as asked for in structured answers."""

    name: str
    age: int


def connect(place: Place, name: str = "", **more: Any) -> Any:
    """Return an agent on a model of the place."""
    provider = OllamaProvider(base_url=f"{place.url}/v1", api_key="ollama")
    return Agent(OpenAIChatModel(name or place.chat, provider=provider), **more)


@scenarios.add
def chat(place: Place) -> None:
    """A question is answered, with its counts."""
    answer = connect(place).run_sync(QUESTION)
    assert answer.output
    assert answer.usage.output_tokens > 0


@scenarios.add
async def chat_stream(place: Place) -> None:
    """A question is answered in pieces."""
    async with connect(place).run_stream(QUESTION) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 2


@scenarios.add
def tools(place: Place) -> None:
    """A tool is called and its result answered in words."""
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        asked.append(city)
        return "17"

    assert connect(place, tools=[get_weather]).run_sync(WEATHER_QUESTION).output
    assert len(asked) == 1


@scenarios.add
async def tools_stream(place: Place) -> None:
    """A streamed call is whole, and its result answered in pieces."""
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        asked.append(city)
        return "17"

    agent = connect(place, tools=[get_weather])
    async with agent.run_stream(WEATHER_QUESTION) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    assert len(asked) == 1
    assert "".join(pieces)


@scenarios.add
def options(place: Place) -> None:
    """Options are taken, and a limit cuts."""
    settings = {"max_tokens": 4, "temperature": 0.0, "seed": 7, "openai_reasoning_effort": "none"}
    answer = connect(place).run_sync(QUESTION, model_settings=settings)
    assert answer.usage.output_tokens <= 4


@scenarios.add
def thinking(place: Place) -> None:
    """Thinking is kept apart from the text."""
    answer = connect(place).run_sync(QUESTION)
    parts = [part for message in answer.all_messages() for part in message.parts]
    assert any(part.part_kind == "thinking" and part.content for part in parts)
    assert answer.output


@scenarios.add
def output_tool(place: Place) -> None:
    """A typed answer by way of a tool."""
    answer = connect(place, output_type=Person).run_sync(PERSON_QUESTION)
    assert isinstance(answer.output, Person)


@scenarios.add
def output_native(place: Place) -> None:
    """A typed answer by way of a schema."""
    answer = connect(place, output_type=NativeOutput(Person)).run_sync(PERSON_QUESTION)
    assert isinstance(answer.output, Person)


@scenarios.add
def vision(place: Place) -> None:
    """A picture is taken."""
    picture = BinaryContent(make_png(), media_type="image/png")
    assert connect(place).run_sync([QUESTION, picture]).output


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not there."""
    error = refusal_of(lambda: connect(place, MISSING_MODEL).run_sync(QUESTION), ModelHTTPError)
    assert error.status_code == 404


@scenarios.add
async def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    agent = connect(place)
    settings = {"openai_reasoning_effort": "none"}
    async with agent.run_stream(HELD_QUESTION, model_settings=settings) as stream:
        async for piece in stream.stream_text(delta=True, debounce_by=None):
            assert piece
            break
        await stream.cancel()
    assert (await agent.run(QUESTION)).output


@scenarios.add
async def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error."""
    has_failed = False
    try:
        async with connect(place).run_stream(BROKEN_QUESTION) as stream:
            [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    except (ModelAPIError, openai.APIError):
        has_failed = True
    assert has_failed, "it passed for a whole answer"


if __name__ == "__main__":
    sys.exit(scenarios.main())

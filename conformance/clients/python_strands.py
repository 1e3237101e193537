"""
Drives strands-agents: `python -m conformance.clients.python_strands URL CHAT EMBEDDING`.

It reckons with every count of the last frame, and sends messages without content
(docs/facts/clients.md#last-frame, docs/facts/clients.md#missing-content).
"""

import sys
from typing import Any

from ollama import ResponseError
from pydantic import BaseModel
from strands import Agent, tool
from strands.models.ollama import OllamaModel
from strands.types.exceptions import MaxTokensReachedException

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


def connect(place: Place, model: str = "", settings: Any = None, **more: Any) -> Any:
    """Return an agent on a model of the place."""
    chat = OllamaModel(place.url, **{"model_id": model or place.chat, **(settings or {})})
    return Agent(chat, callback_handler=None, **more)


@scenarios.add
def run(place: Place) -> None:
    """A question is answered, and its counts and durations add up."""
    answer = connect(place)(QUESTION)
    assert str(answer).strip()
    assert answer.metrics.accumulated_usage["outputTokens"] > 0
    assert answer.metrics.accumulated_usage["inputTokens"] > 0


@scenarios.add
async def stream(place: Place) -> None:
    """A question is answered in pieces."""
    pieces = [
        event["data"] async for event in connect(place).stream_async(QUESTION) if "data" in event
    ]
    assert len([piece for piece in pieces if piece]) > 2


@scenarios.add
def options(place: Place) -> None:
    """Options are taken, and a limit cuts, which this client takes for an error."""
    settings = {"temperature": 0.0, "max_tokens": 4, "keep_alive": "5m"}
    agent = connect(place, settings=settings)
    refusal_of(lambda: agent(QUESTION), MaxTokensReachedException)


@scenarios.add
def tools(place: Place) -> None:
    """A tool is called and its result answered in words."""
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        asked.append(city)
        return "17"

    answer = connect(place, tools=[tool(get_weather)])(WEATHER_QUESTION)
    assert len(asked) == 1
    assert str(answer).strip()


@scenarios.add
def structured(place: Place) -> None:
    """A typed answer."""
    answer = connect(place)(PERSON_QUESTION, structured_output_model=Person)
    assert isinstance(answer.structured_output, Person)


@scenarios.add
def image(place: Place) -> None:
    """A picture is taken, in a message of its own that has no content."""
    picture = {"image": {"format": "png", "source": {"bytes": make_png()}}}
    assert str(connect(place)([{"text": QUESTION}, picture])).strip()


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not there."""
    error = refusal_of(lambda: connect(place, MISSING_MODEL)(QUESTION), Exception)
    assert "not found" in str(error)


@scenarios.add
async def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    stream = connect(place).stream_async(HELD_QUESTION)
    async for event in stream:
        if "data" in event:
            break
    await stream.aclose()
    assert str(await connect(place).invoke_async(QUESTION)).strip()


@scenarios.add
def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error."""
    assert str(refusal_of(lambda: connect(place)(BROKEN_QUESTION), ResponseError))


if __name__ == "__main__":
    sys.exit(scenarios.main())

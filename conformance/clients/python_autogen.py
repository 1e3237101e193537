"""
Drives autogen-ext's Ollama client: `python -m conformance.clients.python_autogen URL CHAT EMBED`.

Its agent reflects on a tool's result in a turn of its own.
"""

import base64
import json
import sys
from typing import Any

from autogen_agentchat.agents import AssistantAgent
from autogen_core import Image
from autogen_core.models import UserMessage
from autogen_core.tools import FunctionTool
from autogen_ext.models.ollama import OllamaChatCompletionClient
from ollama import ResponseError
from pydantic import BaseModel

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
)

scenarios = Scenarios()


class Person(BaseModel):
    """A person, as asked for in structured answers."""

    name: str
    age: int


def connect(place: Place, model: str = "") -> Any:
    """Return a client of the place, told what its model can."""
    able = ("vision", "function_calling", "json_output", "structured_output")
    info = {**dict.fromkeys(able, True), "family": "unknown"}
    return OllamaChatCompletionClient(model=model or place.chat, host=place.url, model_info=info)


def said(text: Any) -> list[Any]:
    """Return the messages of one question."""
    return [UserMessage(content=text, source="user")]


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"{city}: 17"


def make_tool() -> Any:
    """Return the tool."""
    return FunctionTool(get_weather, description="The weather in a city.")


@scenarios.add
async def create(place: Place) -> None:
    """A question is answered, with its counts."""
    answer = await connect(place).create(said(QUESTION))
    assert answer.content
    assert answer.finish_reason == "stop"
    assert answer.usage.completion_tokens > 0


@scenarios.add
async def create_stream(place: Place) -> None:
    """A question is answered in pieces, the last of which is the whole."""
    pieces = [piece async for piece in connect(place).create_stream(said(QUESTION))]
    assert len([piece for piece in pieces if isinstance(piece, str) and piece]) > 2
    assert pieces[-1].content


@scenarios.add
async def tools(place: Place) -> None:
    """A tool is called."""
    answer = await connect(place).create(said(WEATHER_QUESTION), tools=[make_tool()])
    (call,) = answer.content
    assert isinstance(json.loads(call.arguments)["city"], str)


@scenarios.add
async def tools_stream(place: Place) -> None:
    """A streamed call is whole."""
    stream = connect(place).create_stream(said(WEATHER_QUESTION), tools=[make_tool()])
    (call,) = [piece async for piece in stream][-1].content
    assert call.name == "get_weather"
    assert isinstance(json.loads(call.arguments)["city"], str)


@scenarios.add
async def options(place: Place) -> None:
    """Options are taken, and a limit cuts."""
    more = {"options": {"num_predict": 4, "temperature": 0}}
    answer = await connect(place).create(said(QUESTION), extra_create_args=more)
    assert answer.usage.completion_tokens <= 4


@scenarios.add
async def structured_output(place: Place) -> None:
    """With a schema the text is an instance of it."""
    answer = await connect(place).create(said(PERSON_QUESTION), json_output=Person)
    Person.model_validate_json(answer.content)


@scenarios.add
async def json_output(place: Place) -> None:
    """Any JSON object."""
    answer = await connect(place).create(said(f"{PERSON_QUESTION} JSON."), json_output=True)
    assert isinstance(json.loads(answer.content), dict)


@scenarios.add
async def vision(place: Place) -> None:
    """A picture is taken."""
    url = f"data:image/png;base64,{base64.b64encode(make_png()).decode()}"
    image = Image.from_uri(url)
    assert (await connect(place).create(said([QUESTION, image]))).content


@scenarios.add
async def assistant_agent(place: Place) -> None:
    """An agent calls a tool and answers in words."""
    agent = AssistantAgent("keeper", connect(place), tools=[get_weather], reflect_on_tool_use=True)
    result = await agent.run(task=WEATHER_QUESTION)
    assert isinstance(result.messages[-1].content, str)
    assert result.messages[-1].content


@scenarios.add
async def missing_model(place: Place) -> None:
    """A model that is not there."""
    refused = None
    try:
        await connect(place, MISSING_MODEL).create(said(QUESTION))
    except ResponseError as error:
        refused = error
    assert refused is not None
    assert refused.status_code == 404


@scenarios.add
async def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    client = connect(place)
    # This client does not report thinking.
    stream = client.create_stream(said(HELD_QUESTION), extra_create_args={"think": False})
    assert isinstance(await anext(stream), str)
    await stream.aclose()
    assert (await client.create(said(QUESTION))).content


@scenarios.add
async def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error."""
    refused = None
    try:
        [piece async for piece in connect(place).create_stream(said(BROKEN_QUESTION))]
    except ResponseError as error:
        refused = error
    assert refused is not None
    assert refused.error


if __name__ == "__main__":
    sys.exit(scenarios.main())

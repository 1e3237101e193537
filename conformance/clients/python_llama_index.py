"""
Drives llama-index: `python -m conformance.clients.python_llama_index URL CHAT EMBEDDING`.

It asks `show` first and sends the context found there as num_ctx with every chat
(client notes §2).
"""

import base64
import sys
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.llms.ollama import Ollama
from ollama import ResponseError
from pydantic import BaseModel

from conformance.clients.scenarios import (
    HELD_QUESTION,
    MISSING_MODEL,
    PERSON_QUESTION,
    QUESTION,
    TIME_LIMIT_S,
    WEATHER_QUESTION,
    Place,
    Scenarios,
    check_unit,
    make_png,
    refusal_of,
)

scenarios = Scenarios()


class Person(BaseModel):
    """A person, as asked for in structured answers."""

    name: str
    age: int
    friends: list[str]


def connect(place: Place, **more: Any) -> Any:
    """Return a model of the place."""
    wanted = {"model": place.chat, "base_url": place.url, "request_timeout": TIME_LIMIT_S}
    return Ollama(**{**wanted, **more})


def said(text: str) -> list[Any]:
    """Return the messages of one question."""
    return [ChatMessage(role="user", content=text)]


def make_tool() -> Any:
    """Return a tool that is a Python function."""

    def get_weather(city: str) -> str:
        """Tell the weather in a city."""
        return f"{city}: 17"

    return FunctionTool.from_defaults(get_weather)


@scenarios.add
def complete(place: Place) -> None:
    """A prompt is answered, whole and in pieces."""
    assert connect(place).complete(QUESTION).text
    assert len([c for c in connect(place).stream_complete(QUESTION) if c.delta]) > 2


@scenarios.add
def chat(place: Place) -> None:
    """A question is answered, with its counts."""
    answer = connect(place).chat(said(QUESTION))
    assert answer.message.content
    assert answer.raw["usage"]["completion_tokens"] > 0


@scenarios.add
def stream_chat(place: Place) -> None:
    """A question is answered in pieces."""
    assert len([c for c in connect(place).stream_chat(said(QUESTION)) if c.delta]) > 2


@scenarios.add
def context_window_from_show(place: Place) -> None:
    """The context is what `show` says, and not this client's small stand-in."""
    assert connect(place).metadata.context_window > 4096


@scenarios.add
def json_mode(place: Place) -> None:
    """Any JSON object."""
    assert connect(place, json_mode=True).complete(PERSON_QUESTION).text.startswith("{")


@scenarios.add
def structured(place: Place) -> None:
    """A typed answer."""
    model = connect(place).as_structured_llm(Person)
    assert isinstance(model.complete(PERSON_QUESTION).raw, Person)


@scenarios.add
def chat_with_tools(place: Place) -> None:
    """A tool is called, and its result, which has no name, answered in words."""
    model = connect(place)
    first = model.chat_with_tools([make_tool()], user_msg=WEATHER_QUESTION)
    (call,) = model.get_tool_calls_from_response(first)
    assert isinstance(call.tool_kwargs["city"], str)
    messages = [
        *said(WEATHER_QUESTION),
        first.message,
        ChatMessage(role="tool", content="17", additional_kwargs={"tool_call_id": call.tool_id}),
    ]
    assert model.chat(messages).message.content


@scenarios.add
def stream_chat_with_tools(place: Place) -> None:
    """A streamed call is whole."""
    model = connect(place)
    *_, last = model.stream_chat_with_tools([make_tool()], user_msg=WEATHER_QUESTION)
    (call,) = model.get_tool_calls_from_response(last)
    assert call.tool_name == "get_weather"


@scenarios.add
def thinking(place: Place) -> None:
    """Thinking is kept apart from the text."""
    answer = connect(place, thinking=True).chat(said(QUESTION))
    assert any(block.block_type == "thinking" and block.content for block in answer.message.blocks)


@scenarios.add
def vision(place: Place) -> None:
    """A picture is taken."""
    image = ImageBlock(image=base64.b64encode(make_png()), image_mimetype="image/png")
    message = ChatMessage(role="user", blocks=[TextBlock(text=QUESTION), image])
    assert connect(place).chat([message]).message.content


@scenarios.add
async def async_chat(place: Place) -> None:
    """The asynchronous ways give the same."""
    assert (await connect(place).achat(said(QUESTION))).message.content
    chunks = [c async for c in await connect(place).astream_chat(said(QUESTION))]
    assert len([c for c in chunks if c.delta]) > 2


@scenarios.add
def embeddings(place: Place) -> None:
    """Vectors of length one."""
    model = OllamaEmbedding(model_name=place.embedding, base_url=place.url)
    check_unit(model.get_query_embedding(QUESTION))
    assert len(model.get_text_embedding_batch(["harbour", "fog"])) == 2


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not there, by each way."""
    vectors = OllamaEmbedding(model_name=MISSING_MODEL, base_url=place.url)
    for action in (
        lambda: connect(place, model=MISSING_MODEL).chat(said(QUESTION)),
        lambda: vectors.get_query_embedding(QUESTION),
    ):
        assert refusal_of(action, ResponseError).status_code == 404


@scenarios.add
def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    stream = connect(place).stream_chat(said(HELD_QUESTION))
    next(stream)
    stream.close()
    assert connect(place).chat(said(QUESTION)).message.content


if __name__ == "__main__":
    sys.exit(scenarios.main())

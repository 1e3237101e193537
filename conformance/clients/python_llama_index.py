"""
Drives llama-index: `python -m conformance.clients.python_llama_index URL CHAT EMBEDDING`.

It asks `show` first and sends the context found there as num_ctx with every chat
(docs/facts/clients.md#num-ctx-from-show).
"""

import base64
import json
import sys
from functools import partial
from typing import Any

from llama_index.core import PromptTemplate
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.llms.ollama import Ollama
from ollama import ResponseError
from pydantic import BaseModel

from conformance.clients.scenarios import (
    BROKEN_QUESTION,
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
    """A prompt is answered."""
    assert connect(place).complete(QUESTION).text


@scenarios.add
def stream_complete(place: Place) -> None:
    """A prompt is answered in pieces."""
    assert len([c for c in connect(place).stream_complete(QUESTION) if c.delta]) > 2


@scenarios.add
def chat(place: Place) -> None:
    """A question is answered."""
    assert connect(place).chat(said(QUESTION)).message.content


@scenarios.add
def chat_usage(place: Place) -> None:
    """An answer has its counts."""
    answer = connect(place).chat(said(QUESTION))
    assert answer.raw["usage"]["prompt_tokens"] > 0
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
def fixed_context_window(place: Place) -> None:
    """With a context of its own the client asks without `show`, and is answered."""
    model = connect(place, context_window=4096)
    assert model.metadata.context_window == 4096
    assert model.chat(said(QUESTION)).message.content


@scenarios.add
def json_mode(place: Place) -> None:
    """Any JSON object."""
    assert isinstance(
        json.loads(connect(place, json_mode=True).complete(PERSON_QUESTION).text), dict
    )


@scenarios.add
def structured_predict(place: Place) -> None:
    """A typed answer to a template."""
    person = connect(place).structured_predict(Person, PromptTemplate(PERSON_QUESTION))
    assert isinstance(person, Person)


@scenarios.add
def stream_structured_predict(place: Place) -> None:
    """A typed answer grows until it is whole."""
    template = PromptTemplate(PERSON_QUESTION)
    *_, last = connect(place).stream_structured_predict(Person, template)
    Person.model_validate(last.model_dump())


@scenarios.add
def as_structured_llm(place: Place) -> None:
    """A model that gives typed answers."""
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
def predict_and_call(place: Place) -> None:
    """A tool is called by the client itself."""
    answer = connect(place).predict_and_call([make_tool()], user_msg=WEATHER_QUESTION)
    assert [source.tool_name for source in answer.sources] == ["get_weather"]
    assert str(answer).endswith(": 17")


@scenarios.add
async def function_agent(place: Place) -> None:
    """An agent calls a tool and answers in words."""
    agent: Any = FunctionAgent(tools=[make_tool()], llm=connect(place))
    answer = await agent.run(WEATHER_QUESTION)
    assert "get_weather" in [call.tool_name for call in answer.tool_calls]
    assert answer.response.content


@scenarios.add
def thinking(place: Place) -> None:
    """Thinking is kept apart from the text."""
    answer = connect(place, thinking=True).chat(said(QUESTION))
    assert any(block.block_type == "thinking" and block.content for block in answer.message.blocks)


@scenarios.add
def thinking_stream(place: Place) -> None:
    """Thinking comes in pieces of its own."""
    pieces = list(connect(place, thinking=True).stream_chat(said(QUESTION)))
    assert any(piece.additional_kwargs.get("thinking_delta") for piece in pieces)
    assert any(piece.delta for piece in pieces)


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
async def async_embeddings(place: Place) -> None:
    """Vectors, asynchronously."""
    model = OllamaEmbedding(model_name=place.embedding, base_url=place.url)
    check_unit(await model.aget_query_embedding(QUESTION))
    assert len(await model.aget_text_embedding_batch(["harbour", "fog"])) == 2


@scenarios.add
def missing_model(place: Place) -> None:
    """A chat with a model that is not there, which `show` tells first; without it, the chat."""
    for more in ({}, {"context_window": 4096}):
        model = connect(place, model=MISSING_MODEL, **more)
        error = refusal_of(partial(model.chat, said(QUESTION)), ResponseError)
        assert error.status_code == 404


@scenarios.add
def missing_embed_model(place: Place) -> None:
    """Vectors of a model that is not there."""
    vectors = OllamaEmbedding(model_name=MISSING_MODEL, base_url=place.url)
    error = refusal_of(lambda: vectors.get_query_embedding(QUESTION), ResponseError)
    assert error.status_code == 404


@scenarios.add
def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    stream = connect(place).stream_chat(said(HELD_QUESTION))
    next(stream)
    stream.close()
    assert connect(place).chat(said(QUESTION)).message.content


@scenarios.add
def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error."""
    assert refusal_of(
        lambda: list(connect(place).stream_chat(said(BROKEN_QUESTION))), ResponseError
    ).error


if __name__ == "__main__":
    sys.exit(scenarios.main())

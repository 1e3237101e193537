"""
Drives ollama-haystack: `python -m conformance.clients.python_haystack URL CHAT EMBEDDING`.

It adds counts up, and refuses thinking unless asked for (docs/facts/clients.md#last-frame,
docs/facts/clients.md#think-false).
"""

import base64
import json
import sys
from typing import Any

from haystack import Document
from haystack.dataclasses import ChatMessage, ImageContent
from haystack.tools import Tool
from haystack_integrations.components.embedders.ollama import (
    OllamaDocumentEmbedder,
    OllamaTextEmbedder,
)
from haystack_integrations.components.generators.ollama import OllamaChatGenerator
from ollama import ResponseError

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


def ask(place: Place, *messages: Any, **more: Any) -> Any:
    """Return the reply to messages, by default to the question."""
    generator = OllamaChatGenerator(**{"model": place.chat, "url": place.url, **more})
    said = list(messages) or [ChatMessage.from_user(QUESTION)]
    return generator.run(messages=said)["replies"][0]


def make_tool() -> Any:
    """Return a tool."""
    described = WEATHER_TOOL["function"]
    return Tool(function=lambda city, days=1: f"{city} {days}", **described)


@scenarios.add
def chat(place: Place) -> None:
    """A question is answered, with its counts."""
    reply = ask(place)
    assert reply.text
    assert reply.meta["usage"]["completion_tokens"] > 0


@scenarios.add
def chat_stream(place: Place) -> None:
    """A question is answered in pieces."""
    pieces: list[Any] = []
    reply = ask(place, streaming_callback=pieces.append)
    assert len([piece for piece in pieces if piece.content]) > 2
    assert reply.text == "".join(piece.content for piece in pieces)


@scenarios.add
def tools_roundtrip(place: Place) -> None:
    """A call is made and its result, without name or id, answered in words."""
    question = ChatMessage.from_user(WEATHER_QUESTION)
    first = ask(place, question, tools=[make_tool()])
    (call,) = first.tool_calls
    assert isinstance(call.arguments["city"], str)
    result = ChatMessage.from_tool(tool_result="17", origin=call)
    assert ask(place, question, first, result, tools=[make_tool()]).text


@scenarios.add
def tools_stream(place: Place) -> None:
    """A streamed call is whole."""
    pieces: list[Any] = []
    question = ChatMessage.from_user(WEATHER_QUESTION)
    reply = ask(place, question, tools=[make_tool()], streaming_callback=pieces.append)
    assert [call.tool_name for call in reply.tool_calls] == ["get_weather"]


@scenarios.add
def response_format(place: Place) -> None:
    """With a schema the text is an instance of it."""
    question = ChatMessage.from_user(PERSON_QUESTION)
    check_person(json.loads(ask(place, question, response_format=PERSON_SCHEMA).text))


@scenarios.add
def think(place: Place) -> None:
    """Thinking is kept apart from the text."""
    reply = ask(place, think=True)
    assert reply.reasoning.reasoning_text
    assert reply.text


@scenarios.add
def think_stream(place: Place) -> None:
    """Thinking comes in pieces of its own, and is whole in the reply."""
    pieces: list[Any] = []
    reply = ask(place, think=True, streaming_callback=pieces.append)
    assert any(piece.reasoning for piece in pieces)
    assert reply.reasoning.reasoning_text
    assert reply.text


@scenarios.add
def options(place: Place) -> None:
    """Options are taken, and a limit cuts."""
    wanted = {"num_predict": 4, "temperature": 0, "seed": 7}
    reply = ask(place, generation_kwargs=wanted, keep_alive=300)
    assert reply.meta["usage"]["completion_tokens"] <= 4


@scenarios.add
def vision(place: Place) -> None:
    """A picture is taken."""
    image = ImageContent(base64_image=base64.b64encode(make_png()).decode(), mime_type="image/png")
    assert ask(place, ChatMessage.from_user(content_parts=[QUESTION, image])).text


@scenarios.add
def text_embedder(place: Place) -> None:
    """A vector of a text."""
    embedder = OllamaTextEmbedder(model=place.embedding, url=place.url)
    check_unit(embedder.run(text=QUESTION)["embedding"])


@scenarios.add
def document_embedder(place: Place) -> None:
    """Vectors of documents."""
    wanted = {"model": place.embedding, "url": place.url}
    documents = [Document(content="harbour"), Document(content="fog")]
    embedder = OllamaDocumentEmbedder(**wanted, progress_bar=False)
    found = embedder.run(documents=documents)["documents"]
    assert len(found) == len(documents)
    for document in found:
        check_unit(document.embedding)


@scenarios.add
async def chat_async(place: Place) -> None:
    """The asynchronous way gives the same, whole and in pieces."""
    generator: Any = OllamaChatGenerator(model=place.chat, url=place.url)
    question = [ChatMessage.from_user(QUESTION)]
    assert (await generator.run_async(messages=question))["replies"][0].text
    pieces: list[Any] = []

    async def keep(piece: Any) -> None:
        pieces.append(piece)

    await generator.run_async(messages=question, streaming_callback=keep)
    assert len([piece for piece in pieces if piece.content]) > 2


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not there."""
    error = refusal_of(lambda: ask(place, model=MISSING_MODEL), ResponseError)
    assert error.status_code == 404


@scenarios.add
def missing_model_stream(place: Place) -> None:
    """A streamed chat with a model that is not there."""
    pieces: list[Any] = []
    error = refusal_of(
        lambda: ask(place, model=MISSING_MODEL, streaming_callback=pieces.append), ResponseError
    )
    assert error.status_code == 404


@scenarios.add
def missing_embed_model(place: Place) -> None:
    """Vectors of a model that is not there."""
    embedder = OllamaTextEmbedder(model=MISSING_MODEL, url=place.url)
    assert refusal_of(lambda: embedder.run(text=QUESTION), ResponseError).status_code == 404


@scenarios.add
def stream_abort(place: Place) -> None:
    """A client whose callback fails leaves the stream, and can go on."""

    def leave(piece: Any) -> None:
        raise EOFError(piece.content)

    question = ChatMessage.from_user(HELD_QUESTION)
    refusal_of(lambda: ask(place, question, streaming_callback=leave), EOFError)
    assert ask(place).text


@scenarios.add
def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error."""
    question = ChatMessage.from_user(BROKEN_QUESTION)
    pieces: list[Any] = []
    error = refusal_of(
        lambda: ask(place, question, streaming_callback=pieces.append), ResponseError
    )
    assert error.error


if __name__ == "__main__":
    sys.exit(scenarios.main())

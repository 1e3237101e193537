"""
Drives langchain-ollama: `python -m conformance.clients.python_langchain URL CHAT EMBEDDING`.

It stands on the official client, but asks in its own shapes: it always streams, sends tool results
without id or name, options that are null, an empty format, and keep_alive as a float
(docs/facts/clients.md#langchain, docs/facts/clients.md#tool-results).
"""

import asyncio
import base64
import json
import math
import sys
from collections.abc import Callable
from typing import Any, cast

import jsonschema
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from ollama import ResponseError
from pydantic import BaseModel, Field

from conformance.clients.scenarios import (
    BROKEN_QUESTION,
    CONNECTION,
    HELD_QUESTION,
    MISSING_MODEL,
    PERSON_QUESTION,
    PERSON_SCHEMA,
    QUESTION,
    TIME_TOOL,
    TWO_QUESTION,
    WEATHER_QUESTION,
    WEATHER_TOOL,
    Place,
    Scenarios,
    make_png,
    refusal_of,
)

scenarios = Scenarios()


class Person(BaseModel):
    """A person, as asked for in structured answers."""

    name: str = Field(description="Their name")
    age: int
    friends: list[str]


def connect(place: Place, **more: Any) -> ChatOllama:
    """Return a chat model of the place."""
    wanted: dict[str, Any] = {"model": place.chat, "base_url": place.url, **more}
    return ChatOllama(client_kwargs=CONNECTION, **wanted)


def check_answer(answer: BaseMessage, reason: str = "stop") -> str:
    """Check a whole answer: its text, why it ends, its counts; return the text."""
    assert isinstance(answer, AIMessage)
    assert answer.response_metadata["done"] is True
    assert answer.response_metadata["done_reason"] == reason
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] > 0
    assert answer.usage_metadata["output_tokens"] > 0
    assert isinstance(answer.content, str)
    return answer.content


def check_chunks(chunks: list[AIMessageChunk]) -> None:
    """Check the chunks of a stream: several, of which one ends the answer with its counts."""
    assert len([chunk for chunk in chunks if chunk.content]) > 2
    ends = [chunk for chunk in chunks if chunk.response_metadata.get("done")]
    assert len(ends) == 1
    assert ends[0].usage_metadata is not None
    assert ends[0].usage_metadata["output_tokens"] > 0


def check_unit(vector: list[float]) -> None:
    """Check a vector of /api/embed, which has length one (docs/facts/ollama.md#vectors)."""
    assert math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-3), f"length {math.hypot(*vector)}"


def check_missing(action: Callable[[], object]) -> None:
    """Check the refusal of a model that is not there."""
    error = refusal_of(action, ResponseError)
    assert error.status_code == 404
    assert "not found" in error.error


@scenarios.add
def invoke(place: Place) -> None:
    """A question is answered."""
    messages = [SystemMessage("Be brief."), HumanMessage(QUESTION)]
    assert check_answer(connect(place).invoke(messages))


@scenarios.add
def stream(place: Place) -> None:
    """A question is answered in chunks."""
    check_chunks(cast("list[AIMessageChunk]", list(connect(place).stream(QUESTION))))


@scenarios.add
def options(place: Place) -> None:
    """Options are taken, and num_predict cuts."""
    model = connect(
        place, temperature=0, top_k=40, seed=7, num_predict=4, stop=["\x1c"], reasoning=False
    )
    answer = model.invoke(QUESTION)
    check_answer(answer, "length")
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] <= 4


@scenarios.add
def keep_alive_int(place: Place) -> None:
    """A number of seconds, which this client sends as a float."""
    assert check_answer(connect(place, keep_alive=300).invoke(QUESTION))


@scenarios.add
def validate_model_on_init(place: Place) -> None:
    """The list of models tells whether one is there."""
    connect(place, validate_model_on_init=True)
    error = refusal_of(
        lambda: connect(place, model=MISSING_MODEL, validate_model_on_init=True), ValueError
    )
    assert MISSING_MODEL in str(error)


@scenarios.add
def tools_roundtrip(place: Place) -> None:
    """Calls are made, and their results, which have neither name nor id, answered in words."""
    model = connect(place).bind_tools([WEATHER_TOOL, TIME_TOOL])
    messages: list[BaseMessage] = [HumanMessage(TWO_QUESTION)]
    first = model.invoke(messages)
    assert {call["name"] for call in first.tool_calls} == {"get_weather", "get_time"}
    messages.append(first)
    for call in first.tool_calls:
        messages.append(ToolMessage("17", tool_call_id=call["id"]))
    second = model.invoke(messages)
    assert check_answer(second)
    assert not second.tool_calls


@scenarios.add
def tools_stream(place: Place) -> None:
    """A streamed call has arguments that its schema allows."""
    model = connect(place, reasoning=False).bind_tools([WEATHER_TOOL])
    chunks = cast("list[AIMessageChunk]", list(model.stream(WEATHER_QUESTION)))
    (call,) = [call for chunk in chunks for call in chunk.tool_calls]
    assert call["name"] == "get_weather"
    jsonschema.validate(call["args"], WEATHER_TOOL["function"]["parameters"])


@scenarios.add
def structured_json_schema(place: Place) -> None:
    """A typed answer by way of format."""
    model = connect(place).with_structured_output(Person, method="json_schema")
    assert isinstance(model.invoke(PERSON_QUESTION), Person)
    plain = connect(place).with_structured_output(PERSON_SCHEMA, method="json_schema")
    jsonschema.validate(plain.invoke(PERSON_QUESTION), PERSON_SCHEMA)


@scenarios.add
def structured_function_calling(place: Place) -> None:
    """A typed answer by way of a tool."""
    model = connect(place).with_structured_output(Person, method="function_calling")
    assert isinstance(model.invoke(PERSON_QUESTION), Person)


@scenarios.add
def structured_json_mode(place: Place) -> None:
    """Any JSON object, by way of format json."""
    model = connect(place).with_structured_output(PERSON_SCHEMA, method="json_mode")
    assert isinstance(model.invoke(f"{PERSON_QUESTION} Answer in JSON."), dict)


@scenarios.add
def reasoning(place: Place) -> None:
    """Thinking is kept apart from the text."""
    answer = connect(place, reasoning=True).invoke(QUESTION)
    assert check_answer(answer)
    assert answer.additional_kwargs["reasoning_content"]


@scenarios.add
def reasoning_stream(place: Place) -> None:
    """Thinking comes in chunks of its own."""
    chunks = list(connect(place, reasoning=True).stream(QUESTION))
    assert any(chunk.additional_kwargs.get("reasoning_content") for chunk in chunks)
    check_chunks(chunks)


@scenarios.add
def reasoning_false(place: Place) -> None:
    """Without thinking there is none."""
    answer = connect(place, reasoning=False).invoke(QUESTION)
    assert check_answer(answer)
    assert not answer.additional_kwargs.get("reasoning_content")


@scenarios.add
def vision(place: Place) -> None:
    """A picture as a data URL is taken."""
    url = f"data:image/png;base64,{base64.b64encode(make_png()).decode()}"
    content: list[str | dict[str, Any]] = [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    assert check_answer(connect(place).invoke([HumanMessage(content)]))


@scenarios.add
async def ainvoke_astream(place: Place) -> None:
    """The asynchronous ways give the same, several at once."""
    model = connect(place)
    answers = await asyncio.gather(*(model.ainvoke(QUESTION) for _ in range(4)))
    assert all(check_answer(answer) for answer in answers)
    check_chunks([chunk async for chunk in model.astream(QUESTION)])


@scenarios.add
def batch(place: Place) -> None:
    """Several questions are answered at once, each with its own counts."""
    answers = connect(place).batch([QUESTION, f"{QUESTION} {'Why? ' * 40}"])
    assert all(check_answer(answer) for answer in answers)
    short, long = (answer.usage_metadata for answer in answers)
    assert short is not None
    assert long is not None
    assert short["input_tokens"] < long["input_tokens"]


@scenarios.add
def llm_invoke_stream(place: Place) -> None:
    """Prompts without a chat, with an empty format."""
    model = OllamaLLM(model=place.chat, base_url=place.url, client_kwargs=CONNECTION)
    assert model.invoke(QUESTION)
    assert len(list(model.stream(QUESTION))) > 2
    assert all(model.batch([QUESTION, PERSON_QUESTION]))


@scenarios.add
def llm_format_json(place: Place) -> None:
    """With format json the answer to a prompt is JSON."""
    model = OllamaLLM(model=place.chat, base_url=place.url, format="json", client_kwargs=CONNECTION)
    json.loads(model.invoke(f"{PERSON_QUESTION} Answer in JSON."))


@scenarios.add
def embed_documents_query(place: Place) -> None:
    """Vectors of texts and of a question, with options that are null."""
    model = OllamaEmbeddings(model=place.embedding, base_url=place.url, client_kwargs=CONNECTION)
    vectors = model.embed_documents(["harbour", "a lantern in the fog"])
    assert len(vectors) == 2
    for vector in [*vectors, model.embed_query(QUESTION)]:
        check_unit(vector)


@scenarios.add
async def aembed(place: Place) -> None:
    """Vectors, asynchronously."""
    model = OllamaEmbeddings(model=place.embedding, base_url=place.url, client_kwargs=CONNECTION)
    check_unit(await model.aembed_query(QUESTION))


@scenarios.add
def missing_model(place: Place) -> None:
    """A chat with a model that is not there."""
    check_missing(lambda: connect(place, model=MISSING_MODEL).invoke(QUESTION))


@scenarios.add
def missing_model_stream(place: Place) -> None:
    """A streamed chat with a model that is not there."""
    check_missing(lambda: list(connect(place, model=MISSING_MODEL).stream(QUESTION)))


@scenarios.add
def missing_model_llm(place: Place) -> None:
    """A prompt for a model that is not there."""
    model = OllamaLLM(model=MISSING_MODEL, base_url=place.url, client_kwargs=CONNECTION)
    check_missing(lambda: model.invoke(QUESTION))


@scenarios.add
def missing_embed_model(place: Place) -> None:
    """Vectors of a model that is not there."""
    model = OllamaEmbeddings(model=MISSING_MODEL, base_url=place.url, client_kwargs=CONNECTION)
    check_missing(lambda: model.embed_query(QUESTION))


@scenarios.add
def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    model = connect(place)
    chunks = model.stream(HELD_QUESTION)
    next(chunks)
    cast("Any", chunks).close()
    assert check_answer(model.invoke(QUESTION))


@scenarios.add
def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error: a clean end would pass for success."""
    assert refusal_of(lambda: connect(place).invoke(BROKEN_QUESTION), ResponseError).error


if __name__ == "__main__":
    sys.exit(scenarios.main())

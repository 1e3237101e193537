"""
Drives litellm: `python -m conformance.clients.python_litellm URL CHAT EMBEDDING`.

It has parsers of its own, posts JSON without a Content-Type, and asks `show` by `name`
(docs/facts/clients.md#no-content-type, docs/facts/clients.md#name-key).
"""

import asyncio
import base64
import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

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
    check_unit,
    make_png,
    refusal_of,
)

litellm.telemetry = False
litellm.suppress_debug_info = True
scenarios = Scenarios()


def wanted(place: Place, content: Any = QUESTION, via: str = "ollama_chat", **more: Any) -> Any:
    """Return what one question is asked with, by one of two providers."""
    return {
        "model": f"{via}/{place.chat}",
        "api_base": place.url,
        "messages": [{"role": "user", "content": content}],
        "timeout": TIME_LIMIT_S,
        "num_retries": 0,
        **more,
    }


def ask(place: Place, content: Any = QUESTION, **more: Any) -> Any:
    """Ask one question."""
    return litellm.completion(**wanted(place, content, **more))


def check_answer(answer: Any, reason: str = "stop") -> str:
    """Check a whole answer; return its text."""
    assert answer.choices[0].finish_reason == reason, answer.choices[0].finish_reason
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.completion_tokens > 0
    return str(answer.choices[0].message.content or "")


def read(stream: Any) -> str:
    """Read a stream to its end, check that it has several pieces; return its text."""
    pieces = [c.choices[0].delta.content for c in stream if c.choices[0].delta.content]
    assert len(pieces) > 2
    return "".join(pieces)


def picture() -> list[dict[str, Any]]:
    """Return a question with a picture as a data URL."""
    url = f"data:image/png;base64,{base64.b64encode(make_png()).decode()}"
    return [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": url}},
    ]


def check_missing(action: Callable[[], object]) -> None:
    """Check the refusal of a model that is not there."""
    assert "not found" in str(refusal_of(action, litellm.exceptions.NotFoundError))


@scenarios.add
def chat(place: Place) -> None:
    """A question is answered."""
    assert check_answer(ask(place))


@scenarios.add
def chat_stream(place: Place) -> None:
    """A question is answered in pieces."""
    assert read(ask(place, stream=True))


@scenarios.add
def chat_options(place: Place) -> None:
    """Options are taken, and a limit cuts."""
    check_answer(ask(place, max_tokens=4, temperature=0, seed=7, top_p=0.9), "length")


@scenarios.add
def chat_tools_roundtrip(place: Place) -> None:
    """Calls are made and their results answered in words."""
    messages: list[Any] = [{"role": "user", "content": TWO_QUESTION}]
    tools = [WEATHER_TOOL, TIME_TOOL]
    first = ask(place, messages=messages, tools=tools).choices[0].message
    assert sorted(c.function.name for c in first.tool_calls) == ["get_time", "get_weather"]
    messages.append(first)
    for call in first.tool_calls:
        json.loads(call.function.arguments)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "17"})
    assert check_answer(ask(place, messages=messages, tools=tools))


@scenarios.add
def chat_tools_stream(place: Place) -> None:
    """A streamed call has whole arguments."""
    stream = ask(place, WEATHER_QUESTION, tools=[WEATHER_TOOL], stream=True)
    calls = [call for c in stream for call in c.choices[0].delta.tool_calls or ()]
    arguments = "".join(call.function.arguments or "" for call in calls)
    assert isinstance(json.loads(arguments)["city"], str)


@scenarios.add
def chat_json_schema(place: Place) -> None:
    """With a schema the text is an instance of it."""
    schema = {"name": "person", "schema": PERSON_SCHEMA}
    answer = ask(
        place,
        PERSON_QUESTION,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    check_person(json.loads(check_answer(answer)))


@scenarios.add
def chat_json_object(place: Place) -> None:
    """Any JSON object."""
    question = f"{PERSON_QUESTION} Answer in JSON."
    answer = ask(place, question, response_format={"type": "json_object"})
    assert isinstance(json.loads(check_answer(answer)), dict)


@scenarios.add
def chat_reasoning(place: Place) -> None:
    """Thinking stands beside the text."""
    answer = ask(place, reasoning_effort="low")
    assert check_answer(answer)
    assert answer.choices[0].message.reasoning_content


@scenarios.add
def chat_reasoning_stream(place: Place) -> None:
    """Thinking comes in pieces of its own."""
    stream = ask(place, reasoning_effort="low", stream=True)
    assert any(getattr(c.choices[0].delta, "reasoning_content", None) for c in stream)


@scenarios.add
def chat_vision(place: Place) -> None:
    """A picture is taken."""
    assert check_answer(ask(place, picture()))


@scenarios.add
def generate_provider(place: Place) -> None:
    """The other provider asks by prompt."""
    assert check_answer(ask(place, via="ollama"))


@scenarios.add
def generate_provider_stream(place: Place) -> None:
    """A prompt is answered in pieces."""
    assert read(ask(place, via="ollama", stream=True))


@scenarios.add
def generate_provider_json(place: Place) -> None:
    """With format json the answer to a prompt is JSON."""
    json.loads(check_answer(ask(place, PERSON_QUESTION, via="ollama", format="json")))


@scenarios.add
def generate_provider_vision(place: Place) -> None:
    """A picture goes along with a prompt."""
    assert check_answer(ask(place, picture(), via="ollama"))


@scenarios.add
def text_completion(place: Place) -> None:
    """A prompt without a chat is carried on."""
    answer: Any = litellm.text_completion(
        model=f"ollama/{place.chat}", prompt=QUESTION, api_base=place.url, timeout=TIME_LIMIT_S
    )
    assert answer.choices[0].text
    assert answer.usage.completion_tokens > 0


@scenarios.add
async def async_chat(place: Place) -> None:
    """Several at once, asynchronously."""
    answers = await asyncio.gather(*(litellm.acompletion(**wanted(place)) for _ in range(4)))
    assert all(check_answer(answer) for answer in answers)


@scenarios.add
def embed(place: Place) -> None:
    """Vectors of length one."""
    answer = litellm.embedding(
        model=f"ollama/{place.embedding}", input=["harbour", "fog"], api_base=place.url
    )
    assert len(answer.data) == 2
    for one in answer.data:
        check_unit(one["embedding"])


@scenarios.add
async def async_embeddings(place: Place) -> None:
    """Vectors, asynchronously."""
    answer = await litellm.aembedding(
        model=f"ollama/{place.embedding}", input=["harbour", "fog"], api_base=place.url
    )
    assert len(answer.data) == 2
    for one in answer.data:
        check_unit(one["embedding"])


@scenarios.add
def model_info(place: Place) -> None:
    """What `show` says of a model is understood."""
    os.environ["OLLAMA_API_BASE"] = place.url
    info = litellm.get_model_info(f"ollama/{place.chat}")
    assert info["max_tokens"] > 0


@scenarios.add
def model_info_tools(place: Place) -> None:
    """Whether a model takes tools is understood."""
    os.environ["OLLAMA_API_BASE"] = place.url
    info = litellm.get_model_info(f"ollama/{place.chat}")
    assert info["supports_function_calling"] is True


@scenarios.add
def missing_model(place: Place) -> None:
    """A chat with a model that is not there."""
    check_missing(lambda: ask(place, model=f"ollama_chat/{MISSING_MODEL}"))


@scenarios.add
def missing_model_stream(place: Place) -> None:
    """A streamed chat with a model that is not there."""
    check_missing(lambda: list(ask(place, model=f"ollama_chat/{MISSING_MODEL}", stream=True)))


@scenarios.add
def missing_model_generate(place: Place) -> None:
    """A prompt for a model that is not there."""
    check_missing(lambda: ask(place, model=f"ollama/{MISSING_MODEL}"))


@scenarios.add
def missing_embed_model(place: Place) -> None:
    """Vectors of a model that is not there: this client keeps the words, not the status."""
    wanted_embed = {"model": f"ollama/{MISSING_MODEL}", "input": ["x"], "api_base": place.url}
    error = refusal_of(lambda: litellm.embedding(**wanted_embed), Exception)
    assert "not found" in str(error)


@scenarios.add
def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    stream = ask(place, HELD_QUESTION, stream=True)
    next(stream)
    stream.completion_stream.streaming_response.close()
    assert check_answer(ask(place))


@scenarios.add
def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error."""
    refusal_of(lambda: list(ask(place, BROKEN_QUESTION, stream=True)), Exception)


if __name__ == "__main__":
    sys.exit(scenarios.main())

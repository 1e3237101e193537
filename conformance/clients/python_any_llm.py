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
    MISSING_MODEL,
    PERSON_QUESTION,
    PERSON_SCHEMA,
    QUESTION,
    WEATHER_QUESTION,
    WEATHER_TOOL,
    Place,
    Scenarios,
    check_person,
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
    """A vector."""
    answer = any_llm.embedding(
        model=place.embedding, provider="ollama", inputs=QUESTION, api_base=place.url
    )
    assert any(answer.data[0].embedding)


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not there."""
    error = refusal_of(lambda: ask(place, model=MISSING_MODEL), Exception)
    assert "not found" in str(error)


if __name__ == "__main__":
    sys.exit(scenarios.main())

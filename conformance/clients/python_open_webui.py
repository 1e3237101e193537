"""
Drives Open WebUI by its API: `python -m conformance.clients.python_open_webui URL CHAT EMBED`.

The server is Open WebUI itself. It is asked in both of its ways: as its page asks, in OpenAI's form
that it turns into Ollama's and back, and as an Ollama server of its own, below /ollama, that hands
on what it gets.
"""

import base64
import json
import math
import sys
from collections.abc import Generator
from typing import Any

import httpx

from conformance.clients.open_webui import connect, listed, serving
from conformance.clients.scenarios import (
    BROKEN_QUESTION,
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
    check_person,
    check_unit,
    make_png,
    wait_until,
)

Answer = dict[str, Any]

PAGE = "/api/chat/completions"
"""The route of the page's questions."""
NATIVE = "/ollama/api"
STREAMED: Answer = {"stream": True}
END = "[DONE]"

SERVED = "--served"
"""Says that the URL is that of an Open WebUI, which runs on afterwards."""

scenarios = Scenarios()


def ask(place: Place, question: str = QUESTION, **more: Any) -> Answer:
    """Return a question to the chat model, as a request's body."""
    messages = [{"role": "user", "content": question}]
    return {"model": listed(place.chat), "messages": messages, "stream": False} | more


def post(place: Place, path: str, body: Answer) -> Any:
    """Return the JSON of an answer, which must be a success."""
    with connect(place.url) as client:
        return succeed(client.post(path, json=body)).json()


def get(place: Place, path: str) -> Any:
    """Return the JSON that is under a path."""
    with connect(place.url) as client:
        return succeed(client.get(path)).json()


def succeed(answer: httpx.Response) -> httpx.Response:
    """Return an answer that is a success; else tell what it says."""
    assert answer.is_success, f"{answer.status_code} {answer.read().decode()}"
    return answer


def refuse(place: Place, path: str, body: Answer, status: int, words: str) -> None:
    """Check that a request is refused, and in which words."""
    with connect(place.url) as client:
        answer = client.post(path, json=body)
    assert answer.status_code == status, f"{answer.status_code} {answer.text}"
    assert words in answer.json()["detail"], answer.text


def stream(place: Place, path: str, body: Answer) -> Generator[str, None, None]:
    """Yield the lines of a streamed answer that have something in them."""
    with (
        connect(place.url) as client,
        client.stream("POST", path, json=body) as answer,
    ):
        succeed(answer)
        yield from (line for line in answer.iter_lines() if line)


def stream_page(place: Place, body: Answer, path: str = PAGE) -> list[Answer]:
    """Return the events of an answer in OpenAI's form, which must come to its end."""
    lines = [line.removeprefix("data: ") for line in stream(place, path, body | STREAMED)]
    assert lines[-1] == END, lines[-1]
    events = [json.loads(line) for line in lines[:-1]]
    assert len(events) > 2
    return events


def joined(events: list[Answer], key: str = "content") -> str:
    """Return what the events say under a key."""
    deltas = (event["choices"][0]["delta"] for event in events if event["choices"])
    return "".join(delta.get(key) or "" for delta in deltas)


def stream_native(place: Place, path: str, body: Answer) -> list[Answer]:
    """Return the frames of an answer in Ollama's form, which must come to its end."""
    frames: list[Answer] = [
        json.loads(line) for line in stream(place, f"{NATIVE}/{path}", body | STREAMED)
    ]
    assert len(frames) > 2
    assert [frame["done"] for frame in frames] == [False] * (len(frames) - 1) + [True]
    check_counts(frames[-1])
    return frames


def check_counts(answer: Answer) -> None:
    """Check what Open WebUI shows of an answer's costs."""
    for name in ("prompt_eval_count", "eval_count", "total_duration", "eval_duration"):
        assert isinstance(answer[name], int), f"{name} {answer.get(name)!r}"
        assert answer[name] > 0, name


def check_page(answer: Answer) -> str:
    """Check an answer in OpenAI's form; return its text."""
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "stop", str(choice)
    check_counts(answer["usage"])
    text: str = choice["message"]["content"]
    assert text
    return text


def is_loaded(place: Place) -> bool:
    """Return whether the list of loaded models has the chat model."""
    return listed(place.chat) in [model["model"] for model in get(place, f"{NATIVE}/ps")["models"]]


@scenarios.add
def version(place: Place) -> None:
    """The connection is verified by its version, whose parts are read as numbers."""
    (gateway,) = get(place, "/ollama/config")["OLLAMA_BASE_URLS"]
    verified = post(place, "/ollama/verify", {"url": gateway})["version"]
    assert get(place, f"{NATIVE}/version")["version"] == verified
    assert len([int(part) for part in verified.split(".")]) == 3


@scenarios.add
def list_models(place: Place) -> None:
    """Both lists are merged: what is loaded says until when."""

    def find(model: str) -> Answer:
        found = [one for one in get(place, "/api/models")["data"] if one["id"] == listed(model)]
        return dict(found[0])

    post(place, PAGE, ask(place))
    # Open WebUI keeps its list for a second.
    wait_until(lambda: find(place.chat)["loaded"])
    chat, embedding = find(place.chat), find(place.embedding)
    assert chat["owned_by"] == "ollama"
    assert {"completion", "tools", "vision"} <= set(chat["ollama"]["capabilities"])
    assert embedding["ollama"]["capabilities"] == ["embedding"]
    assert chat["ollama"]["digest"] != embedding["ollama"]["digest"]
    assert isinstance(chat["ollama"]["expires_at"], int)


@scenarios.add
def models(place: Place) -> None:
    """The list in OpenAI's form."""
    names = [model["id"] for model in get(place, "/ollama/v1/models")["data"]]
    assert {listed(place.chat), listed(place.embedding)} <= set(names), str(names)


@scenarios.add
def show(place: Place) -> None:
    """Details of a model, found by the name that is listed."""
    shown = post(place, f"{NATIVE}/show", {"model": listed(place.chat)})
    assert {"completion", "tools", "vision", "thinking"} <= set(shown["capabilities"])
    assert shown["model_info"]["general.architecture"]


@scenarios.add
def ps(place: Place) -> None:
    """A model that has answered is loaded."""
    post(place, PAGE, ask(place))
    assert is_loaded(place)


@scenarios.add
def chat(place: Place) -> None:
    """The page's question, answered at once."""
    answer = post(place, PAGE, ask(place))
    assert answer["model"] == listed(place.chat)
    assert check_page(answer)


@scenarios.add
def chat_stream(place: Place) -> None:
    """The page's question, answered bit by bit."""
    events = stream_page(place, ask(place))
    assert joined(events)
    assert events[-1]["choices"][0]["finish_reason"] == "stop"
    check_counts(events[-1]["usage"])


@scenarios.add
def chat_native(place: Place) -> None:
    """A chat in Ollama's form, with options and a second turn."""
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": QUESTION},
    ]
    body = ask(place, messages=said, options={"temperature": 0.5, "num_ctx": 4096}, keep_alive="5m")
    answer = post(place, f"{NATIVE}/chat", body)
    assert (answer["done"], answer["done_reason"]) == (True, "stop")
    assert answer["message"]["role"] == "assistant"
    assert answer["message"]["content"]
    check_counts(answer)


@scenarios.add
def chat_native_stream(place: Place) -> None:
    """A chat in Ollama's form, answered bit by bit."""
    frames = stream_native(place, "chat", ask(place))
    assert "".join(frame["message"]["content"] for frame in frames)


@scenarios.add
def chat_options(place: Place) -> None:
    """A limit of tokens ends the answer, and the page learns why."""
    (choice,) = post(place, PAGE, ask(place, max_tokens=3))["choices"]
    assert choice["finish_reason"] == "length", str(choice)


@scenarios.add
def chat_v1(place: Place) -> None:
    """OpenAI's own form, handed on as it is."""
    answer = post(place, "/ollama/v1/chat/completions", ask(place))
    (choice,) = answer["choices"]
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] > 0


@scenarios.add
def chat_v1_stream(place: Place) -> None:
    """OpenAI's own form, handed on bit by bit."""
    assert joined(stream_page(place, ask(place), "/ollama/v1/chat/completions"))


@scenarios.add
def chat_responses(place: Place) -> None:
    """The form of Responses, handed on as it is."""
    body = {"model": listed(place.chat), "input": QUESTION}
    answer = post(place, "/ollama/v1/responses", body)
    assert answer["status"] == "completed"
    assert [part for part in answer["output"] if part["type"] == "message"]


@scenarios.add
def chat_messages(place: Place) -> None:
    """Anthropic's form, handed on as it is."""
    answer = post(place, "/ollama/v1/messages", ask(place, max_tokens=200))
    assert [part for part in answer["content"] if part["type"] == "text"]
    assert answer["stop_reason"] == "end_turn"


@scenarios.add
def think(place: Place) -> None:
    """Thinking comes apart from the answer, in the page's form and in Ollama's."""
    (choice,) = post(place, PAGE, ask(place))["choices"]
    assert choice["message"]["reasoning_content"]
    answer = post(place, f"{NATIVE}/chat", ask(place, think=True))
    assert answer["message"]["thinking"]
    assert answer["message"]["content"]


@scenarios.add
def think_stream(place: Place) -> None:
    """Thinking is told before the answer."""
    events = stream_page(place, ask(place))
    kinds = ["content" in event["choices"][0]["delta"] for event in events[:-1]]
    assert kinds == sorted(kinds), "thinking within the answer"
    assert joined(events, "reasoning_content")
    assert joined(events)


@scenarios.add
def think_false(place: Place) -> None:
    """Thinking is left out when the page's settings refuse it."""
    (choice,) = post(place, PAGE, ask(place, params={"think": False}))["choices"]
    assert choice["message"]["content"]
    assert not choice["message"].get("reasoning_content")


@scenarios.add
def tools_roundtrip(place: Place) -> None:
    """A call is told, and its result leads to an answer."""
    body = ask(place, WEATHER_QUESTION, tools=[WEATHER_TOOL])
    (choice,) = post(place, PAGE, body)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"])["city"]
    result = {"role": "tool", "tool_call_id": call["id"], "content": "Sunny, 24 degrees."}
    assert check_page(
        post(place, PAGE, body | {"messages": [*body["messages"], choice["message"], result]})
    )


@scenarios.add
def tools_stream(place: Place) -> None:
    """Two calls come in a stream, each with a place and an id of its own."""
    body = ask(place, TWO_QUESTION, tools=[WEATHER_TOOL, TIME_TOOL])
    events = stream_page(place, body)
    deltas = [event["choices"][0]["delta"] for event in events]
    calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    assert {call["function"]["name"] for call in calls} == {"get_weather", "get_time"}
    assert len({call["id"] for call in calls}) == len({call["index"] for call in calls}) == 2
    for call in calls:
        assert json.loads(call["function"]["arguments"])
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


@scenarios.add
def tools_native(place: Place) -> None:
    """A call in Ollama's form has arguments that are an object."""
    body = ask(place, WEATHER_QUESTION, tools=[WEATHER_TOOL])
    (call,) = post(place, f"{NATIVE}/chat", body)["message"]["tool_calls"]
    assert call["function"]["arguments"]["city"]


@scenarios.add
def format_schema(place: Place) -> None:
    """A schema that is asked for in OpenAI's form becomes Ollama's format."""
    wanted = {"type": "json_schema", "json_schema": {"name": "Person", "schema": PERSON_SCHEMA}}
    text = check_page(post(place, PAGE, ask(place, PERSON_QUESTION, response_format=wanted)))
    check_person(json.loads(text))


@scenarios.add
def format_native(place: Place) -> None:
    """A schema, and JSON without one, in Ollama's form."""
    for wanted in (PERSON_SCHEMA, "json"):
        answer = post(place, f"{NATIVE}/chat", ask(place, PERSON_QUESTION, format=wanted))
        read = json.loads(answer["message"]["content"])
        if wanted == PERSON_SCHEMA:
            check_person(read)


@scenarios.add
def image_page(place: Place) -> None:
    """A picture of the page's, which travels as a data URL and becomes one of Ollama's."""
    data = base64.b64encode(make_png()).decode()
    parts = [
        {"type": "text", "text": QUESTION},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
    ]
    body = ask(place, messages=[{"role": "user", "content": parts}])
    assert check_page(post(place, PAGE, body))


@scenarios.add
def image_native(place: Place) -> None:
    """A picture in Ollama's form."""
    data = base64.b64encode(make_png()).decode()
    said = [{"role": "user", "content": QUESTION, "images": [data]}]
    assert post(place, f"{NATIVE}/chat", ask(place, messages=said))["message"]["content"]


@scenarios.add
def generate(place: Place) -> None:
    """A prompt, answered at once and bit by bit; Open WebUI reads both as a stream."""
    body = {"model": listed(place.chat), "prompt": QUESTION, "system": "Be brief."}
    answer = post(place, f"{NATIVE}/generate", body | {"stream": False})
    assert answer["response"]
    check_counts(answer)
    frames = stream_native(place, "generate", body)
    assert "".join(frame["response"] for frame in frames)


@scenarios.add
def complete_v1(place: Place) -> None:
    """OpenAI's old form of a prompt, handed on as it is."""
    body = {"model": listed(place.chat), "prompt": QUESTION}
    assert post(place, "/ollama/v1/completions", body)["choices"][0]["text"]


@scenarios.add
def embed(place: Place) -> None:
    """Several texts give as many vectors of length one."""
    texts = ["harbour", "a lantern in the fog"]
    body = {"model": listed(place.embedding), "input": texts}
    vectors = post(place, f"{NATIVE}/embed", body)["embeddings"]
    assert len(vectors) == len(texts)
    for vector in vectors:
        check_unit(vector)
    assert math.dist(*vectors) > 1e-3


@scenarios.add
def embed_page(place: Place) -> None:
    """Vectors in OpenAI's form, turned into Ollama's and back or handed on."""
    body = {"model": listed(place.embedding), "input": [QUESTION]}
    for path in ("/api/embeddings", "/ollama/v1/embeddings"):
        (vector,) = post(place, path, body)["data"]
        assert vector["embedding"], path


@scenarios.add
def embeddings_legacy(place: Place) -> None:
    """The old way to ask for a vector."""
    body = {"model": listed(place.embedding), "prompt": QUESTION}
    assert post(place, f"{NATIVE}/embeddings", body)["embedding"]


@scenarios.add
def pull(place: Place) -> None:
    """A model that is here is pulled at once; Open WebUI does not say that it wants a stream."""
    frames = [json.loads(line) for line in stream(place, f"{NATIVE}/pull", {"model": place.chat})]
    assert frames[0] != frames[-1]
    assert frames[-1]["status"] == "success", str(frames[-1])


@scenarios.add
def unload(place: Place) -> None:
    """The page's button takes a model out of the list of loaded ones; a question loads it again."""
    post(place, PAGE, ask(place))
    assert post(place, f"{NATIVE}/unload", {"model": listed(place.chat)}) == {"status": True}
    wait_until(lambda: not is_loaded(place))
    post(place, PAGE, ask(place))
    assert is_loaded(place)


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not listed is refused by Open WebUI itself."""
    body = ask(place, model=MISSING_MODEL)
    refuse(place, PAGE, body, 400, "Model not found")
    refuse(place, f"{NATIVE}/chat", body, 400, MISSING_MODEL)


@scenarios.add
def missing_model_upstream(place: Place) -> None:
    """Asked of a server by its number, a model is missed there, whose words are handed on."""
    body = {"model": MISSING_MODEL, "prompt": QUESTION, "input": QUESTION}
    for path in ("generate", "embed", "embeddings", "chat"):
        refuse(place, f"{NATIVE}/{path}/0", ask(place) | body, 404, "not found")


@scenarios.add
def stream_abort(place: Place) -> None:
    """A reader of the page's that leaves within an answer can ask again."""
    lines = stream(place, PAGE, ask(place, HELD_QUESTION) | STREAMED)
    assert json.loads(next(iter(lines)).removeprefix("data: "))["choices"][0]["delta"]
    lines.close()
    assert check_page(post(place, PAGE, ask(place)))


@scenarios.add
def native_breaks_off(place: Place) -> None:
    """In Ollama's form, an answer that breaks off ends in a line with an error."""
    *_, last = stream(place, f"{NATIVE}/chat", ask(place, BROKEN_QUESTION) | STREAMED)
    assert json.loads(last)["error"]


@scenarios.add
def page_breaks_off(place: Place) -> None:
    """In the page's form, an answer that breaks off does not end as if it were whole."""
    lines = list(stream(place, PAGE, ask(place, BROKEN_QUESTION) | STREAMED))
    assert any('"error"' in line for line in lines), "it ends as if it were whole"


def main() -> int:
    """Run scenarios against an Open WebUI whose only server of models is at the URL given."""
    if len(sys.argv) < 2:
        return scenarios.main()
    if sys.argv[1] == SERVED:
        return scenarios.main(sys.argv[2:])
    with serving(sys.argv[1]) as url:
        return scenarios.main([url, *sys.argv[2:]])


if __name__ == "__main__":
    sys.exit(main())

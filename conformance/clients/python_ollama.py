"""
Drives the official Python client: `python -m conformance.clients.python_ollama URL CHAT EMBEDDING`.

It is the strictest of the Python clients, since every answer passes through typed models, and most
Python users stand on it (docs/facts/clients.md#python-client).
"""

# Long because it drives the largest client: one function for each of its scenarios, nothing else.

import asyncio
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
from ollama import AsyncClient, ChatResponse, Client, GenerateResponse, Message, ResponseError

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
    wait_until,
)

Frame = ChatResponse | GenerateResponse

CONCURRENT = 8

scenarios = Scenarios()


def connect(place: Place) -> Client:
    """Return a client for the place."""
    return Client(host=place.url, **CONNECTION)


def said(text: str, **more: Any) -> list[dict[str, Any]]:
    """Return the messages of one question."""
    return [{"role": "user", "content": text, **more}]


def check_counts(last: Frame, reasons: Sequence[str] = ("stop",)) -> None:
    """Check a frame that ends an answer: reason, counts, durations in whole nanoseconds."""
    assert last.done is True
    assert last.done_reason in reasons
    assert last.created_at is not None
    datetime.fromisoformat(last.created_at.replace("Z", "+00:00"))
    for count in (last.prompt_eval_count, last.eval_count, last.total_duration):
        assert count is not None
        assert count > 0
    assert last.eval_duration is not None
    assert last.prompt_eval_duration is not None


def check_chat(answer: ChatResponse, place: Place, reasons: Sequence[str] = ("stop",)) -> str:
    """Check a whole chat answer; return its text."""
    assert answer.model == place.chat
    assert answer.message.role == "assistant"
    assert answer.message.content is not None
    check_counts(answer, reasons)
    return answer.message.content


def check_frames(frames: Sequence[Frame], place: Place, least: int = 3) -> None:
    """Check what all streams have: several frames, of which the last one alone is done."""
    assert len(frames) >= least, f"{len(frames)} frames"
    assert [frame.done for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert {frame.model for frame in frames} == {place.chat}
    assert all(frame.created_at for frame in frames)
    assert all(frame.eval_count is None and frame.done_reason is None for frame in frames[:-1])
    check_counts(frames[-1])


def read_chat(stream: Iterable[ChatResponse], place: Place, least: int = 3) -> list[Message]:
    """Read a chat's stream to its end, check it, and return the messages in it."""
    frames = list(stream)
    check_frames(frames, place, least)
    messages = [frame.message for frame in frames]
    assert {message.role for message in messages} == {"assistant"}
    assert all(message.content is not None for message in messages)
    return messages


def text_of(messages: Iterable[Message]) -> str:
    """Return the text in the messages of a stream."""
    return "".join(message.content or "" for message in messages)


def calls_of(messages: Iterable[Message]) -> list[Message.ToolCall]:
    """Return all tool calls in messages."""
    return [call for message in messages for call in message.tool_calls or ()]


def check_weather_call(call: Message.ToolCall) -> None:
    """Check a call of the weather tool against its schema."""
    assert call.function.name == "get_weather"
    jsonschema.validate(dict(call.function.arguments), WEATHER_TOOL["function"]["parameters"])


def check_unit(vector: Sequence[float]) -> None:
    """Check a vector of /api/embed, which has length one (docs/facts/ollama.md#vectors)."""
    assert math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-3), f"length {math.hypot(*vector)}"


def check_missing(action: Callable[[], object]) -> None:
    """Check the refusal of a model that is not there: 404, and the words that people match on."""
    error = refusal_of(action, ResponseError)
    assert error.status_code == 404, f"status {error.status_code}: {error.error}"
    assert isinstance(error.error, str)
    assert "not found" in error.error


@scenarios.add
def list_models(place: Place) -> None:
    """Every model has its own name and digest, a size and a time."""
    models = connect(place).list().models
    names = [model.model for model in models]
    assert place.chat in [(name or "").removesuffix(":latest") for name in names]
    assert len({model.digest for model in models}) == len(models)
    assert len(set(names)) == len(models)
    for model in models:
        assert model.digest
        assert len(model.digest) == 64
        assert model.size is not None
        assert model.size > 0
        assert model.modified_at is not None
        assert model.modified_at.tzinfo is not None
        assert model.details is not None


@scenarios.add
def show(place: Place) -> None:
    """The models say what they can, and how much context they have."""
    client = connect(place)
    chat = client.show(place.chat)
    assert {"completion", "tools", "thinking", "vision"} <= set(chat.capabilities or ())
    windows = [
        value for key, value in (chat.modelinfo or {}).items() if key.endswith(".context_length")
    ]
    assert windows
    assert windows[0] > 0
    assert chat.details is not None
    assert chat.details.quantization_level
    assert "embedding" in (client.show(place.embedding).capabilities or ())


@scenarios.add
def ps(place: Place) -> None:
    """A model that has just answered is loaded, with a size and a time to expire."""
    client = connect(place)
    client.chat(place.chat, said(QUESTION), think=False)
    loaded = {model.model: model for model in client.ps().models}
    model = loaded.get(place.chat) or loaded[f"{place.chat}:latest"]
    assert model.size
    assert model.size_vram is not None
    assert model.expires_at is not None
    assert model.expires_at.tzinfo is not None
    assert model.digest in {one.digest for one in client.list().models}


@scenarios.add
def chat(place: Place) -> None:
    """A chat answers in one piece."""
    assert check_chat(connect(place).chat(place.chat, said(QUESTION)), place)


@scenarios.add
def chat_stream(place: Place) -> None:
    """A chat answers in frames."""
    stream = connect(place).chat(place.chat, said(QUESTION), stream=True)
    assert text_of(read_chat(stream, place))


@scenarios.add
def chat_options_keepalive(place: Place) -> None:
    """Options of all types are taken, num_predict cuts, keep_alive comes as text and number."""
    client = connect(place)
    options = {"temperature": 0, "top_k": 40, "seed": 7, "num_predict": 4, "stop": ["\x1c"]}
    answer = client.chat(place.chat, said(QUESTION), options=options, keep_alive="10m", think=False)
    check_chat(answer, place, ("length",))
    assert (answer.eval_count or 0) <= 4
    answer = client.chat(place.chat, said(QUESTION), keep_alive=300, think=False)
    assert check_chat(answer, place)


@scenarios.add
def chat_multi_turn(place: Place) -> None:
    """A dialogue with a system message goes on, and counts more than its last question does."""
    client = connect(place)
    short = client.chat(place.chat, said(QUESTION), think=False)
    messages: list[Any] = [
        {"role": "system", "content": "Speak as a gardener would."},
        *said(QUESTION),
        short.message,
        *said(QUESTION),
    ]
    long = client.chat(place.chat, messages, think=False)
    assert check_chat(long, place)
    assert (long.prompt_eval_count or 0) > (short.prompt_eval_count or 0)


@scenarios.add
def think(place: Place) -> None:
    """Thinking stands beside the text."""
    answer = connect(place).chat(place.chat, said(QUESTION), think=True)
    assert check_chat(answer, place)
    assert answer.message.thinking


@scenarios.add
def think_stream(place: Place) -> None:
    """Thinking comes in frames of its own, before the text."""
    stream = connect(place).chat(place.chat, said(QUESTION), think=True, stream=True)
    messages = read_chat(stream, place)
    thinking = [n for n, message in enumerate(messages) if message.thinking]
    text = [n for n, message in enumerate(messages) if message.content]
    assert thinking
    assert text
    assert max(thinking) < min(text)


@scenarios.add
def think_level(place: Place) -> None:
    """Thinking takes a level."""
    client = connect(place)
    low = client.chat(place.chat, said(QUESTION), think="low")
    high = client.chat(place.chat, said(QUESTION), think="high")
    for answer in (low, high):
        assert check_chat(answer, place)
        assert answer.message.thinking


@scenarios.add
def think_false(place: Place) -> None:
    """Without thinking there is none, streamed or not."""
    client = connect(place)
    answer = client.chat(place.chat, said(QUESTION), think=False)
    assert check_chat(answer, place)
    assert not answer.message.thinking
    messages = read_chat(client.chat(place.chat, said(QUESTION), think=False, stream=True), place)
    assert not any(message.thinking for message in messages)


@scenarios.add
def tools_single(place: Place) -> None:
    """A tool is called with arguments that its schema allows."""
    answer = connect(place).chat(place.chat, said(WEATHER_QUESTION), tools=[WEATHER_TOOL])
    check_chat(answer, place)
    (call,) = calls_of([answer.message])
    check_weather_call(call)


@scenarios.add
def tools_parallel(place: Place) -> None:
    """Two tools are called in one turn."""
    tools = [WEATHER_TOOL, TIME_TOOL]
    answer = connect(place).chat(place.chat, said(TWO_QUESTION), tools=tools)
    calls = calls_of([answer.message])
    assert {call.function.name for call in calls} == {"get_weather", "get_time"}
    check_weather_call(next(call for call in calls if call.function.name == "get_weather"))


@scenarios.add
def tools_stream(place: Place) -> None:
    """A stream has each call whole, in one frame."""
    stream = connect(place).chat(
        place.chat, said(TWO_QUESTION), tools=[WEATHER_TOOL, TIME_TOOL], think=False, stream=True
    )
    calls = calls_of(read_chat(stream, place, least=1))
    assert sorted(call.function.name for call in calls) == ["get_time", "get_weather"]
    check_weather_call(next(call for call in calls if call.function.name == "get_weather"))


@scenarios.add
def tools_roundtrip(place: Place) -> None:
    """Results are answered in words; this client drops a call's id and leaves content out."""
    client = connect(place)
    messages: list[Any] = said(TWO_QUESTION)
    first = client.chat(place.chat, messages, tools=[WEATHER_TOOL, TIME_TOOL])
    messages.append(first.message)
    for call in calls_of([first.message]):
        result = json.dumps({"asked": call.function.name, "result": 17})
        messages.append({"role": "tool", "tool_name": call.function.name, "content": result})
    second = client.chat(place.chat, messages, tools=[WEATHER_TOOL, TIME_TOOL])
    assert check_chat(second, place)
    assert not second.message.tool_calls
    stream = client.chat(place.chat, messages, tools=[WEATHER_TOOL, TIME_TOOL], stream=True)
    assert text_of(read_chat(stream, place))


@scenarios.add
def tools_from_function(place: Place) -> None:
    """A Python function is a tool, described by the client."""

    def get_weather(city: str, days: int = 1) -> str:
        """
        Tell the weather.

        Args:
          city: Name of the city
          days: Days ahead

        Returns:
          str: The weather
        """
        return f"{city} {days}"

    answer = connect(place).chat(place.chat, said(WEATHER_QUESTION), tools=[get_weather])
    (call,) = calls_of([answer.message])
    assert get_weather(**call.function.arguments)


@scenarios.add
def format_json(place: Place) -> None:
    """With format json the text is JSON."""
    answer = connect(place).chat(
        place.chat, said(f"{PERSON_QUESTION} Answer in JSON."), format="json"
    )
    json.loads(check_chat(answer, place))


@scenarios.add
def format_schema(place: Place) -> None:
    """With a schema the text is an instance of it."""
    answer = connect(place).chat(place.chat, said(PERSON_QUESTION), format=PERSON_SCHEMA)
    jsonschema.validate(json.loads(check_chat(answer, place)), PERSON_SCHEMA)


@scenarios.add
def format_schema_stream(place: Place) -> None:
    """A streamed instance of a schema is one when joined."""
    stream = connect(place).chat(
        place.chat, said(PERSON_QUESTION), format=PERSON_SCHEMA, think=False, stream=True
    )
    jsonschema.validate(json.loads(text_of(read_chat(stream, place))), PERSON_SCHEMA)


@scenarios.add
def image_bytes(place: Place) -> None:
    """A picture given as bytes is taken, and counts."""
    client = connect(place)
    without = client.chat(place.chat, said(QUESTION))
    answer = client.chat(place.chat, said(QUESTION, images=[make_png()]))
    assert check_chat(answer, place)
    assert (answer.prompt_eval_count or 0) > (without.prompt_eval_count or 0)


@scenarios.add
def image_path(place: Place) -> None:
    """A picture given as a file is taken."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "grey.png")
        path.write_bytes(make_png())
        answer = connect(place).chat(place.chat, said(QUESTION, images=[path]))
    assert check_chat(answer, place)


@scenarios.add
def generate(place: Place) -> None:
    """A prompt is answered in one piece."""
    answer = connect(place).generate(place.chat, QUESTION)
    assert answer.model == place.chat
    assert answer.response
    check_counts(answer)


@scenarios.add
def generate_stream(place: Place) -> None:
    """A prompt is answered in frames, each with a response."""
    frames = list(connect(place).generate(place.chat, QUESTION, stream=True))
    check_frames(frames, place)
    assert all(frame.response is not None for frame in frames)
    assert any(frame.response for frame in frames)


@scenarios.add
def generate_system(place: Place) -> None:
    """A system prompt is taken, and counts."""
    client = connect(place)
    without = client.generate(place.chat, QUESTION, think=False)
    answer = client.generate(place.chat, QUESTION, system="Speak as a gardener would.", think=False)
    assert answer.response
    assert (answer.prompt_eval_count or 0) > (without.prompt_eval_count or 0)


@scenarios.add
def generate_format(place: Place) -> None:
    """With a schema the response is an instance of it."""
    answer = connect(place).generate(place.chat, PERSON_QUESTION, format=PERSON_SCHEMA)
    jsonschema.validate(json.loads(answer.response or ""), PERSON_SCHEMA)


@scenarios.add
def generate_raw(place: Place) -> None:
    """A raw prompt is carried on, streamed or not."""
    client = connect(place)
    answer = client.generate(place.chat, "The lighthouse stood on", raw=True)
    assert answer.response
    check_counts(answer)
    frames = list(client.generate(place.chat, "The lighthouse stood on", raw=True, stream=True))
    check_frames(frames, place)


@scenarios.add
def generate_image(place: Place) -> None:
    """A picture beside the prompt is taken."""
    answer = connect(place).generate(place.chat, QUESTION, images=[make_png()])
    assert answer.response
    check_counts(answer)


@scenarios.add
def generate_system_format_image(place: Place) -> None:
    """System text, schema and picture go together."""
    answer = connect(place).generate(
        place.chat, PERSON_QUESTION, system="Be brief.", format=PERSON_SCHEMA, images=[make_png()]
    )
    jsonschema.validate(json.loads(answer.response or ""), PERSON_SCHEMA)
    check_counts(answer)


@scenarios.add
def generate_think(place: Place) -> None:
    """Thinking stands beside the response, and is gone when refused."""
    client = connect(place)
    answer = client.generate(place.chat, QUESTION, think=True)
    assert answer.response
    assert answer.thinking
    assert not client.generate(place.chat, QUESTION, think=False).thinking


@scenarios.add
def embed_one(place: Place) -> None:
    """One text gives one vector of length one."""
    answer = connect(place).embed(place.embedding, QUESTION)
    assert answer.model == place.embedding
    (vector,) = answer.embeddings
    check_unit(vector)
    assert answer.prompt_eval_count
    assert answer.total_duration


@scenarios.add
def embed_batch(place: Place) -> None:
    """Several texts give as many vectors, in their order."""
    client = connect(place)
    texts = ["harbour", "a lantern in the fog", "harbour"]
    vectors = client.embed(place.embedding, texts, truncate=True, keep_alive="5m").embeddings
    assert len(vectors) == len(texts)
    for vector in vectors:
        check_unit(vector)
    assert math.dist(vectors[0], vectors[2]) < 1e-3 < math.dist(vectors[0], vectors[1])


@scenarios.add
def embed_dimensions(place: Place) -> None:
    """Vectors are cut to the dimensions asked for, and have length one again."""
    (vector,) = connect(place).embed(place.embedding, QUESTION, dimensions=8).embeddings
    assert len(vector) == 8
    check_unit(vector)


@scenarios.add
def embeddings_legacy(place: Place) -> None:
    """The old way to ask for a vector."""
    client = connect(place)
    old = client.embeddings(place.embedding, QUESTION).embedding
    assert len(old) == len(client.embed(place.embedding, QUESTION).embeddings[0])
    assert any(old)


@scenarios.add
def pull(place: Place) -> None:
    """A model that is here is pulled at once."""
    assert connect(place).pull(place.chat).status == "success"


@scenarios.add
def pull_stream(place: Place) -> None:
    """Progress is told in frames, of which the last says that it is done."""
    frames = list(connect(place).pull(place.chat, stream=True))
    assert all(frame.status for frame in frames)
    assert [frame.status for frame in frames].index("success") == len(frames) - 1


@scenarios.add
def preload_and_unload(place: Place) -> None:
    """Empty requests load and unload a model, which `ps` shows."""
    client = connect(place)

    def is_loaded() -> bool:
        names = [model.model for model in client.ps().models]
        return place.chat in names or f"{place.chat}:latest" in names

    loaded = client.generate(place.chat, keep_alive="5m")
    assert (loaded.done, loaded.done_reason, loaded.response) == (True, "load", "")
    assert is_loaded()
    unloaded = client.chat(place.chat, messages=[], keep_alive=0)
    assert (unloaded.done, unloaded.done_reason) == (True, "unload")
    assert unloaded.message.content == ""
    wait_until(lambda: not is_loaded())
    loaded_again = client.chat(place.chat, messages=[])
    assert (loaded_again.done, loaded_again.done_reason) == (True, "load")
    assert is_loaded()


@scenarios.add
def missing_model_chat(place: Place) -> None:
    """A chat with a model that is not there."""
    check_missing(lambda: connect(place).chat(MISSING_MODEL, said(QUESTION)))


@scenarios.add
def missing_model_chat_stream(place: Place) -> None:
    """A streamed chat with a model that is not there."""
    check_missing(lambda: list(connect(place).chat(MISSING_MODEL, said(QUESTION), stream=True)))


@scenarios.add
def missing_model_generate(place: Place) -> None:
    """A prompt for a model that is not there."""
    check_missing(lambda: connect(place).generate(MISSING_MODEL, QUESTION))


@scenarios.add
def missing_model_generate_stream(place: Place) -> None:
    """A streamed prompt for a model that is not there."""
    check_missing(lambda: list(connect(place).generate(MISSING_MODEL, QUESTION, stream=True)))


@scenarios.add
def missing_model_show(place: Place) -> None:
    """Details of a model that is not there."""
    check_missing(lambda: connect(place).show(MISSING_MODEL))


@scenarios.add
def missing_model_embed(place: Place) -> None:
    """Vectors of a model that is not there."""
    check_missing(lambda: connect(place).embed(MISSING_MODEL, QUESTION))


@scenarios.add
def missing_model_embeddings(place: Place) -> None:
    """Vectors of a model that is not there, the old way."""
    check_missing(lambda: connect(place).embeddings(MISSING_MODEL, QUESTION))


@scenarios.add
async def async_chat_stream(place: Place) -> None:
    """The asynchronous client reads the same frames."""
    client = AsyncClient(host=place.url, **CONNECTION)
    frames = [frame async for frame in await client.chat(place.chat, said(QUESTION), stream=True)]
    check_frames(frames, place)


@scenarios.add
async def async_concurrent(place: Place) -> None:
    """Answers to simultaneous questions of growing length have growing counts: none is swapped."""
    client = AsyncClient(host=place.url, **CONNECTION)
    answers = await asyncio.gather(
        *(
            client.chat(place.chat, said(f"{QUESTION} {'Why? ' * 20 * n}"), think=False)
            for n in range(CONCURRENT)
        )
    )
    for answer in answers:
        assert check_chat(answer, place)
    counts = [answer.prompt_eval_count or 0 for answer in answers]
    assert counts == sorted(set(counts)), str(counts)


@scenarios.add
def stream_abort(place: Place) -> None:
    """A client that leaves a stream early can go on."""
    client = connect(place)
    stream = client.chat(place.chat, said(HELD_QUESTION), stream=True)
    assert next(iter(stream)).done is False
    stream.close()  # type: ignore[attr-defined]  # declared an iterator, is a generator
    assert check_chat(client.chat(place.chat, said(QUESTION)), place)


@scenarios.add
def stream_breaks_off(place: Place) -> None:
    """An answer that breaks off ends in an error: a clean end would pass for success."""
    frames = []

    def read() -> None:
        for frame in connect(place).chat(place.chat, said(BROKEN_QUESTION), stream=True):
            frames.append(frame)

    error = refusal_of(read, ResponseError)
    assert frames
    assert isinstance(error.error, str)
    assert error.error


if __name__ == "__main__":
    sys.exit(scenarios.main())

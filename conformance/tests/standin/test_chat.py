"""
Chat and completions: shapes, thinking, tools, schemas, limits, refusals
(docs/facts/lmstudio.md#chat-fields, docs/facts/lmstudio.md#stream-order).
"""

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import jsonschema
import msgspec
import pytest

from conformance.standin import StandIn
from conformance.standin.catalogue import DEFAULT
from conformance.standin.catalogue import GRADED as GRADED_MODEL
from conformance.tests.standin.support import (
    CLOCK,
    GRADED,
    PLAIN,
    SILENT,
    SWITCHED,
    TWO_VARIANTS,
    WEATHER,
    ask,
    chat,
    deltas_of,
    joined,
    read_events,
    speak_to,
    stream,
)

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 20).decode()
LOOK = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
]


def with_results(question: str, *results: tuple[str, str, str]) -> list[dict[str, Any]]:
    """Return a dialogue in which tools were called and answered: id, name and result of each."""
    calls = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for id_, name, _ in results
    ]
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": None, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": id_, "content": text} for id_, _, text in results),
    ]


async def test_a_whole_answer_has_every_key(client: httpx.AsyncClient) -> None:
    """Keys in the recorded order; ids, counts and the empty statistics."""
    answer = await chat(client, PLAIN)
    order = ["id", "object", "created", "model", "choices", "usage", "stats", "system_fingerprint"]
    assert order == list(answer)
    assert answer["id"].startswith("chatcmpl-")
    choice = answer["choices"][0]
    assert ["index", "message", "logprobs", "finish_reason"] == list(choice)
    assert ["role", "content", "reasoning_content", "tool_calls"] == list(choice["message"])
    assert ("", []) == (choice["message"]["reasoning_content"], choice["message"]["tool_calls"])
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert {"reasoning_tokens": 0} == usage["completion_tokens_details"]
    assert {} == answer["stats"]


async def test_a_stream_says_what_the_whole_answer_says(client: httpx.AsyncClient) -> None:
    """Role on the first chunk only, several chunks, an empty piece, a finish, the mark."""
    whole = await chat(client, PLAIN, "Why is that?")
    events = await stream(client, ask(PLAIN, "Why is that?"))
    deltas = deltas_of(events)
    assert whole["choices"][0]["message"]["content"] == joined(deltas, "content")
    assert [0] == [n for n, delta in enumerate(deltas) if "role" in delta]
    assert len(deltas) > 5
    assert [{"content": ""}, {}] == deltas[-2:]
    assert ["stop", "[DONE]"] == [events[-2][1]["choices"][0]["finish_reason"], events[-1][1]]
    heads = {(e["id"], e["created"], e["system_fingerprint"]) for _, e in events[:-1]}
    assert 1 == len(heads)


async def test_usage_is_streamed_only_when_asked_for(client: httpx.AsyncClient) -> None:
    """One chunk without choices behind the finish, or nothing at all."""
    silent = await stream(client, ask(PLAIN))
    assert not [event for _, event in silent if "usage" in event]
    told = await stream(client, ask(PLAIN, stream_options={"include_usage": True}))
    last = told[-2][1]
    assert [] == last["choices"]
    assert len(deltas_of(told)) - 2 == last["usage"]["completion_tokens"]


async def test_two_models_differ_and_one_repeats_itself(client: httpx.AsyncClient) -> None:
    """An answer depends on the model and the prompt, on nothing else."""

    async def said(model: str, text: str) -> str:
        return str((await chat(client, model, text))["choices"][0]["message"]["content"])

    assert await said(PLAIN, "Why?") == await said(PLAIN, "Why?")
    assert await said(PLAIN, "Why?") != await said(SILENT, "Why?")
    assert await said(PLAIN, "Why?") != await said(PLAIN, "How?")


async def test_thinking_comes_first_and_apart(client: httpx.AsyncClient) -> None:
    """It begins with a line break, the text behind it with two; never both in one delta."""
    deltas = deltas_of(await stream(client, ask(GRADED)))
    kinds = ["r" if "reasoning_content" in d else "c" for d in deltas if set(d) - {"role"}]
    assert sorted(kinds, reverse=True) == kinds
    assert {"r", "c"} == set(kinds)
    assert not [d for d in deltas if {"reasoning_content", "content"} <= set(d)]
    assert joined(deltas, "reasoning_content").startswith("\n")
    assert joined(deltas, "content").startswith("\n\n")
    whole = (await chat(client, GRADED, "What grows in the orchard?"))["choices"][0]["message"]
    assert whole["reasoning_content"] == joined(deltas, "reasoning_content")


async def test_effort_grades_thinking(client: httpx.AsyncClient) -> None:
    """None switches it off, levels make it longer; a model that cannot think takes no notice."""
    counts = []
    for effort in ("none", "low", "medium", "high"):
        usage = (await chat(client, GRADED, reasoning_effort=effort))["usage"]
        counts.append(usage["completion_tokens_details"]["reasoning_tokens"])
    assert 0 == counts[0]
    assert sorted(set(counts)) == counts
    off = await chat(client, SWITCHED, reasoning_effort="none")
    assert "" == off["choices"][0]["message"]["reasoning_content"]
    plain = await chat(client, PLAIN, reasoning_effort="high")
    assert "" == plain["choices"][0]["message"]["reasoning_content"]


async def test_a_wrong_effort_is_refused_even_for_a_stream(client: httpx.AsyncClient) -> None:
    """As ordinary JSON."""
    body = ask(GRADED, reasoning_effort="on", stream=True)
    answer = await client.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (400, "invalid_value") == (answer.status_code, error["code"])
    assert "Supported values: none, minimal, low, medium, high, xhigh." in error["message"]


async def test_an_offered_tool_is_called(client: httpx.AsyncClient) -> None:
    """With an id of nine digits and valid arguments; content stays an empty string."""
    answer = await chat(client, SILENT, "How is the weather in Oslo?", tools=[WEATHER])
    choice = answer["choices"][0]
    call = choice["message"]["tool_calls"][0]
    assert ("tool_calls", "") == (choice["finish_reason"], choice["message"]["content"])
    assert ["type", "id", "function"] == list(call)
    assert (9, True) == (len(call["id"]), call["id"].isdigit())
    arguments = json.loads(call["function"]["arguments"])
    jsonschema.validate(arguments, WEATHER["function"]["parameters"])
    assert {"city": "Oslo"} == arguments


@pytest.mark.parametrize(("model", "fragments"), [(SILENT, 2), (TWO_VARIANTS, 4)])
async def test_calls_are_streamed_in_fragments(
    client: httpx.AsyncClient, model: str, fragments: int
) -> None:
    """The first has the id and the name, the others arguments, whole or token by token."""
    events = await stream(client, ask(model, "weather in Trondheim, Norway?", tools=[WEATHER]))
    calls = [delta["tool_calls"][0] for delta in deltas_of(events) if "tool_calls" in delta]
    assert ["index", "id", "type", "function"] == list(calls[0])
    assert {"name": "get_weather", "arguments": ""} == calls[0]["function"]
    assert all(["index", "type", "function"] == list(call) for call in calls[1:])
    assert fragments <= len(calls)
    assert {"city": "Trondheim"} == json.loads("".join(c["function"]["arguments"] for c in calls))
    assert "tool_calls" == events[-2][1]["choices"][0]["finish_reason"]
    assert not joined(deltas_of(events), "content")


async def test_two_named_tools_are_called_together(client: httpx.AsyncClient) -> None:
    """One call is complete before the next begins."""
    body = ask(SILENT, "Use get_weather and get_time.", tools=[WEATHER, CLOCK])
    calls = [d["tool_calls"][0] for d in deltas_of(await stream(client, body)) if "tool_calls" in d]
    assert [0, 0, 1, 1] == [call["index"] for call in calls]
    assert ["get_weather", "get_time"] == [c["function"]["name"] for c in calls if "id" in c]
    assert calls[0]["id"] != calls[2]["id"]


async def test_tools_are_not_called_when_they_shall_not_or_cannot(
    client: httpx.AsyncClient,
) -> None:
    """`tool_choice` none, a tool that has no name, and a model that drops tools without a word."""
    refused = await chat(client, SILENT, tools=[WEATHER], tool_choice="none")
    assert [] == refused["choices"][0]["message"]["tool_calls"]
    nameless = {"type": "function", "function": {"name": ""}}
    called = await chat(client, SILENT, tools=[nameless, WEATHER])
    names = [call["function"]["name"] for call in called["choices"][0]["message"]["tool_calls"]]
    assert ["get_weather"] == names
    uncalled = await chat(client, SILENT, tools=[nameless])
    assert [] == uncalled["choices"][0]["message"]["tool_calls"]
    with_tools, without = await chat(client, PLAIN, tools=[WEATHER]), await chat(client, PLAIN)
    assert [] == with_tools["choices"][0]["message"]["tool_calls"]
    assert without["usage"]["prompt_tokens"] == with_tools["usage"]["prompt_tokens"]


async def test_results_are_answered_in_words(client: httpx.AsyncClient) -> None:
    """The answer mentions what each tool gave, and which tool it was."""
    messages = with_results(
        "Weather?", ("111111111", "get_weather", "17 degrees"), ("222222222", "get_time", "noon")
    )
    body = {"model": SILENT, "messages": messages, "tools": [WEATHER, CLOCK]}
    events = await stream(client, body)
    text = joined(deltas_of(events), "content")
    for part in ("get_weather", "17 degrees", "get_time", "noon"):
        assert part in text
    assert "stop" == events[-2][1]["choices"][0]["finish_reason"]
    assert {"content": ""} not in deltas_of(events)


async def test_a_schema_is_filled(client: httpx.AsyncClient) -> None:
    """The text is JSON that fits, in several chunks."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": ["integer", "null"]}},
        "required": ["name", "age"],
    }
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "p", "strict": "true", "schema": schema},
    }
    deltas = deltas_of(await stream(client, ask(GRADED, "Who is Anna?", response_format=wanted)))
    jsonschema.validate(json.loads(joined(deltas, "content")), schema)
    assert len([d for d in deltas if d.get("content")]) > 1


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (
            {"response_format": {"type": "json_object"}},
            "'response_format.type' must be 'json_schema' or 'text'",
        ),
        (
            {"tool_choice": {"type": "function", "function": {"name": "x"}}},
            "Invalid tool_choice type: 'object'. Supported string values: none, auto, required",
        ),
        ({"messages": None}, "'messages' field is required"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "Invalid 'messages' in payload."),
        (
            {"messages": [{"role": "tool", "tool_call_id": "", "content": "x"}]},
            "Invalid 'messages' in payload.",
        ),
        (
            {"messages": [{"role": "user", "content": LOOK}]},
            "Model does not support images. Please use a model that does.",
        ),
    ],
)
async def test_what_is_refused_with_a_bare_text(
    client: httpx.AsyncClient, more: dict[str, Any], error: str
) -> None:
    """Status 400, the error a plain string."""
    answer = await client.post("/v1/chat/completions", json={**ask(PLAIN), **more})
    assert (400, {"error": error}) == (answer.status_code, answer.json())


async def test_broken_json_is_refused(client: httpx.AsyncClient) -> None:
    """With a status, not by breaking down."""
    assert 400 == (await client.post("/v1/chat/completions", content=b"{")).status_code


async def test_an_image_for_a_blind_model_breaks_the_stream(client: httpx.AsyncClient) -> None:
    """Streamed, the same error is an event behind a status of 200, without the mark."""
    body = {"model": PLAIN, "messages": [{"role": "user", "content": LOOK}]}
    events = await stream(client, body)
    text = "Model does not support images. Please use a model that does."
    assert [("error", {"error": {"message": text}, "message": text})] == events


async def test_an_image_is_seen(client: httpx.AsyncClient) -> None:
    """A model with vision tells its size; what is no data URL is refused."""
    body = {"model": GRADED, "messages": [{"role": "user", "content": LOOK}]}
    answer = (await client.post("/v1/chat/completions", json=body)).json()
    assert "28 bytes" in answer["choices"][0]["message"]["content"]
    bad = [{"type": "image_url", "image_url": {"url": PNG}}]
    body = {"model": GRADED, "messages": [{"role": "user", "content": bad}]}
    assert 400 == (await client.post("/v1/chat/completions", json=body)).status_code


async def test_limits_and_stops(client: httpx.AsyncClient) -> None:
    """A limit is counted in chunks and may be text; a stop string is cut off with the rest."""
    events = await stream(client, ask(PLAIN, max_tokens=3, stream_options={"include_usage": True}))
    assert 3 == len([d for d in deltas_of(events) if d.get("content")])
    assert "length" == events[-3][1]["choices"][0]["finish_reason"]
    assert 3 == events[-2][1]["usage"]["completion_tokens"]
    texted = await chat(client, PLAIN, max_tokens="2")
    assert 2 == texted["usage"]["completion_tokens"]
    endless = await chat(client, PLAIN, "Why?", max_tokens=-1)
    choice = endless["choices"][0]
    assert "stop" == choice["finish_reason"]
    text = choice["message"]["content"]
    stopped = (await chat(client, PLAIN, "Why?", stop=[text[20:24], "never"]))["choices"][0]
    assert (text[: text.index(text[20:24])], "stop") == (
        stopped["message"]["content"],
        stopped["finish_reason"],
    )
    inside = await chat(client, GRADED, max_tokens=4)
    assert ("", "length") == (
        inside["choices"][0]["message"]["content"],
        inside["choices"][0]["finish_reason"],
    )


async def test_a_question_longer_than_the_context(client: httpx.AsyncClient) -> None:
    """An error event in a stream, a status otherwise; a larger context takes it."""
    long = "word " * 5000
    events = await stream(client, ask(PLAIN, long))
    assert "error" == events[0][0]
    assert "does not fit in context length" in events[0][1]["message"]
    answer = await client.post("/v1/chat/completions", json=ask(PLAIN, long))
    assert (400, True) == (answer.status_code, "only supports 4096" in answer.json()["error"])
    await client.post("/api/v1/models/unload", json={"instance_id": PLAIN})
    await client.post("/api/v1/models/load", json={"model": PLAIN, "context_length": 8192})
    assert PLAIN == (await chat(client, PLAIN, long))["model"]


async def test_the_context_ends_an_answer(client: httpx.AsyncClient) -> None:
    """What does not fit behind the question is cut off as by a limit."""
    load = {"model": SILENT, "context_length": 20}
    await client.post("/api/v1/models/load", json=load)
    answer = await chat(client, SILENT, "Why?")
    assert ("length", 20) == (
        answer["choices"][0]["finish_reason"],
        answer["usage"]["total_tokens"],
    )


async def test_the_other_name_for_thinking() -> None:
    """A model may send its thinking as `reasoning`, as some do."""
    assert GRADED_MODEL.reasoning is not None
    reasoning = msgspec.structs.replace(GRADED_MODEL.reasoning, field="reasoning")
    model = msgspec.structs.replace(GRADED_MODEL, reasoning=reasoning)
    async with StandIn(models=(model,)) as standin, speak_to(standin) as client:
        assert joined(deltas_of(await stream(client, ask(GRADED))), "reasoning")
        assert (await chat(client, GRADED))["choices"][0]["message"]["reasoning"]


async def test_the_quirks_of_old_hosts() -> None:
    """Role everywhere, empty names, `stop` after calls, thinking in the text, no counts."""
    async with StandIn(host_version="0.3") as standin, speak_to(standin) as client:
        body = ask(SILENT, "weather in Oslo?", tools=[WEATHER])
        events = await stream(client, {**body, "stream_options": {"include_usage": True}})
        calls = deltas_of(events)[:-1]
        assert all("assistant" == delta["role"] for delta in calls)
        assert {""} == {d["tool_calls"][0]["function"]["name"] for d in calls[1:]}
        assert "stop" == events[-2][1]["choices"][0]["finish_reason"]
        assert not [event for _, event in events if "usage" in event]
        text = joined(deltas_of(await stream(client, ask(GRADED))), "content")
        assert text.startswith("<think>\n")
        assert "</think>\n\n" in text
        whole = (await client.post("/v1/chat/completions", json=body)).json()
        choice = whole["choices"][0]
        assert ["index", "logprobs", "finish_reason", "message"] == list(choice)
        assert ["role", "tool_calls"] == list(choice["message"])
        assert "completion_tokens_details" not in whole["usage"]


async def test_other_servers_are_plainer_and_take_more() -> None:
    """No statistics, a role chunk, log probabilities, json_object and chosen tools."""
    async with StandIn(host_version="openai") as standin, speak_to(standin) as client:
        whole = await chat(client, PLAIN, logprobs=True, top_logprobs=2)
        assert not {"stats", "system_fingerprint"} & set(whole)
        tokens = whole["choices"][0]["logprobs"]["content"]
        assert whole["choices"][0]["message"]["content"] == "".join(t["token"] for t in tokens)
        assert {2} == {len(token["top_logprobs"]) for token in tokens}
        events = await stream(client, ask(PLAIN, response_format={"type": "json_object"}))
        assert {"role": "assistant", "content": ""} == deltas_of(events)[0]
        json.loads(joined(deltas_of(events), "content"))
        choice = {"type": "function", "function": {"name": "get_time"}}
        called = await chat(client, SILENT, tools=[WEATHER, CLOCK], tool_choice=choice)
        calls = called["choices"][0]["message"]["tool_calls"]
        assert ["get_time"] == [call["function"]["name"] for call in calls]
        unknown = await client.post("/v1/chat/completions", json=ask("no-such"))
        assert 404 == unknown.status_code


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, "eosFound"),
        ({"max_tokens": 2}, "maxPredictedTokensReached"),
        ({"stop": "e"}, "stopStringFound"),
        ({"tools": [WEATHER]}, "toolCalls"),
    ],
)
async def test_v0_tells_statistics(
    client: httpx.AsyncClient, more: dict[str, Any], reason: str
) -> None:
    """Real figures, model and runtime, no fingerprint; its streams are those of /v1."""
    answer = (await client.post("/api/v0/chat/completions", json=ask(SILENT, **more))).json()
    assert reason == answer["stats"]["stop_reason"]
    assert ["tokens_per_second", "time_to_first_token", "generation_time"] == list(answer["stats"])[
        :3
    ]
    assert 4096 == answer["model_info"]["context_length"]
    assert "runtime" in answer
    assert "system_fingerprint" not in answer
    events = await stream(client, ask(SILENT, **more), "/api/v0/chat/completions")
    assert not [e for _, e in events if "stats" in e]


async def test_completions_carry_a_prompt_on(client: httpx.AsyncClient) -> None:
    """Some of the prompt comes back; whole and streamed agree; no fingerprint."""
    body = {"model": PLAIN, "prompt": "<|user|>once upon a time"}
    whole = (await client.post("/v1/completions", json=body)).json()
    choice = whole["choices"][0]
    assert ["index", "text", "logprobs", "finish_reason"] == list(choice)
    assert "upon a time" in choice["text"]
    assert "<|user|>" not in choice["text"]
    assert ("text_completion", {}) == (whole["object"], whole["stats"])
    assert "system_fingerprint" not in whole
    events = await stream(client, body, "/v1/completions")
    texts = [event["choices"][0]["text"] for _, event in events[:-1]]
    assert choice["text"] == "".join(texts)
    assert "stop" == events[-2][1]["choices"][0]["finish_reason"]
    assert {400} == {(await client.post("/v1/completions", json={"model": PLAIN})).status_code}


@dataclass
class Arrival:
    """What one network read brought, and when."""

    at: float
    data: bytes = field(repr=False)


async def read_raw(standin: StandIn, body: dict[str, Any]) -> list[Arrival]:
    """Ask for a stream on a bare socket; return the reads."""
    data = json.dumps({**body, "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", standin.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    reads: list[Arrival] = []
    while not reads or not reads[-1].data.endswith(b"0\r\n\r\n"):
        piece = await asyncio.wait_for(reader.read(65536), 10)
        reads.append(Arrival(asyncio.get_running_loop().time(), piece))
    writer.close()
    return reads


async def test_each_event_is_a_write_of_its_own() -> None:
    """One chunk of the transfer holds one event."""
    async with StandIn() as standin:
        whole = b"".join(
            arrival.data for arrival in await read_raw(standin, ask(PLAIN, max_tokens=5))
        )
        sizes = [line for line in whole.split(b"\r\n") if line.startswith(b"data: ")]
        assert {1} == {chunk.count(b"data: ") for chunk in sizes}
        assert 5 + 3 == len(sizes)


async def test_the_rate_spreads_the_tokens() -> None:
    """Ten tokens at fifty a second are not there at once."""
    async with StandIn(rate=50) as standin:
        reads = await read_raw(standin, ask(PLAIN, max_tokens=10))
        assert len(reads) >= 8
        assert reads[-1].at - reads[0].at >= 0.15


@pytest.mark.parametrize("writes", ["bytes", "whole"])
async def test_other_cuts_carry_the_same(writes: str) -> None:
    """Byte by byte or all at once, the events are the same."""
    async with StandIn() as plain, StandIn(writes=writes) as cut:
        texts = []
        for standin in (plain, cut):
            async with speak_to(standin) as client:
                body = ask(PLAIN, max_tokens=4, stream=True)
                answer = await client.post("/v1/chat/completions", json=body)
                texts.append([joined([d], "content") for d in deltas_of(read_events(answer.text))])
        assert texts[0] == texts[1]


async def test_no_more_than_four_speak_at_once() -> None:
    """Others wait in silence for a slot of the instance (docs/facts/lmstudio.md#parallel)."""
    async with StandIn() as standin, speak_to(standin) as client:
        hold = {"match": {"model": PLAIN}, "hold": "door", "after": 2}
        await client.post("/__standin/script", json=hold)
        asking = [asyncio.create_task(stream(client, ask(PLAIN))) for _ in range(5)]
        await standin.log.wait_until(lambda: 4 == sum(bool(one.status) for one in standin.seen))
        await standin.log.wait_until(lambda: 5 == len([one for one in standin.seen if one.raw]))
        await client.post("/__standin/release")
        await asyncio.gather(*asking)
        begun = sorted(one.started_ms or 0 for one in standin.seen)
        ended = min(one.ended_ms or 0 for one in standin.seen)
        assert begun[3] < ended <= begun[4]


def test_every_default_model_is_used_here() -> None:
    """The names of these tests are those of the catalogue."""
    keys = {model.key for model in DEFAULT}
    assert {PLAIN, GRADED, SWITCHED, TWO_VARIANTS, SILENT} < keys

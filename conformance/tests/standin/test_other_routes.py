"""
Embeddings, responses, messages and LM Studio's own chat (docs/facts/lmstudio.md#embeddings,
docs/facts/lmstudio.md#responses, docs/facts/lmstudio.md#native-chat).
"""

import json
from typing import Any

import httpx
import pytest

from conformance.standin import StandIn
from conformance.tests.standin.support import (
    EMBEDDING,
    GRADED,
    PLAIN,
    SILENT,
    SWITCHED,
    WEATHER,
    read_events,
    speak_to,
    stream,
)


async def embed(client: httpx.AsyncClient, texts: Any, model: str = EMBEDDING) -> Any:
    """Ask for embeddings."""
    body = {"model": model, "input": texts}
    return (await client.post("/v1/embeddings", json=body)).json()


async def test_embeddings_are_fixed_and_counted_as_nothing(client: httpx.AsyncClient) -> None:
    """Thirty-two numbers of no unit length, in the order of the texts."""
    answer = await embed(client, ["one", "two", "one"])
    assert ["object", "data", "model", "usage"] == list(answer)
    assert {"prompt_tokens": 0, "total_tokens": 0} == answer["usage"]
    vectors = [row["embedding"] for row in answer["data"]]
    assert [0, 1, 2] == [row["index"] for row in answer["data"]]
    assert vectors[0] == vectors[2] == (await embed(client, "one"))["data"][0]["embedding"]
    assert vectors[0] != vectors[1]
    assert {32} == {len(vector) for vector in vectors}
    assert all(abs(sum(x * x for x in vector) - 1) > 0.1 for vector in vectors)


async def test_the_dimension_can_be_set_and_input_is_text() -> None:
    """By an option of the server; token numbers are refused, a list may be empty."""
    async with StandIn(dimension=8) as standin, speak_to(standin) as client:
        assert 8 == len((await embed(client, "x"))["data"][0]["embedding"])
        assert [] == (await embed(client, []))["data"]
        for wrong in ([[1, 2]], None, 5):
            answer = await client.post("/v1/embeddings", json={"model": EMBEDDING, "input": wrong})
            error = "'input' field must be a string or an array of strings"
            assert (400, {"error": error}) == (answer.status_code, answer.json())


async def test_responses_whole_and_streamed_agree(client: httpx.AsyncClient) -> None:
    """Thinking and text are items; events are numbered and in order."""
    body = {"model": GRADED, "input": "Why is that?"}
    whole = (await client.post("/v1/responses", json=body)).json()
    assert ["reasoning", "message"] == [item["type"] for item in whole["output"]]
    assert ("completed", "response") == (whole["status"], whole["object"])
    events = await stream(client, body, "/v1/responses")
    assert list(range(len(events))) == [event["sequence_number"] for _, event in events]
    assert all(name == event["type"] for name, event in events)
    names = [name.removeprefix("response.") for name, _ in events]
    assert ["created", "in_progress", "output_item.added", "content_part.added"] == names[:4]
    assert ["output_text.done", "content_part.done", "output_item.done", "completed"] == names[-4:]
    text = "".join(e["delta"] for n, e in events if n == "response.output_text.delta")
    assert text == whole["output"][1]["content"][0]["text"]
    last = events[-1][1]["response"]["output"]
    assert [item["type"] for item in whole["output"]] == [item["type"] for item in last]


async def test_responses_call_functions_and_go_on(client: httpx.AsyncClient) -> None:
    """Arguments come whole, without deltas; a stored answer can be gone on from."""
    tool = {"type": "function", **WEATHER["function"]}
    body: dict[str, Any] = {"model": SILENT, "input": "weather in Oslo?", "tools": [tool]}
    events = await stream(client, body, "/v1/responses")
    names = [name for name, _ in events]
    assert "response.function_call_arguments.delta" not in names
    done = next(e for n, e in events if n == "response.function_call_arguments.done")
    assert {"city": "Oslo"} == json.loads(done["arguments"])
    call = events[-1][1]["response"]["output"][0]
    items = [
        {"role": "user", "content": "weather?"},
        {key: call[key] for key in ("type", "call_id", "name", "arguments")},
        {"type": "function_call_output", "call_id": call["call_id"], "output": "sleet"},
    ]
    answer = (await client.post("/v1/responses", json={**body, "input": items})).json()
    assert "sleet" in answer["output"][0]["content"][0]["text"]
    after = {"model": SILENT, "input": "and?", "previous_response_id": answer["id"]}
    assert 200 == (await client.post("/v1/responses", json=after)).status_code
    unknown = await client.post(
        "/v1/responses", json={**after, "previous_response_id": "resp_none"}
    )
    assert "previous_response_not_found" == unknown.json()["error"]["code"]
    assert unknown.text.startswith('{\n  "error": {')


async def test_responses_are_strict_about_text(client: httpx.AsyncClient) -> None:
    """`text` without a format is refused."""
    body = {"model": PLAIN, "input": "hi", "text": {}}
    answer = await client.post("/v1/responses", json=body)
    assert (400, "text.format") == (answer.status_code, answer.json()["error"]["param"])


async def test_messages_whole_and_streamed_agree(client: httpx.AsyncClient) -> None:
    """Blocks begin, grow and end in order, with the reason at the end."""
    body = {
        "model": GRADED,
        "max_tokens": 500,
        "thinking": {"type": "enabled"},
        "messages": [{"role": "user", "content": "Why?"}],
    }
    whole = (await client.post("/v1/messages", json=body)).json()
    assert ["thinking", "text"] == [block["type"] for block in whole["content"]]
    assert "end_turn" == whole["stop_reason"]
    events = await stream(client, body, "/v1/messages")
    names = [name for name, _ in events]
    assert ["message_start", "content_block_start"] == names[:2]
    assert ["content_block_stop", "message_delta", "message_stop"] == names[-3:]
    text = "".join(e["delta"].get("text", "") for n, e in events if n == "content_block_delta")
    assert whole["content"][1]["text"] == text


async def test_messages_use_tools(client: httpx.AsyncClient) -> None:
    """A call is a block with its input, streamed as JSON text; its result is told."""
    function = WEATHER["function"]
    tool = {"name": function["name"], "input_schema": function["parameters"]}
    asked = [{"role": "user", "content": "weather in Oslo?"}]
    body: dict[str, Any] = {"model": SILENT, "max_tokens": 99, "messages": asked, "tools": [tool]}
    whole = (await client.post("/v1/messages", json=body)).json()
    assert ("tool_use", {"city": "Oslo"}) == (whole["stop_reason"], whole["content"][0]["input"])
    events = await stream(client, body, "/v1/messages")
    parts = [e["delta"]["partial_json"] for n, e in events if n == "content_block_delta"]
    assert {"city": "Oslo"} == json.loads("".join(parts))
    block = whole["content"][0]
    result = {"type": "tool_result", "tool_use_id": block["id"], "content": "sleet"}
    body["messages"] = [
        *asked,
        {"role": "assistant", "content": [block]},
        {"role": "user", "content": [result]},
    ]
    told = (await client.post("/v1/messages", json=body)).json()
    assert "sleet" in told["content"][0]["text"]


async def test_the_native_chat_whole_and_streamed(client: httpx.AsyncClient) -> None:
    """Output items and figures; named events from start to end, with the load before."""
    body = {"model": SWITCHED, "input": "Why?"}
    answer = await client.post("/api/v1/chat", json={**body, "stream": True})
    events = read_events(answer.text)
    names = [name for name, _ in events]
    assert ["chat.start", "model_load.start", "model_load.progress"] == names[:3]
    assert all(name == event["type"] for name, event in events)
    order = ["reasoning.start", "reasoning.end", "message.start", "message.end", "chat.end"]
    assert sorted(order, key=names.index) == order
    whole = (await client.post("/api/v1/chat", json=body)).json()
    result = events[-1][1]["result"]
    assert ["reasoning", "message"] == [item["type"] for item in whole["output"]]
    assert whole["output"] == result["output"]
    assert "model_load_time_seconds" in result["stats"]
    assert "model_load_time_seconds" not in whole["stats"]
    assert whole["response_id"].startswith("resp_")
    unstored = (await client.post("/api/v1/chat", json={**body, "store": False})).json()
    assert "response_id" not in unstored
    text = "".join(e["content"] for n, e in events if n == "message.delta")
    assert whole["output"][1]["content"] == text


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"ttl": 3}, "unrecognized_keys"),
        ({"reasoning": "low"}, "invalid_value"),
        ({"model": ""}, "missing_required_parameter"),
        ({"previous_response_id": "resp_x"}, "invalid_value"),
        ({"input": [{"type": "message", "content": "x"}]}, "invalid_union"),
    ],
)
async def test_the_native_chat_is_strict(
    client: httpx.AsyncClient, more: dict[str, Any], code: str
) -> None:
    """What it does not know or offer is refused with a code."""
    body = {"model": SWITCHED, "input": "hi", **more}
    answer = await client.post("/api/v1/chat", json=body)
    assert (400, code) == (answer.status_code, answer.json()["error"]["code"])


async def test_a_stored_native_answer_goes_on_as_a_response(client: httpx.AsyncClient) -> None:
    """Both families share their ids."""
    first = (await client.post("/api/v1/chat", json={"model": PLAIN, "input": "hi"})).json()
    after = {"model": PLAIN, "input": "and?", "previous_response_id": first["response_id"]}
    assert 200 == (await client.post("/v1/responses", json=after)).status_code

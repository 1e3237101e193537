"""What is counted, and what stands on the line of a request."""

import json
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LOADED,
    LOADED_EMBEDDER,
    Pair,
    chat,
    lines_of,
    open_pair,
    written,
)
from gateway.observability.unknown_keys import EVERY, Sampler, find_unknown
from gateway.types import lmstudio, openai

EMBED = {"model": LOADED_EMBEDDER, "input": "Why?"}


async def counted(pair: Pair) -> dict[str, float]:
    """Return all samples by name and labels, once the requests before have quite ended."""
    await pair.let_pass("/api/version")
    answer = await pair.client.get("/metrics")
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_requests_are_counted_by_route_and_status() -> None:
    """What no route takes is one route, and a method that HTTP does not name is one method."""
    async with open_pair() as pair:
        for path in ("/nosuch", "/nosuch/other"):
            await pair.client.get(path)
        await pair.client.request("PROPFIND", "/api/tags")
        await pair.post("/api/chat", chat())
        await pair.post("/api/chat", chat("nosuch"))
        await pair.post(CHAT, chat())
        found = await counted(pair)

    assert {
        "olgate_requests_total['404', 'GET', 'other']": 2,
        "olgate_requests_total['/api/tags', '405', 'other']": 1,
        "olgate_requests_total['/api/chat', '200', 'POST']": 1,
        "olgate_requests_total['/api/chat', '404', 'POST']": 1,
        "olgate_requests_total['/v1/*', '200', 'POST']": 1,
    } == {
        name: value
        for name, value in found.items()
        if name.startswith("olgate_requests_total") and "version" not in name
    }


@pytest.mark.parametrize(
    ("path", "route", "body"),
    [
        ("/api/chat", "/api/chat", chat(stream=True)),
        ("/api/chat", "/api/chat", chat()),
        ("/api/embed", "/api/embed", EMBED),
        (CHAT, "/v1/*", chat(stream=True, stream_options={"include_usage": True})),
        (CHAT, "/v1/*", chat()),
        ("/v1/messages", "/v1/*", chat(stream=True, max_tokens=50)),
    ],
    ids=["streamed", "one-shot", "embed", "passed stream", "passed", "Anthropic's stream"],
)
async def test_tokens_and_times_are_noted(path: str, route: str, body: dict[str, Any]) -> None:
    """On the line and in the counters, translated and passed through alike."""
    async with open_pair() as pair:
        with written(format="json") as lines:
            answer = await pair.client.post(path, json=body, headers={"x-request-id": "mine-1"})
            await pair.let_pass("/api/version")
        assert 200 == answer.status_code
        assert "mine-1" == answer.headers["x-request-id"]
        (line,) = lines_of(lines, path=route)
        found = await counted(pair)
        host = pair.standin.url.partition("://")[2]

    sides = [("in", "tokens_in"), ("out", "tokens_out")][: 1 if path == "/api/embed" else 2]
    for side, name in sides:
        assert line[name] > 0
        assert line[name] == found[f"olgate_tokens_total['{route}', '{side}']"]
    assert (host, 200) == (line["upstream"], line["upstream_status"])
    assert body["model"] in line["model"]
    is_stream = bool(body.get("stream"))
    assert is_stream == ("first_s" in line)
    for name in ("olgate_time_to_first_frame_seconds", "olgate_stream_duration_seconds"):
        assert (1 if is_stream else None) == found.get(f"{name}_count['{route}']")
    assert 0 == found["olgate_running_streams[]"]


async def test_running_streams_are_seen_while_they_run() -> None:
    """And no longer when their clients have left."""
    async with open_pair() as pair:
        pair.script({"match": {"path": CHAT}, "hold": "rest", "after": 2})
        async with (
            pair.client.stream("POST", "/api/chat", json=chat(stream=True)) as first,
            pair.client.stream("POST", CHAT, json=chat(stream=True)) as second,
        ):
            assert (200, 200) == (first.status_code, second.status_code)
            assert 2 == (await counted(pair))["olgate_running_streams[]"]
        await pair.until(lambda: sum(one.left for one in pair.asked(CHAT)) == 2)
        await pair.let_pass()
        assert 0 == (await counted(pair))["olgate_running_streams[]"]


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
@pytest.mark.parametrize(
    ("rule", "fault", "status"),
    [
        ({"fault": "closed_before_headers"}, "closed_before_headers", 502),
        ({"answer": {"chunks": [[0, '{"error":"no"}']], "status": 400}}, "stated", 400),
    ],
)
async def test_faults_are_counted_by_class(
    path: str, rule: dict[str, Any], fault: str, status: int
) -> None:
    """And stand on the line."""
    async with open_pair() as pair:
        pair.script({"match": {"path": CHAT}, **rule})
        with written(format="json") as lines:
            answer = await pair.post(path, chat())
            await pair.let_pass("/api/version")
        found = await counted(pair)
    (line,) = lines_of(lines, path=path if path == "/api/chat" else "/v1/*")

    assert status == answer.status_code
    assert fault == line["fault"]
    assert {f"olgate_faults_total['{fault}']": 1} == {
        name: value for name, value in found.items() if name.startswith("olgate_faults_total")
    }


async def test_loads_are_counted_as_they_end() -> None:
    """A load that LM Studio refuses is one, too."""
    async with open_pair() as pair:
        pair.script({"match": {"path": "/api/v1/models/load"}, "error": "load_failed", "nth": 1})
        answers = [(await pair.post("/api/chat", chat(COLD))).status_code for _ in range(2)]
        found = await counted(pair)

    assert answers[0] >= 500
    assert 200 == answers[1]
    assert (1, 1) == (
        found["olgate_loads_total['failed']"],
        found["olgate_loads_total['loaded']"],
    )


async def test_without_the_route_nothing_is_counted() -> None:
    """The path is unknown then."""
    async with open_pair({"routes": {"metrics": False}}) as pair:
        assert 200 == (await pair.post("/api/chat", chat())).status_code
        answer: httpx.Response = await pair.client.get("/metrics")
    assert 404 == answer.status_code


async def test_unknown_keys_are_counted_by_name() -> None:
    """In the first and the last event of a stream; each name is said once, no value ever."""
    first = '{"id":"1","model":"%s","brand_new":"value","choices":[{"index":0,"delta":{"odd":1}}]}'
    last = '{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"fresh_tokens":7}}'
    text = f"data: {first % LOADED}\n\ndata: {last}\n\ndata: [DONE]\n\n"
    headers = {"Content-Type": "text/event-stream"}
    async with open_pair() as pair:
        pair.script(
            {"match": {"path": CHAT}, "answer": {"chunks": [[0, text]], "headers": headers}}
        )
        with written(format="json") as lines:
            for _ in range(2):
                assert 200 == (await pair.post("/api/chat", chat())).status_code
        found = await counted(pair)

    kind = "ChatCompletionChunk"
    unknown = {
        name: value
        for name, value in found.items()
        if name.startswith("olgate_unknown_upstream_keys_total") and kind in name
    }
    assert {
        f"olgate_unknown_upstream_keys_total{sorted([kind, key])}": 1
        for key in ("brand_new", "choices[].delta.odd", "usage.fresh_tokens")
    } == unknown
    said = lines_of(lines, "unknown key in LM Studio's answer")
    assert sorted(line["key"] for line in said if line["type"] == kind) == [
        "brand_new",
        "choices[].delta.odd",
        "usage.fresh_tokens",
    ]


OWN_CALLS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "V1ModelList": ("/api/v1/models", {"models": []}, "/api/show", {"model": COLD}),
    "LoadResponse": (
        "/api/v1/models/load",
        {"instance_id": COLD, "status": "loaded"},
        "/api/chat",
        chat(COLD),
    ),
    "DownloadJob": (
        "/api/v1/models/download",
        {"status": "already_downloaded"},
        "/api/pull",
        {"model": "harbor/beacon-9b"},
    ),
}


@pytest.mark.parametrize("kind", OWN_CALLS)
async def test_the_gateways_own_calls_are_sampled_too(kind: str) -> None:
    """The list of models, a load and a download alike: a spec describes each answer."""
    path, answer, asked, body = OWN_CALLS[kind]
    whole = {
        "headers": {"content-type": "application/json"},
        "chunks": [[0, json.dumps({**answer, "brand_new": 1})]],
    }
    async with open_pair() as pair:
        pair.script({"match": {"path": path}, "answer": whole})
        await pair.post(asked, body)
        found = await counted(pair)

    assert 1 == found[f"olgate_unknown_upstream_keys_total{sorted([kind, 'brand_new'])}"]


def test_unknown_keys_are_found_at_any_depth() -> None:
    """Where the description knows an object; free values have none."""
    chunk = {
        "id": "1",
        "new": {"inner": 1},
        "choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "odd": 1}}]}}],
    }
    assert ["new", "choices[].delta.tool_calls[].function.odd"] == list(
        find_unknown(chunk, openai.ChatCompletionChunk)
    )
    models = {"models": [{"key": "k", "later": 1}]}
    assert ["models[].later"] == list(find_unknown(models, lmstudio.V1ModelList))


def test_one_body_of_many_is_looked_at() -> None:
    """The first of each kind, then one in so many."""
    sampler = Sampler()
    wanted = [sampler.wants("a") for _ in range(EVERY + 1)]
    assert [True, *[False] * (EVERY - 1), True] == wanted
    assert sampler.wants("b")

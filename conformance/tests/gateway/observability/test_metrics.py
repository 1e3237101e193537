"""What is counted, and what stands on the line of a request."""

import asyncio
import json
from platform import python_version
from typing import Any, get_args

import httpx
import pytest
from prometheus_client import Histogram, Metric
from prometheus_client.parser import text_string_to_metric_families

from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LIST,
    LOAD,
    LOADED,
    LOADED_EMBEDDER,
    Pair,
    chat,
    lines_of,
    open_pair,
    written,
)
from gateway.faults import FaultId
from gateway.observability.metrics import MOST_MODELS, Metrics
from gateway.observability.record import INTERNAL_FAULT, SHUTDOWN_FAULT, STATED, Record
from gateway.observability.tallies import Spread
from gateway.observability.uncounted import MOST_UNCOUNTED
from gateway.observability.unknown_keys import EVERY, Sampler, find_unknown
from gateway.observability.version import find_version
from gateway.types import lmstudio, openai

PATIENCE_S = 60.0
EMBED = {"model": LOADED_EMBEDDER, "input": "Why?"}


async def families(pair: Pair) -> list[Metric]:
    """Return all metrics, once the requests before have quite ended."""
    await pair.let_pass("/api/version")
    answer = await pair.client.get("/metrics")
    assert "text/plain; version=0.0.4; charset=utf-8" == answer.headers["content-type"]
    return list(text_string_to_metric_families(answer.text))


async def counted(pair: Pair) -> dict[str, float]:
    """Return all samples by name and labels."""
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in await families(pair)
        for sample in family.samples
    }


def labelled(found: list[Metric], name: str, **labels: str) -> dict[str, float]:
    """Return the samples of a name that have some labels, by the values of all labels but those."""
    return {
        " ".join(value for key, value in sorted(sample.labels.items()) if key not in labels): (
            sample.value
        )
        for family in found
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
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
        f"olgate_requests_total['{CHAT}', '200', 'POST']": 1,
    } == {
        name: value
        for name, value in found.items()
        if name.startswith("olgate_requests_total") and "version" not in name
    }


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", chat(stream=True)),
        ("/api/chat", chat()),
        ("/api/embed", EMBED),
        (CHAT, chat(stream=True, stream_options={"include_usage": True})),
        (CHAT, chat()),
        ("/v1/messages", chat(stream=True, max_tokens=50)),
    ],
    ids=["streamed", "one-shot", "embed", "passed stream", "passed", "Anthropic's stream"],
)
async def test_tokens_and_times_are_noted(path: str, body: dict[str, Any]) -> None:
    """On the line and in the counters, translated and passed through alike."""
    async with open_pair() as pair:
        with written(format="json") as lines:
            answer = await pair.client.post(path, json=body, headers={"x-request-id": "mine-1"})
            await pair.let_pass("/api/version")
        assert 200 == answer.status_code
        assert "mine-1" == answer.headers["x-request-id"]
        (line,) = lines_of(lines, path=path)
        found = await families(pair)
        host = pair.standin.url.partition("://")[2]

    served = {"route": path, "model": line["model"], "host": host, "key": ""}
    sides = [("in", "tokens_in"), ("out", "tokens_out")][: 1 if path == "/api/embed" else 2]
    for side, name in sides:
        assert line[name] > 0
        assert {"": line[name]} == labelled(found, "olgate_tokens_total", direction=side, **served)
    assert (host, 200) == (line["upstream"], line["upstream_status"])
    assert body["model"] in line["model"]
    is_stream = bool(body.get("stream"))
    assert is_stream == ("first_s" in line)
    for name in ("olgate_time_to_first_frame_seconds", "olgate_stream_duration_seconds"):
        assert ({"": 1} if is_stream else {}) == labelled(found, f"{name}_count", route=path)
    assert {"": 1} == labelled(found, "olgate_request_duration_seconds_count", **served)
    by_model = {"model": line["model"], "host": host}
    assert {"": 1} == labelled(found, "olgate_model_ready_seconds_count", **by_model)
    # Where LM Studio's events are not seen, as of an answer that is passed on whole, nothing is
    # known of single tokens.
    is_seen = is_stream or path == "/api/chat"
    for name in ("olgate_time_to_first_token_seconds", "olgate_time_per_output_token_seconds"):
        assert ({"": 1} if is_seen else {}) == labelled(found, f"{name}_count", **by_model)
    assert {"": 0} == labelled(found, "olgate_running_streams")


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
    (line,) = lines_of(lines, path=path)

    assert status == answer.status_code
    assert fault == line["fault"]
    counts = {name: value for name, value in found.items() if "olgate_faults_total" in name}
    assert {f"olgate_faults_total['{fault}']": 1} == {
        name: value for name, value in counts.items() if value
    }
    # A counter that is not there before it counts looks to Prometheus as if it had not grown.
    known = (*get_args(FaultId), STATED, INTERNAL_FAULT, SHUTDOWN_FAULT)
    assert {f"olgate_faults_total['{each}']" for each in known} == counts.keys()


async def test_loads_are_counted_as_they_end() -> None:
    """A load that LM Studio refuses is one, too."""
    async with open_pair() as pair:
        pair.script({"match": {"path": "/api/v1/models/load"}, "error": "load_failed", "nth": 1})
        answers = [(await pair.post("/api/chat", chat(COLD))).status_code for _ in range(2)]
        found = await families(pair)
        host = pair.standin.url.partition("://")[2]

    assert answers[0] >= 500
    assert 200 == answers[1]
    for name in ("olgate_loads_total", "olgate_load_duration_seconds_count"):
        assert {"failed": 1, "loaded": 1} == labelled(found, name, host=host)


async def test_a_client_makes_no_model_label() -> None:
    """A name that nobody knows is other, and so are models beyond the bound."""
    async with open_pair() as pair:
        for name in ("nosuch", "nosuch-either"):
            for path in ("/api/chat", CHAT):
                assert 404 == (await pair.post(path, chat(name))).status_code
        for number in range(MOST_MODELS + 2):
            made = {"model": f"made-{number}", "from": LOADED}
            assert 200 == (await pair.post("/api/create", made)).status_code
            assert 200 == (await pair.post("/api/chat", chat(f"made-{number}"))).status_code
        found = await families(pair)

    labels = {
        sample.labels["model"]
        for family in found
        for sample in family.samples
        if sample.name == "olgate_request_duration_seconds_count"
    }
    assert MOST_MODELS == len(labels - {"", "other"})
    others = labelled(
        found, "olgate_request_duration_seconds_count", model="other", route="/api/chat", key=""
    )
    # The two unknown names, and what does not fit: LOADED itself has taken one label.
    assert 2 + 3 == sum(others.values())
    assert "nosuch" not in str(found)


async def test_requests_are_seen_while_they_are_served_and_wait() -> None:
    """The one that asks is one of them."""
    async with open_pair() as pair:
        pair.script({"match": {"path": LOAD}, "hold": "load"})
        asked = [asyncio.create_task(pair.post("/api/chat", chat(COLD))) for _ in range(3)]
        await pair.until_asked(LOAD)
        found: list[Metric] = []
        async with asyncio.timeout(PATIENCE_S):
            while labelled(found, "olgate_waiting_requests", reason="load") != {"": 2}:
                found = await families(pair)
        assert {"": 4} == labelled(found, "olgate_running_requests")
        pair.release("load")
        await asyncio.gather(*asked)
        found = await families(pair)
    assert {"": 1} == labelled(found, "olgate_running_requests")
    assert {"load": 0, "slot": 0} == labelled(found, "olgate_waiting_requests")


async def test_what_runs_and_whether_its_host_answers_is_told() -> None:
    """A host that was never asked has no value."""
    async with open_pair() as pair:
        host = pair.standin.url.partition("://")[2]
        before = await families(pair)
        assert 200 == (await pair.client.get("/health")).status_code
        there = await families(pair)
        pair.script({"match": {"path": LIST}, "fault": "closed_before_headers"})
        assert 503 == (await pair.client.get("/health")).status_code
        away = await families(pair)

    shown = [labelled(each, "olgate_upstream_up") for each in (before, there, away)]
    assert [{}, {host: 1}, {host: 0}] == shown
    (built,) = labelled(before, "olgate_build_info").items()
    assert (f"{python_version()} {find_version()}", 1) == built


async def test_nothing_tells_when_it_was_created() -> None:
    """Of what prometheus_client counts, neither: those series double the number of counters."""
    async with open_pair() as pair:
        await pair.post("/api/chat", chat(COLD))
        text = (await pair.client.get("/metrics")).text
    assert "_created" not in text


async def test_requests_are_counted_also_if_nobody_looks() -> None:
    """What they add is held for a bounded number of requests only, and none is counted twice."""
    metrics = Metrics()
    for number in range(3 * MOST_UNCOUNTED + 5):
        record = Record(metrics)
        record.route = f"/{number % 3}"
        record.tokens_out = 2
        record.first_token_ns = record.started_ns
        metrics.note_end(record, "GET", 200)
    held = vars(metrics)["_uncounted"]
    assert 5 == sum(len(added.took) for added in held.values())
    for _ in range(2):
        text = metrics.text().decode()
        samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]
        for name in (
            "olgate_requests_total",
            "olgate_request_duration_seconds_count",
            "olgate_time_per_output_token_seconds_count",
        ):
            counted = [sample.value for sample in samples if sample.name == name]
            assert 3 * MOST_UNCOUNTED + 5 == sum(counted), name
        tokens = [sample.value for sample in samples if sample.name == "olgate_tokens_total"]
        assert 2 * (3 * MOST_UNCOUNTED + 5) == sum(tokens)


def test_a_spread_counts_as_prometheus_does() -> None:
    """A value on a bound is in its bucket, and each bucket has those below."""
    spread = Spread("waits", "How long.", ("who",), (0.5, 1))
    for nanoseconds in ([700_000_000, 100_000_000], [], [500_000_000], [3_000_000_000]):
        spread.add(("me",), nanoseconds)
    spread.add(("you",), [])
    theirs = Histogram("waits", "How long.", ("who",), buckets=(0.5, 1), registry=None)
    for value in (0.1, 0.5, 0.7, 3):
        theirs.labels("me").observe(value)

    (expected,) = theirs.collect()
    shown = {(one.name, *one.labels.values()): one.value for one in spread.family().samples}
    assert shown == {(one.name, *one.labels.values()): one.value for one in expected.samples}


async def test_a_queue_that_a_record_tells_of_is_measured() -> None:
    """Only where the request waited."""
    metrics = Metrics()
    for waited_ns in (None, 300_000_000):
        record = Record(metrics)
        record.host, record.queued_ns = "studio", waited_ns
        metrics.note_end(record, "POST", 200)
    found = list(text_string_to_metric_families(metrics.text().decode()))

    counts = labelled(found, "olgate_queue_time_seconds_bucket", host="studio", key="")
    assert (0, 1, 1) == (counts["0.25"], counts["0.5"], counts["+Inf"])


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

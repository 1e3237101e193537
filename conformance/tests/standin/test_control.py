"""Scripts, the log, held requests, fixtures, and callers who leave."""

import asyncio
import base64
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.standin import StandIn
from conformance.standin.script import Script
from conformance.standin.stated import STATED
from conformance.tests.standin.support import (
    EMBEDDING,
    PLAIN,
    SILENT,
    ask,
    chat,
    deltas_of,
    read_events,
    speak_to,
    stream,
)

CHAT = "/v1/chat/completions"


async def script(client: httpx.AsyncClient, *rules: dict[str, Any]) -> None:
    """Add rules."""
    answer = await client.post("/__standin/script", json=list(rules))
    assert 200 == answer.status_code, answer.text


async def seen(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """Return the log."""
    found: list[dict[str, Any]] = (await client.get("/__standin/seen", params=query)).json()
    return found


async def test_an_answer_in_bytes_is_played(client: httpx.AsyncClient) -> None:
    """Status, headers and chunks as given, bytes that are no text too."""
    chunk = {"base64": base64.b64encode(b"\xff\xfe").decode()}
    headers = {"Content-Type": "text/plain", "Content-Length": "999", "X-Odd": "yes"}
    answer = {"status": 418, "headers": headers, "chunks": [[0, "ab"], [20, chunk]]}
    await script(client, {"match": {"path": CHAT}, "answer": answer})
    got = await client.post(CHAT, json=ask(PLAIN))
    assert (418, b"ab\xff\xfe", "yes") == (got.status_code, got.content, got.headers["x-odd"])
    assert "4" == got.headers["content-length"]


async def test_a_stream_in_bytes_is_played_in_its_cut(standin: StandIn) -> None:
    """Chunk by chunk, each at its time; it may end by closing."""
    async with speak_to(standin) as client:
        chunks = [[0, "data: {}\n"], [40, "\ndata: "], [80, "[DONE]\n\n"]]
        await script(client, {"answer": {"chunks": chunks}, "times": 1})
        parts = []
        async with client.stream("POST", CHAT, json=ask(PLAIN)) as answer:
            assert "text/event-stream" == answer.headers["content-type"]
            async for part in answer.aiter_raw():
                parts.append(part.decode())
        assert [text for _, text in chunks] == parts
        exchange = standin.seen[-1]
        assert exchange.ended_ms is not None
        assert exchange.ended_ms - exchange.received_ms >= 80
        await script(client, {"answer": {"chunks": chunks[:1], "end": "close"}})
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(CHAT, json=ask(PLAIN))
        assert (False, False) == (standin.seen[-1].finished, standin.seen[-1].left)


async def test_rules_choose_by_path_model_and_body(client: httpx.AsyncClient) -> None:
    """The first rule that fits is followed; what fits none is answered as ever."""

    def rule(status: int, **match: str) -> dict[str, Any]:
        return {"match": match, "answer": {"status": status, "chunks": [[0, "{}"]]}}

    await script(
        client,
        rule(501, path="/v1/emb*"),
        rule(502, model=SILENT),
        rule(503, body_contains="magic word"),
        rule(504, method="GET", path="/api/v1/models"),
    )

    async def status(body: dict[str, Any], path: str = CHAT) -> int:
        return (await client.post(path, json=body)).status_code

    assert 501 == await status({"model": EMBEDDING, "input": "x"}, "/v1/embeddings")
    assert 502 == await status(ask(SILENT, "magic word"))
    assert 503 == await status(ask(PLAIN, "magic word"))
    assert 504 == (await client.get("/api/v1/models")).status_code
    assert 200 == await status(ask(PLAIN))
    counts = (await client.get("/__standin/script")).json()
    assert [1, 1, 1, 1] == [entry["used"] for entry in counts]


async def test_rules_count(client: httpx.AsyncClient) -> None:
    """The nth only, or the first few times."""
    await script(client, {"match": {"model": PLAIN}, "nth": 2, "error": "busy"})
    await script(client, {"match": {"model": SILENT}, "times": 2, "error": "template"})
    plain = [(await client.post(CHAT, json=ask(PLAIN))).status_code for _ in range(3)]
    silent = [(await client.post(CHAT, json=ask(SILENT))).status_code for _ in range(3)]
    assert [200, 429, 200] == plain
    assert [500, 500, 200] == silent


async def test_a_fault_on_an_ordinary_model(standin: StandIn) -> None:
    """With the number of events before it, and on lists as well; the log tells the fault."""
    async with speak_to(standin) as client:
        await script(client, {"match": {"model": PLAIN}, "fault": "upstream_error_200", "after": 3})
        events = await stream(client, ask(PLAIN))
        assert ["", "", "", "error"] == [name for name, _ in events]
        assert "upstream_error_200" == standin.seen[-1].fault
        await script(client, {"match": {"path": "/api/v1/models"}, "fault": "not_json"})
        with pytest.raises(ValueError, match="line"):
            (await client.get("/api/v1/models")).json()


@pytest.mark.parametrize("name", list(STATED))
async def test_named_errors(client: httpx.AsyncClient, name: str) -> None:
    """A status with the text, or for some an event within a stream."""
    await script(client, {"error": name})
    answer = await client.post(CHAT, json=ask(PLAIN))
    error = answer.json()["error"]
    stated = STATED[name]
    assert stated.status == answer.status_code
    assert stated.message == (error if stated.bare else error["message"])
    streamed = await client.post(CHAT, json=ask(PLAIN, stream=True))
    assert (200 if stated.streamed else stated.status) == streamed.status_code
    assert stated.streamed == streamed.text.startswith("event: error\ndata: ")


async def test_a_named_error_late_and_with_the_mark(client: httpx.AsyncClient) -> None:
    """After some events, and `[DONE]` behind it although it is an error."""
    await script(client, {"error": "compute", "after": 2, "done": True})
    events = await stream(client, ask(PLAIN))
    assert ["", "", "error", ""] == [name for name, _ in events]
    assert "[DONE]" == events[-1][1]


async def test_what_is_wrong_with_a_rule_is_said(client: httpx.AsyncClient) -> None:
    """Unknown names, keys and contradictions, with what is known."""
    for rule, word in (
        ({"fault": "flood"}, "closed_mid_stream"),
        ({"error": "flood"}, "model_crashed"),
        ({"fault": "empty", "error": "busy"}, "not several"),
        ({"match": {"route": "/"}, "fault": "empty"}, "route"),
        ({}, "needs one of"),
    ):
        answer = await client.post("/__standin/script", json=rule)
        assert (400, True) == (answer.status_code, word in answer.json()["error"])
    unknown = await client.post("/__standin/model", json={"key": "x", "action": "load"})
    assert 404 == unknown.status_code
    assert 404 == (await client.get("/__standin/nothing")).status_code


async def test_a_held_request_waits_for_its_release(standin: StandIn) -> None:
    """Before anything is done, or within its stream after some events."""
    async with speak_to(standin) as client:
        await script(client, {"match": {"model": SILENT}, "hold": "door", "times": 1})
        asking = asyncio.create_task(chat(client, SILENT))
        await seen(client, wait=1)
        assert [False] == [one["finished"] for one in await seen(client)]
        assert {"released": ["door"]} == (await client.post("/__standin/release")).json()
        assert SILENT == (await asking)["model"]
        await script(client, {"match": {"model": PLAIN}, "hold": "gate", "after": 2})
        body = ask(PLAIN, stream=True)
        async with client.stream("POST", CHAT, json=body) as answer:
            parts = answer.aiter_text()
            early = await anext(parts)
            while early.count("data: ") < 2:
                early += await anext(parts)
            assert 2 == len(deltas_of(read_events(early)))
            await client.post("/__standin/release", json={"name": "gate"})
            rest = "".join([part async for part in parts])
        assert rest.endswith("data: [DONE]\n\n")


async def test_a_release_counts_for_what_had_arrived() -> None:
    """A request in the log may not have got as far as its hold; a later one is held again."""
    rules = Script()
    before = time.monotonic()
    rules.release("door")
    late = rules.hold("door", time.monotonic() + 1)

    assert rules.hold("door", before).is_set()
    assert not late.is_set()
    rules.clear()
    assert late.is_set()


async def test_the_log_tells_everything(client: httpx.AsyncClient) -> None:
    """Method, path, headers with the authorization, body, times, end; control is not in it."""
    headers = {"authorization": "Bearer secret", "x-mark": "1"}
    await client.post(CHAT + "?a=1", json=ask(PLAIN), headers=headers)
    await client.post("/v1/embeddings", content=b"\xff\x00")
    first, second = await seen(client)
    assert (1, "POST", CHAT, {"a": "1"}) == tuple(
        first[k] for k in ("n", "method", "path", "query")
    )
    assert ("Bearer secret", "1") == (first["headers"]["authorization"], first["headers"]["x-mark"])
    assert ask(PLAIN) == first["body"]
    assert first["received_ms"] <= first["started_ms"] <= first["ended_ms"]
    assert (True, False, None, 200) == tuple(
        first[key] for key in ("finished", "left", "left_ms", "status")
    )
    assert b"\xff\x00" == base64.b64decode(second["body_base64"])
    assert [2] == [one["n"] for one in await seen(client, path="/v1/embeddings")]


@pytest.mark.parametrize("body", [ask(PLAIN, stream=True), ask("fault-first_byte_timeout")])
async def test_a_caller_who_leaves_is_noticed(body: dict[str, Any]) -> None:
    """At once, in the middle of a stream or while waiting for it; the speaking stops."""
    async with StandIn(rate=5) as standin, speak_to(standin) as client:
        with pytest.raises(httpx.ReadTimeout):
            async with client.stream("POST", CHAT, json=body, timeout=0.15) as answer:
                await answer.aread()
        left = (await seen(client, wait_left=1))[0]
        assert (False, True, None) == (left["finished"], left["left"], left["ended_ms"])
        assert left["left_ms"] >= left["received_ms"]
        instance = standin.app.host.table.instances[0]
        assert await standin.log.wait_until(lambda: instance.busy == 0)


async def test_a_caller_who_stays_is_not_said_to_have_left(standin: StandIn) -> None:
    """Also not when its connection is closed right behind the answer."""
    async with speak_to(standin) as client:
        await stream(client, ask(PLAIN))
    async with speak_to(standin) as client:
        assert [True] == [one["finished"] for one in await seen(client, wait_finished=1)]
        assert [False] == [one["left"] for one in await seen(client)]


async def test_waiting_for_the_log_gives_up(client: httpx.AsyncClient) -> None:
    """What is there is shown after the time given."""
    assert [] == await seen(client, wait=1, timeout_ms=20)


async def test_reset_forgets_everything(client: httpx.AsyncClient) -> None:
    """Rules, the log, and what was loaded or unloaded since the start."""
    await script(client, {"error": "busy"})
    await client.post("/api/v1/models/load", json={"model": SILENT})
    await client.post("/__standin/model", json={"key": PLAIN, "action": "unload"})
    await client.post("/__standin/reset")
    assert [] == await seen(client)
    listed = (await client.get("/api/v1/models")).json()["models"]
    loaded = [one["id"] for row in listed for one in row["loaded_instances"]]
    assert [PLAIN, EMBEDDING] == loaded
    assert PLAIN == (await chat(client, PLAIN))["model"]


async def test_fixtures_answer_what_they_are_for(tmp_path: Path) -> None:
    """A file answers its request, the one that says more of it first; others go on as ever."""
    (tmp_path / "sub").mkdir()
    head = 'provenance: {lmstudio: "0.4.24", follows: "docs/facts/lmstudio.md#stream-order"}\n'
    for name, body, text in (("a", "", "any"), ("sub/b", f"body: {{model: {SILENT}}}", "silent")):
        (tmp_path / f"{name}.yaml").write_text(
            f"{head}request:\n  method: POST\n  path: {CHAT}\n  {body}\n"
            "response:\n  status: 200\n  headers: {content-type: text/plain}\n"
            f"  chunks:\n    - [0, {text}]\n    - [5, {{base64: IQ==}}]\n",
            "utf-8",
        )
    async with StandIn(fixtures=tmp_path) as standin, speak_to(standin) as client:
        assert "silent!" == (await client.post(CHAT, json=ask(SILENT))).text
        assert "any!" == (await client.post(CHAT, json=ask(PLAIN))).text
        assert 200 == (await client.get("/v1/models")).status_code


def test_a_broken_fixture_is_named(tmp_path: Path) -> None:
    """With the file and what is wrong."""
    (tmp_path / "x.yaml").write_text("request: {path: /}\n", "utf-8")
    with pytest.raises(ValueError, match=r"x\.yaml.*response"):
        StandIn(fixtures=tmp_path)

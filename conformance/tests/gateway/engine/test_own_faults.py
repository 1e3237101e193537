"""What clients hear when the fault is the gateway's own, or theirs (docs/operating.md)."""

import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import gateway.app
from conformance.standin import StandIn
from conformance.tests.gateway.support import (
    CHAT,
    EMBEDDINGS,
    LOADED,
    LOADED_EMBEDDER,
    Pair,
    caching,
    chat,
    frames,
    generate,
    open_gateway,
    open_pair,
)
from gateway.plans import chat as chat_mapping
from gateway.plans.endpoints import ENDPOINTS

INTERNAL = "internal error of the gateway; its log says more"


async def break_down(request: Any, run: Any) -> Any:
    """Fail as a plan never should."""
    raise ZeroDivisionError("a secret of the inside")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/chat", chat()),
        ("POST", "/api/embed", {"model": LOADED_EMBEDDER, "input": "Why?"}),
        ("GET", "/api/tags", None),
        ("GET", "/api/ps", None),
    ],
)
async def test_a_fault_of_ours_is_a_500_with_our_words(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: Any
) -> None:
    """In Ollama's envelope; the inside stays inside, and the next request is served."""
    broken = tuple(
        dataclasses.replace(one, plan=break_down) if one.path == path else one for one in ENDPOINTS
    )
    monkeypatch.setattr(gateway.app, "ENDPOINTS", broken)
    async with open_pair() as pair:
        answer = await pair.client.request(method, path, json=body)
        assert (500, {"error": INTERNAL}) == (answer.status_code, answer.json())
        assert 200 == (await pair.client.get("/api/version")).status_code


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
async def test_a_fault_of_ours_in_a_stream_is_its_last_line(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, streamed: bool
) -> None:
    """After the first line an error can only be a line; the request at LM Studio ends."""
    translate = chat_mapping.ChatStream.chunk
    # What follows the first event of an answer in one piece comes together, as one or two events.
    last_one = 3 if streamed else 2
    count = 0

    def fail_at_last(self: Any, chunk: Any) -> Any:
        nonlocal count
        count += 1
        if count == last_one:
            raise ZeroDivisionError("a secret of the inside")
        return translate(self, chunk)

    monkeypatch.setattr(chat_mapping.ChatStream, "chunk", fail_at_last)
    if streamed:
        pair.script({"match": {"path": CHAT}, "hold": "rest", "after": 3})
    answer = await pair.post("/api/chat", chat(stream=streamed))
    *before, last = frames(answer.text)
    assert {"error": INTERNAL} == last
    assert (200 if streamed else 500) == answer.status_code
    assert (2 if streamed else 0) == len(before)
    if streamed:
        await pair.until_left(CHAT)


async def test_a_fault_of_ours_lets_the_model_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that failed so holds nothing any more."""

    def fail(self: Any, chunk: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(chat_mapping.ChatStream, "chunk", fail)
    async with open_pair() as pair:
        answer = await pair.post("/api/chat", chat())
        assert 500 == answer.status_code
        await pair.post("/api/generate", {"model": LOADED, "keep_alive": 0})
        assert [] == pair.instances(LOADED)


@pytest.mark.parametrize(("path", "family"), [(CHAT, "openai"), ("/v1/messages", "anthropic")])
async def test_a_fault_of_ours_is_told_in_the_callers_words(
    monkeypatch: pytest.MonkeyPatch, pair: Pair, path: str, family: str
) -> None:
    """Where bytes are passed through, too."""
    monkeypatch.setattr("gateway.passthrough.preparing.changed", lambda *_: 1 // 0)
    answer = await pair.post(path, chat())
    assert 500 == answer.status_code
    body = answer.json()
    assert INTERNAL == body["error"]["message"]
    assert ("error" if family == "anthropic" else None) == body.get("type")
    assert 200 == (await pair.client.get("/v1/models")).status_code


# -- bodies ----------------------------------------------------------------------------------------


async def test_a_body_over_the_limit_is_refused() -> None:
    """413 in Ollama's envelope, told by length or found out while reading; nothing is asked."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 300

    async with open_pair({"limits": {"body_bytes": 1000}}) as pair:
        for path in ("/api/chat", "/api/generate", "/api/embed", "/api/show"):
            for content in (b" " * 1500, pieces()):
                answer = await pair.client.post(path, content=content)
                assert (path, 413) == (path, answer.status_code)
                assert "the request body is larger than 1000 bytes" == answer.json()["error"]
        assert [] == pair.standin.seen


async def test_a_body_of_just_the_limit_is_read() -> None:
    """The limit itself is allowed."""
    async with open_pair({"limits": {"body_bytes": 1000}}) as pair:
        body = json.dumps(chat()).encode().ljust(1000)
        assert 200 == (await pair.client.post("/api/chat", content=body)).status_code


@pytest.mark.parametrize(
    "kind", [None, "application/json", "text/plain", "application/x-www-form-urlencoded", "x/y"]
)
async def test_a_body_is_read_whatever_it_is_called(pair: Pair, kind: str | None) -> None:
    """As Ollama does (docs/facts/ollama.md#bodies-json, docs/facts/clients.md#no-content-type)."""
    headers = {"content-type": kind} if kind else {}
    content = json.dumps(chat()).encode()
    answer = await pair.client.post("/api/chat", content=content, headers=headers)
    assert 200 == answer.status_code, answer.text


# -- LM Studio down --------------------------------------------------------------------------------

ROUTES: dict[str, tuple[str, Any]] = {
    "chat": ("/api/chat", chat()),
    "streamed chat": ("/api/chat", chat(stream=True)),
    "generate": ("/api/generate", generate()),
    "embed": ("/api/embed", {"model": LOADED_EMBEDDER, "input": "Why?"}),
    "embeddings": ("/api/embeddings", {"model": LOADED_EMBEDDER, "prompt": "Why?"}),
    "show": ("/api/show", {"model": LOADED}),
    "tags": ("/api/tags", None),
    "ps": ("/api/ps", None),
}


async def ask(pair: Pair, path: str, body: Any) -> httpx.Response:
    """Ask with a body or without one."""
    return await (pair.post(path, body) if body is not None else pair.client.get(path))


@pytest.mark.parametrize(("path", "body"), ROUTES.values(), ids=ROUTES.keys())
async def test_a_host_that_is_down_is_told_and_found_again(path: str, body: Any) -> None:
    """
    503 with its address while it is down, an answer as soon as it is up
    (docs/facts/clients.md#host-down).
    """
    standin = StandIn()
    await standin.start()
    await standin.stop()
    async with open_gateway(standin) as pair:
        answer = await ask(pair, path, body)
        assert 503 == answer.status_code
        assert f"cannot reach LM Studio at {standin.url}" in answer.json()["error"]
        async with StandIn(port=standin.port):
            answer = await ask(pair, path, body)
            assert 200 == answer.status_code, answer.text


async def test_what_needs_no_host_is_served_without_one() -> None:
    """Clients look at these to see whether Ollama runs."""
    standin = StandIn()
    await standin.start()
    await standin.stop()
    async with open_gateway(standin) as pair:
        for path in ("/", "/api/version", "/api/status"):
            assert 200 == (await pair.client.get(path)).status_code


# -- statuses before the first line ----------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
@pytest.mark.parametrize(
    ("status", "told"), [(400, 400), (404, 404), (429, 429), (500, 500), (502, 502), (503, 503)]
)
async def test_an_error_before_the_first_line_has_a_status(
    pair: Pair, status: int, told: int, streamed: bool
) -> None:
    """Never a success with nothing in it (docs/facts/clients.md#silent-errors)."""
    answer = {"status": status, "chunks": [[0, '{"error":{"message":"As said."}}']]}
    pair.script({"match": {"path": CHAT}, "answer": answer})
    got = await pair.post("/api/chat", chat(stream=streamed))
    assert (told, {"error": "As said."}) == (got.status_code, got.json())


async def test_an_error_within_a_success_is_an_error(pair: Pair) -> None:
    """LM Studio may say it under status 200 (docs/facts/lmstudio.md#error-with-200)."""
    answer = {"chunks": [[0, '{"error":{"message":"As said."}}']]}
    pair.script({"match": {"path": CHAT}, "answer": answer})
    pair.script({"match": {"path": EMBEDDINGS}, "answer": answer})
    for path, body in (
        ("/api/chat", chat()),
        ("/api/chat", chat(stream=True)),
        ("/api/embed", {"model": LOADED_EMBEDDER, "input": "Why?"}),
    ):
        got = await pair.post(path, body)
        assert (502, {"error": "As said."}) == (got.status_code, got.json())


# -- settings of answers ---------------------------------------------------------------------------

GRADED = "harbor/lantern-8b"


async def tell(pair: Pair, route: str, streamed: bool) -> tuple[str, str]:
    """Return what a model thinks and what it says."""
    body = chat(GRADED) if route == "chat" else generate(GRADED)
    answer = await pair.post(f"/api/{route}", {**body, "stream": streamed})
    lines = frames(answer.text)
    assert lines[-1]["done"] is True
    parts = [line.get("message", line) for line in lines]
    text = "content" if route == "chat" else "response"
    return (
        "".join(part.get("thinking", "") for part in parts),
        "".join(part.get(text, "") for part in parts),
    )


async def test_thinking_goes_where_the_setting_says() -> None:
    """A field of its own, merged into the text between tags, or dropped."""
    ways = [(route, streamed) for route in ("chat", "generate") for streamed in (True, False)]
    told: dict[str, list[tuple[str, str]]] = {}
    for policy in ("field", "merge", "drop"):
        async with open_pair({**caching(), "answers": {"thinking": policy}}) as pair:
            told[policy] = [await tell(pair, *way) for way in ways]
    for field, merged, dropped in zip(told["field"], told["merge"], told["drop"], strict=True):
        thinking, content = field
        assert thinking.strip()
        assert content.strip()
        assert ("", content) == dropped
        assert "" == merged[0]
        assert merged[1].startswith("<think>")
        assert thinking.strip() in merged[1]
        assert "</think>" in merged[1]
        assert merged[1].endswith(content)


async def test_the_version_is_the_settings() -> None:
    """Clients compare it with what they need."""
    async with open_pair({"answers": {"version": "0.99.1"}}) as pair:
        assert {"version": "0.99.1"} == await pair.get("/api/version")

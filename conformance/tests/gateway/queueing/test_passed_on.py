"""The queue below `/v1` and on LM Studio's own routes, and what a stream shows while it waits."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import httpx
import pytest

from conformance.tests.gateway.fleet.fleets import Fleet, open_fleet
from conformance.tests.gateway.support import (
    CHAT,
    EMBEDDINGS,
    LOADED,
    LOADED_EMBEDDER,
    Pair,
    chat,
    gather_all,
    open_pair,
)
from gateway.passthrough.signs_of_life import WAITING
from gateway.queueing.waiting import BUSY

HOST, QUEUED = "x-olgate-host", "x-olgate-queued-ms"
PATHS = [
    (CHAT, chat()),
    ("/v1/completions", {"model": LOADED, "prompt": "Why?"}),
    ("/v1/responses", {"model": LOADED, "input": "Why?"}),
    ("/v1/messages", {**chat(), "max_tokens": 5}),
    ("/api/v1/chat", {"model": LOADED, "input": "Why?"}),
    (EMBEDDINGS, {"model": LOADED_EMBEDDER, "input": "Why?"}),
]
EARLY = {"answers": {"early_headers_s": 0.01, "sign_of_life_s": 0.01}}


def hold(pair: Pair, path: str, times: int = 1) -> None:
    """Have LM Studio hold the next requests for an answer."""
    pair.script({"match": {"path": path}, "hold": "all", "times": times})


def was_asked(fleet: Fleet, name: str) -> bool:
    """Return whether a host was asked for an answer."""
    return bool(fleet.asked(name, CHAT))


async def until_waiting(client: httpx.AsyncClient, number: int) -> None:
    """Wait until so many requests wait for a slot."""
    line = f'olgate_waiting_requests{{reason="slot"}} {number}.0\n'
    async with asyncio.timeout(30):
        while line not in (await client.get("/metrics")).text:
            # Each look is a whole request.
            pass


async def two(pair: Pair, path: str, body: Any) -> list[asyncio.Task[httpx.Response]]:
    """Have LM Studio hold a request, and another one wait for its slot."""
    hold(pair, path)
    first = asyncio.ensure_future(pair.post(path, body))
    await pair.until_asked(path)
    second = asyncio.ensure_future(pair.post(path, body))
    await until_waiting(pair.client, 1)
    return [first, second]


@pytest.mark.parametrize(("path", "body"), PATHS[:5])
async def test_a_second_request_waits_for_the_only_slot(path: str, body: Any) -> None:
    """On every route that asks a model."""
    async with open_pair(parallel=1) as pair:
        tasks = await two(pair, path, body)
        pair.release("all")
        first, second = await gather_all(*tasks)
        assert (200, 200) == (first.status_code, second.status_code)
        assert (False, True) == (QUEUED in first.headers, QUEUED in second.headers)


@pytest.mark.parametrize(("path", "body"), PATHS)
async def test_a_slot_is_given_back_each_time(path: str, body: Any) -> None:
    """Also by a client that leaves, and after an error: later requests don't wait."""
    async with open_pair(parallel=1) as pair:
        pair.script({"match": {"path": path}, "error": "compute", "times": 1})
        await pair.post(path, body)
        hold(pair, path)
        pair.forget()
        leaver = asyncio.ensure_future(pair.post(path, body))
        await pair.until_asked(path)
        leaver.cancel()
        await pair.until_left(path)
        for _ in range(5):
            answer = await pair.post(path, body)
            assert 200 == answer.status_code
        assert QUEUED not in answer.headers


@pytest.mark.parametrize(("path", "body"), PATHS[:5])
async def test_a_full_queue_is_told_in_the_callers_dialect(path: str, body: Any) -> None:
    """With Ollama's words, and the time to try again."""
    async with open_pair({"queue": {"most": 0}}, parallel=1) as pair:
        hold(pair, path)
        first = asyncio.ensure_future(pair.post(path, body))
        await pair.until_asked(path)
        refused = await pair.post(path, body)
        assert 503 == refused.status_code
        assert BUSY == refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) >= 1
        pair.release("all")
        assert 200 == (await first).status_code


async def test_a_stream_comes_before_whole_answers() -> None:
    """By its `stream: true`."""
    async with open_pair(parallel=1) as pair:
        hold(pair, CHAT)
        tasks = []
        for number, streamed in enumerate([False, False, False, True]):
            body = chat(text=str(number), stream=streamed)
            tasks.append(asyncio.ensure_future(pair.post(CHAT, body)))
            if number:
                await until_waiting(pair.client, number)
            else:
                await pair.until_asked(CHAT)
        pair.release("all")
        await gather_all(*tasks)
        texts = [body["messages"][-1]["content"] for body in pair.bodies(CHAT)]
        assert ["0", "3", "1", "2"] == texts


async def test_a_batch_of_embeddings_delays_no_chat() -> None:
    """Their model has slots of its own."""
    async with open_pair(parallel=1) as pair:
        hold(pair, EMBEDDINGS, 4)
        body = {"model": LOADED_EMBEDDER, "input": "x"}
        tasks = [asyncio.ensure_future(pair.post(EMBEDDINGS, body)) for _ in range(60)]
        await until_waiting(pair.client, 60 - 4)
        answer = await pair.post(CHAT, chat())
        assert 200 == answer.status_code
        assert QUEUED not in answer.headers
        pair.release("all")
        assert {200} == {answer.status_code for answer in await gather_all(*tasks)}


async def test_a_stream_shows_that_it_waits() -> None:
    """Its head comes early if that is set, then comments, and then LM Studio's own events."""
    async with open_pair(EARLY, parallel=1) as pair:
        hold(pair, CHAT)
        first = asyncio.ensure_future(pair.post(CHAT, chat()))
        await pair.until_asked(CHAT)
        body = {**chat(), "stream": True}
        async with pair.client.stream("POST", CHAT, json=body) as answer:
            assert 200 == answer.status_code
            assert answer.headers["content-type"].startswith("text/event-stream")
            pieces = answer.aiter_bytes()
            seen = b""
            while seen.count(WAITING) < 2:
                seen += await anext(pieces)
            assert b"" == seen.replace(WAITING, b"")
            pair.release("all")
            async for piece in pieces:
                seen += piece
        assert seen.endswith(b"data: [DONE]\n\n")
        assert b'"content"' in seen
        await first


@pytest.mark.parametrize("is_told", ["left", "died", "error"])
async def test_after_an_early_head_a_failure_is_an_event(is_told: str) -> None:
    """The stream ends with it, and its slot is free."""
    settings = {**EARLY, "queue": {"longest_s": 0.2 if is_told == "left" else 60}}
    async with open_pair(settings, parallel=1) as pair:
        hold(pair, CHAT)
        first = asyncio.ensure_future(pair.post(CHAT, chat()))
        await pair.until_asked(CHAT)
        body = {**chat(), "stream": True}
        async with pair.client.stream("POST", CHAT, json=body) as answer:
            pieces = answer.aiter_bytes()
            seen = await anext(pieces)
            if is_told == "died":
                await pair.standin.stop()
            elif is_told == "error":
                pair.script({"match": {"path": CHAT}, "error": "compute", "times": 1})
                pair.release("all")
            async for piece in pieces:
                seen += piece
        assert b'"error"' in seen.replace(WAITING, b"")
        assert b"[DONE]" not in seen
        pair.release("all")
        await first


async def test_without_an_early_head_a_refusal_keeps_its_status() -> None:
    """Though comments are on."""
    settings = {"answers": {"sign_of_life_s": 0.01}, "queue": {"longest_s": 0.1}}
    async with open_pair(settings, parallel=1) as pair:
        hold(pair, CHAT)
        first = asyncio.ensure_future(pair.post(CHAT, chat()))
        await pair.until_asked(CHAT)
        refused = await pair.post(CHAT, {**chat(), "stream": True})
        assert 503 == refused.status_code
        pair.release("all")
        await first


async def test_lines_start_early_while_they_wait() -> None:
    """A streamed answer of Ollama's routes has its head, and no comment, which would break it."""
    async with open_pair(EARLY, parallel=1) as pair:
        hold(pair, CHAT)
        first = asyncio.ensure_future(pair.post(CHAT, chat()))
        await pair.until_asked(CHAT)
        body = {**chat(), "stream": True}
        async with pair.client.stream("POST", "/api/chat", json=body) as answer:
            assert 200 == answer.status_code
            await until_waiting(pair.client, 1)
            pair.release("all")
            lines = [line async for line in answer.aiter_lines()]
        assert '"done":true' in lines[-1]
        await first


async def test_a_passed_request_goes_where_a_slot_is_free_first() -> None:
    """As one of Ollama's routes does."""
    async with open_fleet({"parallel": 1}, {"parallel": 1}) as fleet:
        tasks = {}
        for name in ("a", "b"):
            fleet.script(name, {"match": {"path": CHAT}, "hold": "all", "times": 1})
            tasks[name] = asyncio.ensure_future(fleet.post(CHAT, chat(), **{HOST: name}))
            assert await fleet.standins[name].log.wait_until(partial(was_asked, fleet, name))
        late = [asyncio.ensure_future(fleet.post(CHAT, chat())) for _ in range(2)]
        await until_waiting(fleet.client, 2)
        fleet.standins["b"].app.script.release("all")
        for answer in await gather_all(*late):
            assert (200, "b") == (answer.status_code, answer.headers[HOST])
            assert QUEUED in answer.headers
        fleet.standins["a"].app.script.release("all")
        await gather_all(*tasks.values())

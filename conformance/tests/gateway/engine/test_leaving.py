"""
Clients that leave: what they asked for ends at once, and nothing is left behind
(docs/facts/clients.md#client-gone).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    EMBEDDINGS,
    LIST,
    LOAD,
    LOADED,
    LOADED_EMBEDDER,
    UNLOAD,
    Pair,
    caching,
    chat,
    generate,
    open_pair,
)

SHORT = "50ms"
INFERENCE = {
    "chat": ("/api/chat", chat(), CHAT),
    "streamed chat": ("/api/chat", chat(stream=True), CHAT),
    "generate": ("/api/generate", generate(), CHAT),
    "streamed generate": ("/api/generate", generate(stream=True), CHAT),
    "embed": ("/api/embed", {"model": LOADED_EMBEDDER, "input": "Why?"}, EMBEDDINGS),
    "embeddings": ("/api/embeddings", {"model": LOADED_EMBEDDER, "prompt": "Why?"}, EMBEDDINGS),
    "passed chat": (CHAT, chat(), CHAT),
    "passed stream": (CHAT, chat(stream=True), CHAT),
    "passed embeddings": (EMBEDDINGS, {"model": LOADED_EMBEDDER, "input": "Why?"}, EMBEDDINGS),
}


async def leave(task: asyncio.Task[httpx.Response]) -> None:
    """Let a client leave: its request is given up and its connection closed."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("path", "body", "upstream"), INFERENCE.values(), ids=INFERENCE.keys())
async def test_leaving_before_anything_came_ends_the_request(
    pair: Pair, path: str, body: dict[str, Any], upstream: str
) -> None:
    """LM Studio may stop reading the prompt; the next request is served."""
    pair.script({"match": {"path": upstream}, "hold": "prompt", "nth": 1})
    asking = asyncio.create_task(pair.post(path, body))
    await pair.until_asked(upstream)
    await leave(asking)
    await pair.until_left(upstream)
    answer = await pair.post(path, body)
    assert 200 == answer.status_code
    assert 1 == sum(one.left for one in pair.asked(upstream))


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", CHAT])
async def test_leaving_midway_ends_the_stream(pair: Pair, path: str) -> None:
    """The stream at LM Studio is closed where it stands."""
    body = generate(stream=True) if path == "/api/generate" else chat(stream=True)
    pair.script({"match": {"path": CHAT}, "hold": "rest", "after": 2, "nth": 1})
    async with pair.client.stream("POST", path, json=body) as answer:
        await anext(answer.aiter_lines())
    await pair.until_left(CHAT)
    assert 200 == (await pair.post(path, body)).status_code


async def test_leaving_a_one_shot_answer_midway_ends_the_stream_behind_it(pair: Pair) -> None:
    """A client that waits for one object is watched all the same."""
    pair.script({"match": {"path": CHAT}, "hold": "rest", "after": 2, "nth": 1})
    asking = asyncio.create_task(pair.post("/api/chat", chat()))
    await pair.until(lambda: any(one.started_ms is not None for one in pair.asked(CHAT)))
    await leave(asking)
    await pair.until_left(CHAT)


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
async def test_leaving_starts_the_time_to_live(path: str, streamed: bool) -> None:
    """A model that was only used by a client who left is idle, and goes in its time."""
    async with open_pair({"models": {"keep_alive": SHORT}}) as pair:
        pair.script({"match": {"path": CHAT}, "hold": "prompt", "nth": 1})
        asking = asyncio.create_task(pair.post(path, chat(COLD, stream=streamed)))
        await pair.until_asked(CHAT)
        await leave(asking)
        await pair.until_answered(UNLOAD)
        assert [] == pair.instances(COLD)


async def test_leaving_with_zero_unloads(fresh: Pair) -> None:
    """What was to go after the answer goes without one."""
    fresh.script({"match": {"path": CHAT}, "hold": "prompt", "nth": 1})
    asking = asyncio.create_task(fresh.post("/api/chat", chat(COLD, keep_alive=0)))
    await fresh.until_asked(CHAT)
    await leave(asking)
    await fresh.until_answered(UNLOAD)
    assert [True] == [one.left for one in fresh.asked(CHAT)]
    assert [] == fresh.instances(COLD)


@pytest_asyncio.fixture(loop_scope="session")
async def loading() -> AsyncIterator[Pair]:
    """Run a pair whose loads wait to be let go."""
    async with open_pair(caching()) as pair:
        pair.script({"match": {"path": LOAD}, "hold": "load", "nth": 1})
        yield pair


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/chat", chat(COLD)), ("/api/chat", {"model": COLD}), (CHAT, chat(COLD))],
    ids=["chat", "preload", "passed"],
)
async def test_leaving_while_loading_asks_nothing_of_the_model(
    loading: Pair, path: str, body: dict[str, Any]
) -> None:
    """The load itself goes on, for the next who wants the model."""
    asking = asyncio.create_task(loading.post(path, body))
    await loading.until_asked(LOAD)
    await leave(asking)
    loading.release("load")
    await loading.until_answered(LOAD)
    assert [] == loading.asked(CHAT)
    assert 200 == (await loading.post("/api/chat", chat(COLD))).status_code
    assert 1 == len(loading.asked(LOAD))


@pytest.mark.parametrize("keep_alive", [SHORT, 0], ids=["short", "zero"])
async def test_a_model_whose_client_left_while_loading_goes_too(
    loading: Pair, keep_alive: str | int
) -> None:
    """Its time begins when the load ends, since nobody is there to use it."""
    asking = asyncio.create_task(loading.post("/api/chat", chat(COLD, keep_alive=keep_alive)))
    await loading.until_asked(LOAD)
    await leave(asking)
    await loading.let_pass("/api/version")
    loading.release("load")
    await loading.until_answered(UNLOAD)
    assert [] == loading.instances(COLD)


async def test_one_who_leaves_does_not_take_the_load_of_the_others(loading: Pair) -> None:
    """The first to ask is the first to go; the second gets the answer of the same load."""
    first = asyncio.create_task(loading.post("/api/chat", chat(COLD)))
    await loading.until_asked(LOAD)
    second = asyncio.create_task(loading.post("/api/chat", chat(COLD)))
    await loading.let_pass("/api/version")
    await leave(first)
    await loading.let_pass("/api/version")
    loading.release("load")
    assert 200 == (await second).status_code
    assert 1 == len(loading.asked(LOAD))
    assert 1 == len(loading.asked(CHAT))


async def test_one_who_leaves_does_not_take_the_list_of_the_others(pair: Pair) -> None:
    """The model list is fetched once for all who wait, whoever asked first."""
    pair.script({"match": {"path": LIST}, "hold": "list", "nth": 1})
    first = asyncio.create_task(pair.client.get("/api/tags"))
    await pair.until_asked(LIST)
    second = asyncio.create_task(pair.client.get("/api/tags"))
    await pair.let_pass("/api/version")
    await leave(first)
    await pair.let_pass("/api/version")
    pair.release("list")
    assert 200 == (await second).status_code
    assert 1 == len(pair.asked(LIST))


async def test_one_who_leaves_does_not_take_the_load_again_of_the_others() -> None:
    """The same for a model that LM Studio said is not loaded."""
    async with open_pair(caching()) as pair:
        await pair.get("/api/tags")
        await pair.change("unload", LOADED)
        refusing = {"match": {"path": CHAT}, "nth": 1, "times": 2, "hold": "refusal"}
        pair.script(
            {**refusing, "error": "no_models_loaded"}, {"match": {"path": LOAD}, "hold": "load"}
        )
        first, second = (asyncio.create_task(pair.post("/api/chat", chat())) for _ in range(2))
        await pair.until_asked(CHAT, 2)
        pair.release("refusal")
        await pair.until_asked(LOAD)
        await leave(first)
        await pair.let_pass("/api/version")
        pair.release("load")
        assert 200 == (await second).status_code
        assert 1 == len(pair.asked(LOAD))


async def test_leaving_a_request_without_a_body_ends_it(pair: Pair) -> None:
    """Also a GET that is passed through is watched."""
    pair.script({"match": {"path": "/v1/models"}, "hold": "list", "nth": 1})
    asking = asyncio.create_task(pair.client.get("/v1/models"))
    await pair.until_asked("/v1/models")
    await leave(asking)
    await pair.until_left("/v1/models")


async def test_leaving_in_the_middle_of_an_upload_ends_it(pair: Pair) -> None:
    """A body that is streamed on is cut upstream where the client cut it."""
    cut = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"--x\r\n"
        await cut.wait()

    headers = {"content-type": "multipart/form-data; boundary=x"}
    path = "/v1/audio/transcriptions"
    upload = asyncio.create_task(pair.client.post(path, content=pieces(), headers=headers))
    await pair.until_asked(path)
    await leave(upload)
    await pair.until_left(path)
    assert 200 == (await pair.client.get("/v1/models")).status_code


async def test_many_who_leave_leave_nothing_behind() -> None:
    """After twenty gone clients the model is idle: its time runs and it goes."""
    async with open_pair({"models": {"keep_alive": SHORT}}, parallel=20) as pair:
        await pair.post("/api/chat", chat(COLD, keep_alive="1h"))
        pair.script({"match": {"path": CHAT}, "hold": "prompt", "nth": 1, "times": 20})
        asking = [
            asyncio.create_task(pair.post("/api/chat", chat(COLD, stream=bool(n % 2))))
            for n in range(20)
        ]
        await pair.until_asked(CHAT, 21)
        for task in asking:
            await leave(task)
        await pair.until(lambda: 20 == sum(one.left for one in pair.asked(CHAT)))
        assert 200 == (await pair.post("/api/chat", chat(COLD, keep_alive=SHORT))).status_code
        await pair.until_answered(UNLOAD)

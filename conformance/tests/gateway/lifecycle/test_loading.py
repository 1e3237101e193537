"""
Loading for a request, and loading for its own sake (docs/facts/lmstudio.md#jit,
docs/facts/lmstudio.md#load-call, docs/facts/ollama.md#load-and-unload).
"""

import asyncio
import math
from typing import Any

import pytest

from conformance.standin.catalogue import DEFAULT, Model, q4
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    EMBEDDINGS,
    LOAD,
    LOADED,
    LOADED_EMBEDDER,
    VARIED,
    Pair,
    caching,
    chat,
    frames,
    gather_all,
    generate,
    open_pair,
)

EMBEDDER = Model(
    key="text-embedding-cold-v2",
    type="embedding",
    publisher="harbor",
    display_name="Cold Embed v2",
    architecture="nomic-bert",
    max_context_length=2048,
    variants=(q4(80),),
)
FIRST = {
    "chat": ("/api/chat", chat(COLD)),
    "streamed chat": ("/api/chat", chat(COLD, stream=True)),
    "generate": ("/api/generate", generate(COLD)),
    "raw": ("/api/generate", generate(COLD, raw=True)),
    "passed chat": (CHAT, chat(COLD)),
    "embed": ("/api/embed", {"model": EMBEDDER.key, "input": "Why?"}),
    "embeddings": ("/api/embeddings", {"model": EMBEDDER.key, "prompt": "Why?"}),
    "passed embeddings": (EMBEDDINGS, {"model": EMBEDDER.key, "input": "Why?"}),
}
PRELOADS = {
    "chat": ("/api/chat", {"model": COLD}),
    "chat without messages": ("/api/chat", {"model": COLD, "messages": []}),
    "generate": ("/api/generate", {"model": COLD}),
    "generate without a prompt": ("/api/generate", {"model": COLD, "prompt": "", "stream": True}),
}


@pytest.mark.parametrize(("path", "body"), FIRST.values(), ids=FIRST.keys())
async def test_a_model_is_loaded_natively_before_its_first_request(
    path: str, body: dict[str, Any]
) -> None:
    """LM Studio's own loading for a request would give it a time to live and may happen twice."""
    async with open_pair(models=(*DEFAULT, EMBEDDER)) as pair:
        answer = await pair.post(path, body)
        assert 200 == answer.status_code, answer.text
        assert [{"model": body["model"]}] == pair.bodies(LOAD)
        inference = [one.path for one in pair.standin.seen if one.path.startswith("/v1/")]
        assert 1 == len(inference)
        again = await pair.post(path, body)
        assert 200 == again.status_code
        assert 1 == len(pair.asked(LOAD))


async def test_a_loaded_model_is_not_loaded(pair: Pair) -> None:
    """What somebody loaded by hand serves as it is."""
    await pair.post("/api/chat", chat())
    await pair.post("/api/embed", {"model": LOADED_EMBEDDER, "input": "Why?"})
    assert [] == pair.asked(LOAD)


async def test_a_model_is_loaded_where_lm_studio_would_not() -> None:
    """With just-in-time loading off, a native load still gets the model."""
    async with open_pair(jit=False) as pair:
        answer = await pair.post("/api/chat", chat(COLD))
        assert 200 == answer.status_code
        assert 1 == len(pair.asked(LOAD))


async def test_a_host_without_native_loading_loads_by_itself() -> None:
    """On 0.3 the first request is what loads."""
    async with open_pair(host_version="0.3") as pair:
        answer = await pair.post("/api/chat", chat(COLD))
        assert 200 == answer.status_code
        assert ["/api/v0/models", CHAT] == [one.path for one in pair.standin.seen][-2:]


@pytest.mark.parametrize(("path", "body"), PRELOADS.values(), ids=PRELOADS.keys())
async def test_a_request_for_nothing_loads(pair: Pair, path: str, body: dict[str, Any]) -> None:
    """
    It says `load`, loads once, and asks nothing of the model
    (docs/facts/clients.md#empty-requests).
    """
    answer = await pair.post(path, body)
    assert 200 == answer.status_code
    (frame,) = frames(answer.text)
    assert ("load", True, COLD) == (frame["done_reason"], frame["done"], frame["model"])
    assert [{"model": COLD}] == pair.bodies(LOAD)
    assert [] == pair.asked(CHAT)
    again = await pair.post(path, body)
    assert "load" == again.json()["done_reason"]
    assert 1 == len(pair.asked(LOAD))


async def test_an_embedder_is_loaded_by_an_empty_input() -> None:
    """`embed` has no reason to tell, its answer is an empty list."""
    async with open_pair(models=(EMBEDDER,)) as pair:
        answer = await pair.post("/api/embed", {"model": EMBEDDER.key, "input": []})
        assert (200, []) == (answer.status_code, answer.json()["embeddings"])
        answer = await pair.post("/api/embeddings", {"model": EMBEDDER.key})
        assert (200, []) == (answer.status_code, answer.json()["embedding"])
        assert 1 == len(pair.asked(LOAD))
        assert [] == pair.asked(EMBEDDINGS)


@pytest.mark.parametrize(
    ("num_ctx", "expected"),
    [
        (8192, 8192),
        (8192.0, 8192),
        (131072, 32768),
        (10**12, 32768),
        (0, None),
        (-1, None),
        (None, None),
    ],
)
@pytest.mark.parametrize("route", ["chat", "generate", "preload"])
async def test_num_ctx_is_the_context_of_the_load(
    pair: Pair, route: str, num_ctx: float | None, expected: int | None
) -> None:
    """It is capped, since some clients ask for a model's maximum with every chat."""
    path = "/api/generate" if route == "generate" else "/api/chat"
    body = {"chat": chat(COLD), "generate": generate(COLD), "preload": {"model": COLD}}[route]
    answer = await pair.post(path, {**body, "options": {"num_ctx": num_ctx}})
    assert 200 == answer.status_code, answer.text
    (sent,) = pair.bodies(LOAD)
    assert expected == sent.get("context_length")
    (shown,) = (one for one in (await pair.running()).values() if one["model"].startswith(COLD))
    assert (expected or 32768) == shown["context_length"]


async def test_num_ctx_is_capped_by_the_model(pair: Pair) -> None:
    """No more than the model was made for."""
    await pair.change("unload", LOADED)
    await pair.post("/api/chat", chat(LOADED, options={"num_ctx": 20000}))
    assert [{"model": LOADED, "context_length": 8192}] == pair.bodies(LOAD)


async def test_the_setting_is_the_context_of_a_load_without_num_ctx() -> None:
    """A request's own number goes first."""
    async with open_pair({"models": {"context_length": 6000}}) as pair:
        await pair.post("/api/chat", {"model": COLD})
        await pair.post("/api/chat", {"model": VARIED, "options": {"num_ctx": 5000}})
        assert [6000, 5000] == [body["context_length"] for body in pair.bodies(LOAD)]


async def test_a_variant_is_loaded_under_its_own_key(pair: Pair) -> None:
    """The name's tag says which quantisation; LM Studio writes it after an at sign."""
    answer = await pair.post("/api/chat", chat(f"{VARIED}:q8_0"))
    assert 200 == answer.status_code
    assert [{"model": f"{VARIED}@q8_0"}] == pair.bodies(LOAD)
    assert [f"{VARIED}@q8_0"] == [body["model"] for body in pair.bodies(CHAT)]
    await pair.post("/api/chat", chat(f"{VARIED}:q8_0"))
    assert 1 == len(pair.asked(LOAD))


@pytest.mark.parametrize(("path", "body"), FIRST.values(), ids=FIRST.keys())
async def test_a_load_that_fails_is_told(path: str, body: dict[str, Any]) -> None:
    """LM Studio's words and status reach the client, and the request is not sent."""
    async with open_pair(models=(*DEFAULT, EMBEDDER)) as pair:
        await pair.change("fail_load", message="The disk is full.")
        answer = await pair.post(path, body)
        assert 500 == answer.status_code
        error = answer.json()["error"]
        assert "The disk is full." in (error["message"] if path.startswith("/v1/") else error)
        assert [] == [one for one in pair.standin.seen if one.path.startswith("/v1/")]
        later = await pair.post(path, body)
        assert 200 == later.status_code


async def test_a_load_that_fails_fails_for_all_who_wait(pair: Pair) -> None:
    """One attempt, not one per request."""
    pair.script({"match": {"path": LOAD}, "hold": "load", "nth": 1})
    await pair.change("fail_load", message="The disk is full.")
    asking = [asyncio.create_task(pair.post("/api/chat", chat(COLD))) for _ in range(5)]
    await pair.until_asked(LOAD)
    await pair.let_pass()
    pair.release("load")
    answers = await gather_all(*asking)
    assert [500] * 5 == [answer.status_code for answer in answers]
    assert 1 == len(pair.asked(LOAD))


async def test_a_load_that_takes_too_long_is_told() -> None:
    """The setting limits a load, and how long a request waits for one that nobody sees."""
    async with open_pair({"models": {"load_timeout_s": 0.4}}) as pair:
        pair.script({"match": {"path": LOAD}, "hold": "load", "nth": 1})
        answer = await pair.post("/api/chat", chat(COLD))
        assert 504 == answer.status_code
        assert [] == pair.asked(CHAT)
        await pair.until_left(LOAD)
        answer = await pair.post("/api/chat", chat(COLD))
        assert 504 == answer.status_code
        assert COLD in answer.json()["error"]
        assert 1 == len(pair.asked(LOAD))


async def test_a_load_may_have_no_time_limit() -> None:
    """The setting 0 is no limit."""
    async with open_pair({"models": {"load_timeout_s": math.inf}}) as pair:
        answer = await pair.post("/api/chat", chat(COLD))
        assert 200 == answer.status_code


async def test_load_duration_is_the_time_the_load_took() -> None:
    """Measured, not made up; next to nothing for a model that is there."""
    async with open_pair(load_ms=150) as pair:
        first = (await pair.post("/api/chat", chat(COLD))).json()
        second = (await pair.post("/api/chat", chat(COLD))).json()
        assert 150_000_000 <= first["load_duration"] <= first["total_duration"]
        assert second["load_duration"] < first["load_duration"]


async def test_a_second_client_waits_for_the_load_of_the_first() -> None:
    """Also when it only wants the model to be there."""
    async with open_pair(caching()) as pair:
        pair.script({"match": {"path": LOAD}, "hold": "load"})
        first = asyncio.create_task(pair.post("/api/chat", chat(COLD)))
        await pair.until_asked(LOAD)
        second = asyncio.create_task(pair.post("/api/generate", {"model": COLD}))
        await pair.let_pass()
        assert not second.done()
        pair.release("load")
        answers = await gather_all(first, second)
        assert [200, 200] == [answer.status_code for answer in answers]
        assert 1 == len(pair.asked(LOAD))


@pytest.mark.parametrize("name", [COLD, f"{COLD}:latest"])
async def test_a_load_that_is_passed_through_is_the_only_one(pair: Pair, name: str) -> None:
    """LM Studio's own load route does what it says; the gateway adds no load of its own."""
    answer = await pair.post(LOAD, {"model": name, "context_length": 5000})
    assert 200 == answer.status_code, answer.text
    assert [{"model": COLD, "context_length": 5000}] == pair.bodies(LOAD)
    assert [COLD] == pair.instances(COLD)


async def test_what_was_loaded_through_the_gateway_is_known_at_once() -> None:
    """A load or unload that is passed through makes the catalogue look again."""
    async with open_pair(caching()) as pair:
        await pair.get("/api/tags")
        await pair.post(LOAD, {"model": COLD})
        answer = await pair.post("/api/chat", chat(COLD))
        assert 200 == answer.status_code
        assert [COLD] == pair.instances(COLD)
        await pair.client.post("/api/v1/models/unload", json={"instance_id": COLD})
        await pair.post("/api/chat", chat(COLD))
        assert 2 == len(pair.asked(LOAD))


@pytest.mark.parametrize(
    ("path", "body", "upstream"),
    [
        ("/api/chat", {"model": COLD}, "/v1/completions"),
        ("/api/generate", {"model": COLD}, "/v1/completions"),
        ("/api/embed", {"model": EMBEDDER.key, "input": []}, EMBEDDINGS),
        ("/api/embeddings", {"model": EMBEDDER.key}, EMBEDDINGS),
    ],
    ids=["chat", "generate", "embed", "embeddings"],
)
async def test_an_older_host_loads_for_the_smallest_request(
    path: str, body: dict[str, Any], upstream: str
) -> None:
    """Where there is no load route, what is said to be loaded is loaded all the same, once."""
    async with open_pair(caching(), host_version="0.3", models=(*DEFAULT, EMBEDDER)) as pair:
        assert 200 == (await pair.post(path, body)).status_code
        assert [body["model"]] == pair.instances(body["model"])
        assert 200 == (await pair.post(path, body)).status_code
        assert 1 == len(pair.asked(upstream))


async def test_an_older_host_that_does_not_load_says_so() -> None:
    """Nothing is loaded there by asking, and the client is not told otherwise."""
    async with open_pair(host_version="0.3", jit=False, models=(EMBEDDER,)) as pair:
        answer = await pair.post("/api/embed", {"model": EMBEDDER.key, "input": []})
        assert answer.status_code >= 400
        assert "No models loaded" in answer.json()["error"]

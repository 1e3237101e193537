"""
What happens when LM Studio says that a model is not loaded (docs/facts/lmstudio.md#unknown-model,
docs/facts/lmstudio.md#reload-window).
"""

import asyncio
import json
from typing import Any

import pytest

from conformance.standin.stated import NONE_LOADED
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    COMPLETIONS,
    EMBEDDINGS,
    LIST,
    LOAD,
    LOADED,
    LOADED_EMBEDDER,
    Pair,
    caching,
    chat,
    frames,
    gather_all,
    generate,
    open_pair,
    said,
)

BACKTICKS = NONE_LOADED.replace("'", "`")
OBJECT = {"error": {"message": NONE_LOADED, "type": "invalid_request_error", "param": "model"}}


def refuse(body: Any, status: int = 400, *, path: str = CHAT, times: int = 1) -> dict[str, Any]:
    """Return a rule by which the first requests for a path are answered with an error."""
    answer = {"status": status, "chunks": [[0, json.dumps(body)]]}
    return {"match": {"path": path}, "nth": 1, "times": times, "answer": answer}


def refuse_in_stream(message: str) -> dict[str, Any]:
    """Return a rule by which the first stream begins with an error."""
    event = {"error": {"message": message}, "message": message}
    text = f"event: error\ndata: {json.dumps(event)}\n\n"
    return {"match": {"path": CHAT}, "nth": 1, "answer": {"chunks": [[0, text]]}}


REFUSALS = {
    "object": refuse(OBJECT),
    "bare string": refuse({"error": NONE_LOADED}),
    "0.3.5 with backticks": refuse({"error": {"message": BACKTICKS, "param": "model"}}, 404),
    "unloaded": refuse({"error": {"message": "Model unloaded."}}),
    "reloaded": refuse({"error": {"message": "Model reloaded."}}),
    "200 with an error": refuse(OBJECT, 200),
    "first event": refuse_in_stream("Model is unloaded."),
    "first event, none loaded": refuse_in_stream(NONE_LOADED),
}


async def unload_by_hand(pair: Pair, key: str = LOADED, action: str = "unload_window") -> None:
    """
    Unload a model behind the gateway's back, which has just seen it loaded.

    LM Studio refuses the next request for it, as it does while it loads it again.
    """
    await pair.get("/health")
    await pair.change(action, key)
    pair.forget()


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_model_said_not_to_be_loaded_is_loaded_once(
    kept: Pair, refusal: dict[str, Any], streamed: bool
) -> None:
    """Whatever the envelope: one load, the request once more, and the client sees an answer."""
    await unload_by_hand(kept, action="unload")
    kept.script(refusal)
    answer = await kept.post("/api/chat", chat(stream=streamed))
    assert 200 == answer.status_code, answer.text
    assert frames(answer.text)[-1]["done"] is True
    assert said(answer.text)
    assert [{"model": LOADED}] == kept.bodies(LOAD)
    first, second = kept.asked(CHAT)
    assert first.raw == second.raw


@pytest.mark.parametrize(
    ("action", "streamed"),
    [("unload_window", True), ("reload_window", False)],
    ids=["streamed", "one-shot"],
)
@pytest.mark.parametrize(
    ("path", "body", "upstream"),
    [
        ("/api/chat", chat(), CHAT),
        ("/api/generate", generate(), CHAT),
        ("/api/generate", generate(raw=True), COMPLETIONS),
        (CHAT, chat(), CHAT),
        (COMPLETIONS, generate(), COMPLETIONS),
    ],
    ids=["chat", "generate", "generate raw", "passed chat", "passed completion"],
)
async def test_every_inference_route_loads_again(
    kept: Pair, path: str, body: dict[str, Any], upstream: str, action: str, streamed: bool
) -> None:
    """One load and one retry, also where bytes are passed through."""
    await unload_by_hand(kept, action=action)
    answer = await kept.post(path, {**body, "stream": streamed})
    assert 200 == answer.status_code, answer.text
    assert "error" not in answer.text
    assert 1 == len(kept.asked(LOAD))
    assert 2 == len(kept.asked(upstream))


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_a_stream_that_begins_with_an_error_is_asked_for_again(kept: Pair, path: str) -> None:
    """
    LM Studio may say it inside a stream, as its first event (docs/facts/lmstudio.md#reload-window).
    """
    await kept.change("reload_window", LOADED, in_stream=True)
    answer = await kept.post(path, chat(stream=True))
    assert 200 == answer.status_code
    assert "unloaded" not in answer.text
    assert 1 == len(kept.asked(LOAD))
    assert 2 == len(kept.asked(CHAT))


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_a_first_event_in_pieces_is_understood(kept: Pair, path: str) -> None:
    """However the network cuts the event that says it, the request is asked again."""
    await unload_by_hand(kept, action="unload")
    rule = refuse_in_stream("Model is unloaded.")
    ((_, text),) = rule["answer"]["chunks"]
    headers = {"content-type": "text/event-stream"}
    pieces = [[index, letter] for index, letter in enumerate(text)]
    kept.script({**rule, "answer": {"headers": headers, "chunks": pieces}})
    answer = await kept.post(path, chat(stream=True))
    assert 200 == answer.status_code
    assert "unloaded" not in answer.text
    assert 1 == len(kept.asked(LOAD))
    assert 2 == len(kept.asked(CHAT))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/embed", {"input": "Why?"}),
        ("/api/embed", {"input": ["Why?", "Where?"]}),
        ("/api/embeddings", {"prompt": "Why?"}),
        (EMBEDDINGS, {"input": "Why?"}),
    ],
    ids=["embed", "embed list", "embeddings", "passed"],
)
async def test_every_embedding_route_loads_again(
    kept: Pair, path: str, body: dict[str, Any]
) -> None:
    """
    The embeddings route has its own envelope, a bare string (docs/facts/lmstudio.md#unknown-model).
    """
    await unload_by_hand(kept, LOADED_EMBEDDER)
    answer = await kept.post(path, {"model": LOADED_EMBEDDER, **body})
    assert 200 == answer.status_code, answer.text
    assert [{"model": LOADED_EMBEDDER}] == kept.bodies(LOAD)
    assert 2 == len(kept.asked(EMBEDDINGS))


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_many_requests_share_one_load_again(path: str) -> None:
    """Twenty refused at once, twenty answered, one load (docs/facts/clients.md#one-load)."""
    async with open_pair(caching(), load_ms=20, parallel=20) as pair:
        await unload_by_hand(pair, action="unload")
        refusing = {"match": {"path": CHAT}, "nth": 1, "times": 20}
        pair.script({**refusing, "hold": "all", "error": "no_models_loaded"})
        asking = [asyncio.create_task(pair.post(path, chat())) for _ in range(20)]
        await pair.until_asked(CHAT, 20)
        pair.release("all")
        answers = await gather_all(*asking)
        assert [200] * 20 == [answer.status_code for answer in answers]
        assert 1 == len(pair.asked(LOAD))
        assert 40 == len(pair.asked(CHAT))


async def test_a_request_that_comes_while_loading_again_waits_for_that_load(kept: Pair) -> None:
    """One load per model, whether it is for a first request or for a refused one."""
    await unload_by_hand(kept)
    kept.script({"match": {"path": LOAD}, "hold": "load"})
    refused = asyncio.create_task(kept.post("/api/chat", chat()))
    await kept.until_asked(LOAD)
    late = asyncio.create_task(kept.post("/api/chat", chat()))
    await kept.let_pass()
    kept.release("load")
    answers = await gather_all(refused, late)
    assert [200, 200] == [answer.status_code for answer in answers]
    assert 1 == len(kept.asked(LOAD))
    assert [LOADED] == kept.instances(LOADED)


async def test_many_first_requests_load_once() -> None:
    """
    Twenty requests for a model that is not loaded make one load call
    (docs/facts/clients.md#one-load).
    """
    async with open_pair(load_ms=20) as pair:
        answers = await gather_all(*(pair.post("/api/chat", chat(COLD)) for _ in range(20)))
        assert [200] * 20 == [answer.status_code for answer in answers]
        assert 1 == len(pair.asked(LOAD))
        assert 20 == len(pair.asked(CHAT))
        assert [COLD] == pair.instances(COLD)


async def test_first_requests_of_all_routes_load_once() -> None:
    """Chat, generate, preload and passthrough wait for one and the same load."""
    async with open_pair(load_ms=20) as pair:
        answers = await gather_all(
            pair.post("/api/chat", chat(COLD)),
            pair.post("/api/generate", generate(COLD)),
            pair.post("/api/generate", {"model": COLD}),
            pair.post(CHAT, chat(COLD)),
        )
        assert [200] * 4 == [answer.status_code for answer in answers]
        assert 1 == len(pair.asked(LOAD))


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
@pytest.mark.parametrize("path", ["/api/chat", CHAT])
@pytest.mark.parametrize("action", ["unload_window", "reload_window"])
async def test_a_window_is_waited_out(kept: Pair, path: str, streamed: bool, action: str) -> None:
    """LM Studio refuses for seconds while it loads again; the client sees one answer, one load."""
    await unload_by_hand(kept, action=action)
    await kept.change(action, LOADED, requests=3)
    answer = await kept.post(path, chat(stream=streamed))
    assert 200 == answer.status_code, answer.text
    assert "error" not in answer.text
    assert 1 == len(kept.asked(LOAD))
    assert 4 == len(kept.asked(CHAT))


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_a_failure_that_does_not_pass_is_told(path: str, streamed: bool) -> None:
    """After the time for a load the client hears LM Studio's words, with its status."""
    async with open_pair(caching(load_timeout_s=0.5)) as pair:
        await pair.change("unload_window", LOADED, requests=1000)
        answer = await pair.post(path, chat(stream=streamed))
        assert 400 == answer.status_code
        error = answer.json()["error"]
        assert NONE_LOADED == (error if path == "/api/chat" else error["message"])
        assert 1 == len(pair.asked(LOAD))
        assert 3 <= len(pair.asked(CHAT)) <= 6


async def test_a_window_on_an_older_host_is_waited_out() -> None:
    """Where nothing can be loaded on demand, asking again is all there is."""
    async with open_pair(caching(), host_version="0.3") as pair:
        await unload_by_hand(pair)
        await pair.change("unload_window", LOADED, requests=3)
        answer = await pair.post("/api/chat", chat(stream=True))
        assert 200 == answer.status_code, answer.text
        assert frames(answer.text)[-1]["done"] is True
        assert 4 == len(pair.asked(CHAT))


async def test_a_load_again_has_the_context_that_was_asked_for(kept: Pair) -> None:
    """What a request wants of a first load it wants of a later one too."""
    await unload_by_hand(kept, action="unload_window")
    answer = await kept.post("/api/chat", chat(options={"num_ctx": 4096}))
    assert 200 == answer.status_code
    assert [{"model": LOADED, "context_length": 4096}] == kept.bodies(LOAD)


async def test_a_load_again_that_fails_is_told(kept: Pair) -> None:
    """The client hears why the model can't be loaded, and nothing is repeated."""
    await unload_by_hand(kept)
    await kept.change("fail_load", message="The disk is full.")
    answer = await kept.post("/api/chat", chat())
    assert 500 == answer.status_code
    assert "The disk is full." in answer.json()["error"]
    assert 1 == len(kept.asked(LOAD))
    assert 1 == len(kept.asked(CHAT))


@pytest.mark.parametrize(
    ("path", "body", "upstream"),
    [
        ("/api/chat", chat(), CHAT),
        ("/api/chat", chat(stream=True), CHAT),
        ("/api/generate", generate(), CHAT),
        ("/api/embed", {"model": LOADED_EMBEDDER, "input": "Why?"}, EMBEDDINGS),
        (CHAT, chat(stream=True), CHAT),
        (EMBEDDINGS, {"model": LOADED_EMBEDDER, "input": "Why?"}, EMBEDDINGS),
    ],
    ids=["chat", "streamed chat", "generate", "embed", "passed chat", "passed embeddings"],
)
async def test_a_host_without_native_loading_is_asked_for_its_list(
    path: str, body: dict[str, Any], upstream: str
) -> None:
    """0.3 can't be told to load: the list is asked for, the request repeated, and it loads."""
    async with open_pair(caching(), host_version="0.3") as pair:
        await unload_by_hand(pair, body["model"])
        answer = await pair.post(path, body)
        assert 200 == answer.status_code, answer.text
        assert "error" not in answer.text
        assert [upstream, "/api/v0/models", upstream] == [one.path for one in pair.standin.seen]


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_nothing_is_repeated_after_the_first_line(kept: Pair, path: str) -> None:
    """A model that goes away midway ends the stream with an error; the client has its half."""
    kept.forget()
    kept.script({"match": {"path": CHAT}, "error": "model_unloaded", "after": 2})
    answer = await kept.post(path, chat(stream=True))
    assert 200 == answer.status_code
    assert [CHAT] == [one.path for one in kept.standin.seen]
    assert "Model unloaded." in answer.text
    if path == "/api/chat":
        lines = frames(answer.text)
        assert {"error": "Model unloaded."} == lines[-1]
        assert [False, False] == [line["done"] for line in lines[:-1]]


async def test_a_one_shot_answer_lost_midway_is_asked_for_again() -> None:
    """A client that asked for one object has seen nothing of the half that came."""
    async with open_pair() as pair:
        pair.script({"match": {"path": CHAT}, "error": "model_unloaded", "after": 2, "nth": 1})
        answer = await pair.post("/api/chat", chat())
        assert 200 == answer.status_code
        assert 1 == answer.text.count("Tiny Plain 1B Instruct on")
        assert 2 == len(pair.asked(CHAT))


@pytest.mark.parametrize("error", ["overflow_exceeded", "model_crashed", "busy", "compute"])
async def test_other_errors_load_nothing(kept: Pair, error: str) -> None:
    """Only a model that is not loaded is worth a load."""
    kept.script({"match": {"path": CHAT}, "error": error})
    answer = await kept.post("/api/chat", chat())
    assert 400 <= answer.status_code < 600
    assert [] == kept.asked(LOAD)
    assert 1 == len(kept.asked(CHAT))


async def test_a_model_that_is_listed_as_loaded_is_not_loaded_twice(kept: Pair) -> None:
    """
    A load of a loaded model may make a second instance (docs/facts/lmstudio.md#load-again): only
    repeat.
    """
    kept.script(REFUSALS["object"])
    answer = await kept.post("/api/chat", chat())
    assert 200 == answer.status_code
    assert [] == kept.asked(LOAD)
    assert [LOADED] == kept.instances(LOADED)
    assert 1 == len(kept.asked(LIST))

"""What rules change of what is passed on, and all the bytes that they leave alone."""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_asyncio

from conformance.tests.gateway.support import (
    CHAT,
    EMBEDDINGS,
    LOADED,
    LOADED_EMBEDDER,
    Pair,
    chat,
    open_pair,
)
from gateway.wire import float32

LIST = "/v1/models"
MADE = {
    "model": "pilot",
    "from": LOADED,
    "system": "You are a pilot.",
    "parameters": {"temperature": 0.25, "top_k": 40.0, "num_predict": -1, "seed": -1},
    "stream": False,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def made() -> AsyncIterator[Pair]:
    """Run a gateway in which a client made a model."""
    async with open_pair() as running:
        answer = await running.post("/api/create", MADE)
        assert 200 == answer.status_code, answer.text
        yield running


def play(body: bytes, path: str = LIST, **more: Any) -> dict[str, Any]:
    """Return a rule by which a path is answered with bytes."""
    chunks = [[0, {"base64": base64.b64encode(body).decode()}]]
    return {"match": {"path": path}, "answer": {"chunks": chunks, **more}}


@pytest.mark.asyncio(loop_scope="session")
async def test_a_list_gets_items_and_keeps_its_bytes(made: Pair) -> None:
    """The order of members, and whatever LM Studio says of its own models."""
    await made.reset()
    own = (
        b'{"data":[{"id":"x", "n":1e3,"created":7},{"id":"pilot:latest"}],'
        b'"object":"list","more":[ 1 ]}'
    )
    headers = {"Content-Type": "application/json", "ETag": 'W/"1"', "X-Odd": "yes"}
    made.script(play(own, headers=headers))

    answer = await made.client.get(f"{LIST}?limit=2", headers={"if-none-match": 'W/"1"'})

    created = answer.json()["data"][1]["created"]
    entry = (
        b'{"id":"pilot:latest","object":"model","created":%d,"owned_by":"organization_owner"}'
        % created
    )
    assert answer.content == (
        b'{"data":[{"id":"x", "n":1e3,"created":7},' + entry + b'],"object":"list","more":[ 1 ]}'
    )
    assert str(len(answer.content)) == answer.headers["content-length"]
    assert "etag" not in answer.headers
    assert "yes" == answer.headers["x-odd"]
    (sent,) = made.asked(LIST)
    assert "if-none-match" not in sent.headers


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("body", [b"[]", b'{"data":7}', b'{"data":{"id":1}}', b'{"object":"list"}'])
async def test_a_list_that_is_none_is_passed_on(made: Pair, body: bytes) -> None:
    """What can't be read can't be changed; a client may make more of it."""
    await made.reset()
    made.script(play(body, headers={"Content-Type": "application/json"}))
    answer = await made.client.get(LIST)
    assert (200, body) == (answer.status_code, answer.content)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("status", [400, 404, 503])
async def test_an_answer_that_is_no_success_is_not_changed(made: Pair, status: int) -> None:
    """It has no list."""
    await made.reset()
    body = b'{"error": {"message": "No.", "data": []}}'
    made.script(play(body, status=status, headers={"Content-Type": "application/json"}))
    answer = await made.client.get(LIST)
    assert (status, body) == (answer.status_code, answer.content)


@pytest.mark.asyncio(loop_scope="session")
async def test_what_is_no_json_is_refused_where_it_would_be_changed(made: Pair) -> None:
    """A page of a proxy is no list of models."""
    await made.reset()
    made.script(play(b"<html><title>Sign in</title>"))
    answer = await made.client.get(LIST)
    assert 502 == answer.status_code
    assert "Sign in" in answer.json()["error"]["message"]


@pytest.mark.asyncio(loop_scope="session")
async def test_each_entry_of_a_list_gets_a_time(made: Pair) -> None:
    """The one that Ollama's listings show; what an entry has keeps its bytes and its order."""
    await made.reset()
    own = b'{"data":[{"id":"%b","x":1e3},{"id":"who:2"},7,{"created":5},{"id":[]}]}' % (
        LOADED.encode()
    )
    made.script(play(own, headers={"Content-Type": "application/json"}))
    data = (await made.client.get(LIST)).json()["data"]
    assert ["id", "x", "created"] == list(data[0])
    tags = (await made.get("/api/tags"))["models"]
    (shown,) = [one["modified_at"] for one in tags if one["name"] == f"{LOADED}:latest"]
    assert int(datetime.fromisoformat(shown).timestamp()) == data[0]["created"]
    assert (7, {"created": 5}) == (data[2], data[3])
    assert all(isinstance(data[at]["created"], int) for at in (1, 4))


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    "name",
    [
        "pilot",
        "PILOT:latest",
        "pilot:Latest",
        LOADED,
        f"{LOADED.upper()}:latest",
        "harbor/lantern-8b",
        "harbor%2Flantern-8b:latest",
    ],
)
async def test_every_name_of_a_model_is_told_without_lm_studio(made: Pair, name: str) -> None:
    """As it was asked for; LM Studio's own route is not documented."""
    await made.reset()
    answer = await made.client.get(f"{LIST}/{name}")
    assert 200 == answer.status_code
    entry = answer.json()
    assert ["id", "object", "created", "owned_by"] == list(entry)
    assert unquote(name) == entry["id"]
    assert entry["created"] > 1_500_000_000
    assert [] == [one for one in made.standin.seen if one.path.startswith(LIST)]


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", ["no-such", "pilot:other", "a/b/c/d/e", "%20", "a b"])
async def test_a_name_that_no_model_has_is_not_found(made: Pair, name: str) -> None:
    """In the words of the dialect."""
    await made.reset()
    answer = await made.client.get(f"{LIST}/{name}")
    assert 404 == answer.status_code
    error = answer.json()["error"]
    assert f"model '{unquote(name)}' not found" == error["message"]
    assert "not_found_error" == error["type"]


@pytest.mark.asyncio(loop_scope="session")
async def test_a_models_own_values_are_put_in_as_ollama_takes_them(made: Pair) -> None:
    """A limit below one and a seed below zero are none; a whole number is written as one."""
    await made.reset()
    body = b'{"model":"pilot","messages":[ {"role":"user","content":"Hi"} ],"top_p":null}'
    await made.client.post(CHAT, content=body)
    (sent,) = made.asked(CHAT)
    told = b'[{"role":"system","content":"You are a pilot."},{"role":"user","content":"Hi"}]'
    assert sent.raw == (
        b'{"model":"' + LOADED.encode() + b'","messages":' + told + b',"top_p":null,'
        b'"temperature":0.25,"top_k":40}'
    )


@pytest.mark.asyncio(loop_scope="session")
async def test_what_can_not_be_read_leaves_out_one_change_only(made: Pair) -> None:
    """The values of the model count, though a format with half a character can't be read."""
    await made.reset()
    body = b'{"model":"pilot","messages":[],"response_format":{"type":"\\ud83d"}}'
    await made.client.post(CHAT, content=body)
    (sent,) = made.asked(CHAT)
    assert b'"response_format":{"type":"\\ud83d"}' in sent.raw
    assert b'"temperature":0.25' in sent.raw


@pytest.mark.asyncio(loop_scope="session")
async def test_turns_that_would_be_lost_are_refused(made: Pair) -> None:
    """The model's system text can't be put before what is no list."""
    await made.reset()
    answer = await made.client.post(CHAT, content=b'{"model":"pilot","messages":"Hi"}')
    assert 400 == answer.status_code
    assert "messages must be a list" in answer.json()["error"]["message"]
    assert [] == made.asked(CHAT)


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("half", [b"\\ud83d", b"\\uDE00"])
async def test_half_a_character_does_not_cost_a_model_its_turns(made: Pair, half: bytes) -> None:
    """It is U+FFFD, as Ollama and LM Studio read it."""
    await made.reset()
    messages = b'[{"role":"user","content":"a ' + half + b'","n": 1.0}]'
    await made.client.post(CHAT, content=b'{"model":"pilot","messages":' + messages + b"}")
    (sent,) = made.asked(CHAT)
    told, own = sent.body["messages"]
    assert {"role": "system", "content": "You are a pilot."} == told
    assert "a \ufffd" == own["content"]
    assert b'"n": 1.0' in sent.raw


TOOLS = [{"type": "function", "function": {"name": name, "n": 1.0}} for name in ("f", "g")]


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    ("choice", "tools", "word", "offered"),
    [
        ({"type": "function", "function": {"name": "g"}}, TOOLS, "required", ["g"]),
        ({"type": "function", "function": {"name": "h"}}, TOOLS, "required", ["f", "g"]),
        ({"type": "function"}, TOOLS, "required", ["f", "g"]),
        ("auto", TOOLS, "auto", ["f", "g"]),
        (None, TOOLS, None, ["f", "g"]),
    ],
)
async def test_an_object_as_tool_choice_becomes_a_word(
    made: Pair, choice: Any, tools: list[Any], word: str | None, offered: list[str]
) -> None:
    """And only the tool that is meant is on offer, its bytes as they came."""
    await made.reset()
    content = json.dumps({**chat(), "tools": tools, "tool_choice": choice}).encode()
    await made.client.post(CHAT, content=content)
    (sent,) = made.asked(CHAT)
    assert word == sent.body["tool_choice"]
    assert offered == [tool["function"]["name"] for tool in sent.body["tools"]]
    assert len(offered) == sent.raw.count(b'"n": 1.0')


@pytest.mark.asyncio(loop_scope="session")
async def test_a_choice_without_tools_becomes_a_word_all_the_same(made: Pair) -> None:
    """An object is refused whatever else there is."""
    await made.reset()
    await made.post(CHAT, {**chat(), "tool_choice": {"type": "function"}, "tools": "none"})
    (sent,) = made.asked(CHAT)
    assert ("required", "none") == (sent.body["tool_choice"], sent.body["tools"])


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(("count", "is_apart"), [(1, False), (40, True)])
async def test_vectors_of_a_long_answer_are_packed_in_a_thread(
    made: Pair, monkeypatch: pytest.MonkeyPatch, count: int, is_apart: bool
) -> None:
    """Other requests would wait for as long as it takes to read all their numbers."""
    await made.reset()
    threads: set[int] = set()
    read = float32.read

    def noting(lists: Any) -> Any:
        threads.add(threading.get_ident())
        return read(lists)

    monkeypatch.setattr(float32, "read", noting)
    rows = [[0.1 + row, -0.25] * 100 for row in range(count)]
    data = [{"embedding": row, "index": place} for place, row in enumerate(rows)]
    body = json.dumps({"data": data}, indent=8).encode()
    made.script(play(body, EMBEDDINGS, headers={"Content-Type": "application/json"}))

    sent = {"model": LOADED_EMBEDDER, "input": ["a"] * count, "encoding_format": "base64"}
    answer = await made.post(EMBEDDINGS, sent)

    packed = [base64.b64decode(item["embedding"]) for item in answer.json()["data"]]
    assert [struct.pack("<200f", *row) for row in rows] == packed
    assert is_apart is (threading.get_ident() not in threads)
    assert 1 == len(threads)

"""Models that clients make: durable, shared between gateways, and true about LM Studio's own."""

import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.standin import StandIn
from conformance.standin.catalogue import DEFAULT
from conformance.standin.options import Options
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LOAD,
    LOADED,
    UNLOAD,
    Pair,
    chat,
    frames,
    open_gateway,
    open_pair,
)

MADE = {"model": "pilot", "from": LOADED, "system": "You are a pilot.", "stream": False}


def keeping(store: Path) -> dict[str, Any]:
    """Return settings with a store in a file."""
    return {"store": {"path": str(store)}}


async def names(pair: Pair) -> list[str]:
    """Return what is listed, in order."""
    return [model["name"] for model in (await pair.get("/api/tags"))["models"]]


async def delete(pair: Pair, name: str) -> httpx.Response:
    """Ask for a name to be deleted."""
    return await pair.client.request("DELETE", "/api/delete", json={"model": name})


async def test_what_was_made_outlives_a_restart(tmp_path: Path) -> None:
    """With its values, and listed with the time at which it was made."""
    async with StandIn(Options()) as standin:
        async with open_gateway(standin, keeping(tmp_path / "a.db")) as pair:
            assert 200 == (await pair.post("/api/create", MADE)).status_code
            before = (await pair.get("/api/tags"))["models"]
        async with open_gateway(standin, keeping(tmp_path / "a.db")) as pair:
            assert before == (await pair.get("/api/tags"))["models"]
            await pair.post("/api/chat", chat("pilot"))
            said = pair.bodies(CHAT)[-1]["messages"]

    assert {"role": "system", "content": "You are a pilot."} == said[0]


async def test_gateways_on_one_store_share_what_was_made(tmp_path: Path) -> None:
    """Made here, used there; deleted there, gone here."""
    settings = keeping(tmp_path / "a.db")
    async with (
        StandIn(Options()) as standin,
        open_gateway(standin, settings) as here,
        open_gateway(standin, settings) as there,
    ):
        await here.post("/api/create", MADE)

        assert 200 == (await there.post("/api/chat", chat("pilot"))).status_code
        assert 200 == (await delete(there, "pilot")).status_code
        assert "pilot:latest" not in await names(here)


async def test_times_of_the_hosts_models_outlive_a_restart(tmp_path: Path) -> None:
    """LM Studio states none, and a list whose times change at each start is sorted anew."""
    async with StandIn(Options()) as standin:
        async with open_gateway(standin, keeping(tmp_path / "a.db")) as pair:
            before = (await pair.get("/api/tags"))["models"]
        async with open_gateway(standin, keeping(tmp_path / "a.db")) as pair:
            assert before == (await pair.get("/api/tags"))["models"]


async def test_a_name_whose_model_is_gone_is_neither_listed_nor_served(tmp_path: Path) -> None:
    """It comes back with its model, and it can be deleted meanwhile."""
    others = tuple(model for model in DEFAULT if model.key != COLD)
    settings = keeping(tmp_path / "a.db")
    async with StandIn(Options()) as standin, open_gateway(standin, settings) as pair:
        await pair.post("/api/copy", {"source": COLD, "destination": "mine"})
        await pair.post("/api/copy", {"source": COLD, "destination": "yours"})
    async with (
        StandIn(Options(models=others)) as other,
        open_gateway(other, settings) as pair,
    ):
        assert not {"mine:latest", "yours:latest"} & set(await names(pair))
        assert 404 == (await pair.post("/api/chat", chat("mine"))).status_code
        assert 200 == (await delete(pair, "yours")).status_code
    async with StandIn(Options()) as standin, open_gateway(standin, settings) as pair:
        listed = await names(pair)

    assert "mine:latest" in listed
    assert "yours:latest" not in listed


async def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Nothing is said to be made that would be gone at the next start."""
    path = tmp_path / "a.db"
    async with StandIn(Options()) as standin, open_gateway(standin, keeping(path)) as pair:
        other = sqlite3.connect(path)
        other.execute("DROP TABLE alias")
        other.commit()
        other.close()
        answer = await pair.post("/api/create", {**MADE, "stream": True})
        once = await pair.post("/api/create", MADE)
        copied = await pair.post("/api/copy", {"source": LOADED, "destination": "mine"})
        deleted = await delete(pair, "pilot")
        served = await pair.post("/api/chat", chat())

    last = frames(answer.text)[-1]
    assert last["error"].startswith("the gateway's store cannot be written: ")
    assert [503, 503] == [once.status_code, copied.status_code]
    assert 404 == deleted.status_code
    assert 200 == served.status_code


async def test_a_made_models_context_counts_when_it_is_loaded() -> None:
    """On both dialects, and a request's own value goes over it."""
    async with open_pair() as pair:
        await pair.post("/api/create", {**MADE, "from": COLD, "parameters": {"num_ctx": 3000}})
        await pair.post("/v1/chat/completions", chat("pilot"))
        await pair.post("/api/generate", {"model": "pilot", "keep_alive": 0})
        await pair.post("/api/chat", chat("pilot", options={"num_ctx": 5000}))
        loads = [body.get("context_length") for body in pair.bodies(LOAD)]

    assert [3000, 5000] == loads


async def test_a_made_model_is_loaded_and_unloaded_as_its_model() -> None:
    """There is one instance, under whatever name it is asked for."""
    async with open_pair() as pair:
        await pair.post("/api/copy", {"source": COLD, "destination": "Mine:v1"})
        await pair.post("/api/chat", chat("mine:V1"))
        await pair.post("/api/chat", chat(COLD))
        loads = len(pair.asked(LOAD))
        unloaded = await pair.post("/api/generate", {"model": "mine:v1", "keep_alive": 0})
        unloads = len(pair.asked(UNLOAD))

    assert 1 == loads
    assert "unload" == unloaded.json()["done_reason"]
    assert 1 == unloads


async def test_configured_names_are_served_and_stay(tmp_path: Path) -> None:
    """They stand above what clients make, and no client changes them."""
    table = {"gpt-4o": LOADED, "lost": "no-such-model"}
    async with open_pair({"aliases": table}) as pair:
        listed = await names(pair)
        asked = await pair.post("/v1/chat/completions", chat("gpt-4o"))
        deleted = await delete(pair, "GPT-4o")
        copied = await pair.post("/api/copy", {"source": COLD, "destination": "gpt-4o"})
        created = await pair.post("/api/create", {**MADE, "model": "gpt-4o"})
        lost = await pair.post("/api/chat", chat("lost"))

    assert {"gpt-4o:latest", f"{LOADED}:latest"} <= {*listed}
    assert "lost:latest" not in listed
    assert 200 == asked.status_code
    assert [501, 400, 400, 404] == [
        answer.status_code for answer in (deleted, copied, created, lost)
    ]
    assert all("configuration" in one.json()["error"] for one in (deleted, copied, created))


async def test_an_instance_is_shown_under_the_name_it_was_loaded_for() -> None:
    """One instance is one line, and the name that was asked for is the one that is looked for."""
    async with open_pair() as pair:
        await pair.post("/api/copy", {"source": COLD, "destination": "mine"})
        await pair.post("/api/generate", {"model": "mine"})
        first = set(await pair.running())
        await pair.post("/api/generate", {"model": "mine", "keep_alive": 0})
        await pair.post("/api/generate", {"model": COLD})
        second = set(await pair.running())

    assert {"mine:latest", f"{COLD}:latest"} & first == {"mine:latest"}
    assert {"mine:latest", f"{COLD}:latest"} & second == {f"{COLD}:latest"}


@pytest.mark.parametrize(
    ("path", "body", "added"),
    [
        (
            "/v1/completions",
            {"prompt": "Hi"},
            {"temperature": 0.25, "max_tokens": 9, "stop": ["END"], "seed": 3},
        ),
        (
            "/v1/responses",
            {"input": "Hi", "temperature": 1},
            {
                "instructions": "You are a pilot.",
                "temperature": 1,
                "max_output_tokens": 9,
                "input": [{"role": "user", "content": "Fog?"}, {"role": "user", "content": "Hi"}],
            },
        ),
        (
            "/v1/messages",
            {"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]},
            {
                "system": "You are a pilot.",
                "temperature": 0.25,
                "stop_sequences": ["END"],
                "max_tokens": 5,
                "messages": [
                    {"role": "user", "content": "Fog?"},
                    {"role": "user", "content": "Hi"},
                ],
            },
        ),
    ],
)
async def test_other_dialects_get_what_a_model_was_made_with(
    path: str, body: dict[str, Any], added: dict[str, Any]
) -> None:
    """Each under its own names, and never over what the request states."""
    made = {
        **MADE,
        "parameters": {"temperature": 0.25, "num_predict": 9, "stop": ["END"], "seed": 3},
        "messages": [{"role": "user", "content": "Fog?"}],
    }
    async with open_pair() as pair:
        await pair.post("/api/create", made)
        await pair.post(path, {"model": "pilot", **body})
        sent = pair.bodies(path)[-1]

    assert {**body, **added, "model": LOADED} == sent


async def test_a_stored_turn_does_not_stand_in_for_the_system_text() -> None:
    """On both dialects alike."""
    made = {**MADE, "messages": [{"role": "system", "content": "Rhyme."}]}
    async with open_pair() as pair:
        await pair.post("/api/create", made)
        await pair.post("/api/chat", chat("pilot"))
        await pair.post("/v1/chat/completions", chat("pilot"))
        told = [[one["role"] for one in body["messages"]] for body in pair.bodies(CHAT)]

    assert [["system", "system", "user"]] * 2 == told


async def test_the_other_dialect_learns_the_nearest_names_too() -> None:
    """In the same header; the error is in its own envelope."""
    async with open_pair() as pair:
        answer = await pair.post("/v1/chat/completions", chat(COLD[:-1]))

    assert 404 == answer.status_code
    assert f"{COLD}:latest" in answer.headers["x-olgate-nearest"]

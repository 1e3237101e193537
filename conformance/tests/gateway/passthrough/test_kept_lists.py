"""The list of /v1/models is kept as bytes: it asks LM Studio no more often than the catalogue."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.keyed import check_lists, open_keyed
from conformance.tests.gateway.support import (
    COLD,
    LOADED,
    LOADED_EMBEDDER,
    LONG,
    Pair,
    caching,
    open_pair,
)
from gateway.app import Process
from gateway.engine.kept import KeptAnswer
from gateway.plans.endpoints import PASSTHROUGH
from gateway.settings.schema import Settings

MODELS = "/v1/models"


@pytest_asyncio.fixture(loop_scope="session")
async def own() -> AsyncIterator[Pair]:
    """Run a pair whose names and models the test changes."""
    async with open_pair(caching()) as running:
        yield running


async def ids(pair: Pair, /, path: str = MODELS, **headers: str) -> list[str]:
    """Return the listed identifiers, asked for twice: the second answer may be a kept one."""
    first = await pair.client.get(path, headers=headers)
    second = await pair.client.get(path, headers=headers)
    assert (200, 200) == (first.status_code, second.status_code)
    assert first.json() == second.json()
    assert first.headers["content-type"] == second.headers["content-type"]
    return [model["id"] for model in second.json()["data"]]


async def test_a_list_is_asked_for_once(own: Pair) -> None:
    """All that want it get the same bytes, and each has an id of its own."""
    await ids(own)
    own.forget()
    answers = [await own.client.get(MODELS) for _ in range(3)]
    assert [] == own.standin.seen
    assert 1 == len({each.content for each in answers})
    assert 3 == len({each.headers["x-request-id"] for each in answers})


async def test_a_list_that_is_not_believed_is_not_kept(pair: Pair) -> None:
    """Where the gateway asks for its own list each time, this one is asked for, too."""
    await ids(pair)
    assert 2 == len(pair.asked(MODELS))


async def test_every_change_is_seen_at_once(own: Pair) -> None:
    """A derived model, its deletion, and a load, after which LM Studio may list more."""
    before = await ids(own)
    copy = {"source": LOADED, "destination": "second"}
    assert 200 == (await own.post("/api/copy", copy)).status_code
    assert {"second:latest", *before} == set(await ids(own))
    gone = await own.client.request("DELETE", "/api/delete", json={"model": "second"})
    assert 200 == gone.status_code
    assert before == await ids(own)
    own.forget()
    loaded = await own.post("/api/generate", {"model": COLD, "prompt": "", "stream": False})
    assert 200 == loaded.status_code
    await ids(own)
    assert 1 == len(own.asked(MODELS))


async def test_a_load_that_is_passed_on_is_seen_at_once(own: Pair) -> None:
    """What changes the models of LM Studio's own routes counts as well."""
    await ids(own)
    assert 200 == (await own.post("/api/v1/models/load", {"model": COLD})).status_code
    own.forget()
    await ids(own)
    assert 1 == len(own.asked(MODELS))


@pytest.mark.parametrize("status", [200, 500])
async def test_an_error_is_not_kept(own: Pair, status: int) -> None:
    """LM Studio says some with status 200."""
    chunks = [[0, '{"error":{"message":"Not now."}}']]
    answer = {"chunks": chunks, "status": status}
    own.script({"match": {"path": MODELS}, "nth": 1, "answer": answer})
    assert "Not now." in (await own.client.get(MODELS)).text
    assert LOADED_EMBEDDER in str((await own.client.get(MODELS)).json())


async def test_what_asks_for_more_is_passed_on(own: Pair) -> None:
    """A query or a body may mean something to LM Studio; a HEAD is no way to ask for a list."""
    await ids(own)
    own.forget()
    await ids(own, f"{MODELS}?limit=1")
    assert 2 == len(own.asked(MODELS))
    for asked in (3, 4):
        await own.client.request("GET", MODELS, json={})
        assert asked == len(own.asked(MODELS))
    assert 405 == (await own.client.head(MODELS)).status_code


async def test_a_key_sees_its_own_models_only() -> None:
    """Each key's list is its own, however often the others are asked for."""
    async with open_keyed() as pair:
        await check_lists(pair, MODELS, ids)
        assert 3 == len(pair.asked(MODELS))


async def test_ollamas_names_are_kept_too() -> None:
    """The list that is made without LM Studio."""
    async with open_pair({**caching(), "answers": {"openai": "ollama"}}) as pair:
        assert f"{LOADED}:latest" in await ids(pair)
        copy = {"source": LOADED, "destination": "second"}
        assert 200 == (await pair.post("/api/copy", copy)).status_code
        assert "second:latest" in await ids(pair)
        assert [] == pair.asked(MODELS)


async def test_several_hosts_are_asked() -> None:
    """Their lists come at different times: what one is late with stands in a later list."""
    async with open_fleet({}, {}, settings=caching()) as fleet:
        for _ in range(2):
            await fleet.get(MODELS)
        for name in fleet.standins:
            assert 2 == len(fleet.asked(name, MODELS))


async def test_other_settings_forget_what_is_kept(own: Pair) -> None:
    """So does a list that has become another one while LM Studio was asked."""
    settings = msgspec.convert(
        {"upstream": {"url": own.standin.url}, "models": {"catalogue_ttl_s": LONG}}, Settings
    )
    process = Process(settings)
    kept, route = process.passthrough.kept, next(each for each in PASSTHROUGH if each.is_kept)
    made = KeptAnswer(b"text/plain", b"kept")
    rows = await process.services.catalogue.listed()
    kept.keep(route, None, None, made)
    kept.keep(route, None, list(rows), made)
    assert kept.find(route) is None
    kept.keep(route, None, kept.begin(), made)
    assert made == kept.find(route)
    process.passthrough.use(settings)
    assert kept.find(route) is None
    await process.aclose()

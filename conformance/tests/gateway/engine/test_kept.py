"""Answers that are kept: they are not made again, and every change is seen by the next request."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType

import msgspec
import pytest_asyncio

import gateway
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.keyed import check_lists, open_keyed
from conformance.tests.gateway.support import (
    COLD,
    LIST,
    LOADED,
    LONG,
    Pair,
    caching,
    open_pair,
    serve,
    speak_to,
)
from gateway.app import Process, create_app
from gateway.engine.kept import KeptAnswer
from gateway.plans.endpoints import ENDPOINTS
from gateway.settings.live import LiveSettings
from gateway.settings.schema import Settings

PLANS = str(Path(str(gateway.__file__)).parent / "plans")


@pytest_asyncio.fixture(loop_scope="session")
async def own() -> AsyncIterator[Pair]:
    """Run a pair whose names and models the test changes."""
    async with open_pair(caching()) as running:
        yield running


async def plans_entered(pair: Pair, path: str) -> int:
    """Return how many functions of plans a GET enters, which must be a success."""
    entered = 0

    def note(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal entered
        entered += event == "call" and frame.f_code.co_filename.startswith(PLANS)

    sys.setprofile(note)
    try:
        answer = await pair.client.get(path)
    finally:
        sys.setprofile(None)
    assert 200 == answer.status_code
    return entered


async def names(pair: Pair, /, **headers: str) -> list[str]:
    """Return the listed names, asked for twice: the second answer may be a kept one."""
    first = await pair.client.get("/api/tags", headers=headers)
    second = await pair.client.get("/api/tags", headers=headers)
    assert first.content == second.content
    return [model["name"] for model in second.json()["models"]]


async def test_lists_are_answered_from_kept_bytes(own: Pair) -> None:
    """No plan runs for a second request, also for HEAD's sake or by another client."""
    for path in ("/api/tags", "/api/version", "/"):
        assert 0 < await plans_entered(own, path), "the plan that makes the answer"
        for _ in range(3):
            assert 0 == await plans_entered(own, path), path
        got, head = await own.client.get(path), await own.client.head(path)
        assert got.headers["content-length"] == head.headers["content-length"]
        assert got.headers["x-request-id"] != head.headers["x-request-id"]
        assert b"" == head.content


async def test_every_change_of_names_is_seen_at_once(own: Pair) -> None:
    """A copy and its deletion, and a model that is derived."""
    before = await names(own)
    assert (
        200
        == (await own.post("/api/copy", {"source": LOADED, "destination": "second"})).status_code
    )
    assert sorted(["second:latest", *before]) == sorted(await names(own))
    made = {"model": "third", "from": LOADED, "system": "Be brief.", "stream": False}
    assert 200 == (await own.post("/api/create", made)).status_code
    assert {"second:latest", "third:latest"} < set(await names(own))
    for name in ("second", "third"):
        gone = await own.client.request("DELETE", "/api/delete", json={"model": name})
        assert 200 == gone.status_code
    assert before == await names(own)


async def test_a_pull_is_seen_at_once(own: Pair) -> None:
    """What was pulled stands in the next list."""
    before = await names(own)
    pulled = await own.post("/api/pull", {"model": "harbor/beacon-9b", "stream": False})
    assert 200 == pulled.status_code, pulled.text
    assert len(before) < len(await names(own))


async def test_a_load_is_seen_at_once(own: Pair) -> None:
    """The list of before a load is not believed after it."""
    await names(own)
    own.forget()
    await names(own)
    assert [] == own.asked(LIST)
    body = {"model": COLD, "prompt": "", "stream": False}
    assert 200 == (await own.post("/api/generate", body)).status_code
    own.forget()
    await names(own)
    assert 1 == len(own.asked(LIST))


async def test_a_key_sees_its_own_models_only() -> None:
    """Each key's list is its own, however often the others are asked for."""
    async with open_keyed() as pair:
        await check_lists(pair, "/api/tags", names)


async def test_hosts_are_seen_when_they_change() -> None:
    """With several hosts, what a host lists anew stands in the next list of all."""
    async with open_fleet({}, {}, settings=caching()) as fleet:

        async def listed() -> bytes:
            answers = [await fleet.client.get("/api/tags") for _ in range(3)]
            assert 1 == len({each.content for each in answers})
            assert 200 == answers[0].status_code
            return answers[0].content

        before = await listed()
        copied = await fleet.post("/api/copy", {"source": LOADED, "destination": "new"})
        assert 200 == copied.status_code
        assert b'"new:latest"' in await listed()
        gone = await fleet.client.request("DELETE", "/api/delete", json={"model": "new"})
        assert 200 == gone.status_code
        assert before == await listed()


async def test_a_reload_is_seen_at_once(own: Pair) -> None:
    """An alias of the settings that a reload brings, and one that it takes away."""
    own_models = {"models": {"catalogue_ttl_s": LONG}, "upstream": {"url": own.standin.url}}
    settings = msgspec.convert(own_models, Settings)
    live = LiveSettings(settings)
    app = create_app(settings, live)
    async with serve(app) as url, speak_to(url) as client:

        async def listed() -> bytes:
            answers = [await client.get("/api/tags") for _ in range(3)]
            assert 1 == len({each.content for each in answers})
            return answers[0].content

        before = await listed()
        live.use(msgspec.structs.replace(settings, aliases={"short": LOADED}))
        assert b'"short:latest"' in await listed() or b'"short"' in await listed()
        live.use(settings)
        assert before == await listed()


async def test_other_settings_forget_what_is_kept(own: Pair) -> None:
    """What was kept of before a reload is not looked for."""
    settings = msgspec.convert({"upstream": {"url": own.standin.url}}, Settings)
    process = Process(settings)
    shown = next(each for each in ENDPOINTS if each.keeps == "settings")
    kept = KeptAnswer(b"text/plain", b"kept")
    keep = process.relay.kept.keeper(shown, None, b"", "")
    assert keep is not None
    keep(kept)
    assert kept == process.relay.kept.find(shown)
    process.relay.use(settings)
    assert process.relay.kept.find(shown) is None
    await process.aclose()

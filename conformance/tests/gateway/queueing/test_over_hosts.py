"""The queue where there are several hosts: a request gets the first slot of any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import httpx
import pytest

from conformance.standin.catalogue import GRADED
from conformance.tests.gateway.fleet.fleets import Fleet, open_fleet
from conformance.tests.gateway.support import CHAT, LIST, LOAD, chat, gather_all

HOST, QUEUED = "x-olgate-host", "x-olgate-queued-ms"
ONE_SLOT = {"parallel": 1}


def hold(fleet: Fleet, name: str, times: int = 1) -> None:
    """Have a host hold the next requests for an answer."""
    fleet.script(name, {"match": {"path": CHAT}, "hold": "all", "times": times})


def was_asked(fleet: Fleet, name: str) -> bool:
    """Return whether a host was asked for an answer."""
    return bool(fleet.asked(name, CHAT))


def let_go(fleet: Fleet, name: str) -> None:
    """Let go of what a host holds."""
    fleet.standins[name].app.script.release("all")


def ask(fleet: Fleet, text: str, **headers: str) -> asyncio.Task[httpx.Response]:
    """Begin a chat."""
    return asyncio.ensure_future(fleet.post("/api/chat", chat(text=text), **headers))


def ask_of(fleet: Fleet, model: str, text: str, **headers: str) -> asyncio.Task[httpx.Response]:
    """Begin a chat with a model."""
    return asyncio.ensure_future(fleet.post("/api/chat", chat(model, text), **headers))


async def until_waiting(fleet: Fleet, number: int) -> None:
    """Wait until so many requests wait for a slot."""
    line = f'olgate_waiting_requests{{reason="slot"}} {number}.0\n'
    async with asyncio.timeout(30):
        while line not in (await fleet.client.get("/metrics")).text:
            # Each look is a whole request.
            pass


async def filled(fleet: Fleet, *names: str) -> dict[str, asyncio.Task[httpx.Response]]:
    """Take the only slot of each host."""
    tasks = {}
    for name in names:
        hold(fleet, name)
        tasks[name] = ask(fleet, f"first at {name}", **{HOST: name})
        assert await fleet.standins[name].log.wait_until(partial(was_asked, fleet, name))
    return tasks


async def test_a_request_goes_where_a_slot_is_free_first() -> None:
    """Whichever host it was sent to, and the other one never hears of it."""
    async with open_fleet(ONE_SLOT, ONE_SLOT) as fleet:
        for name in ("a", "b"):
            first = await filled(fleet, "a", "b")
            waits = ask(fleet, "waits")
            await until_waiting(fleet, 1)
            let_go(fleet, name)
            answer = await waits
            assert (200, name) == (answer.status_code, answer.headers[HOST])
            assert int(answer.headers[QUEUED]) >= 1
            for each in ("a", "b"):
                let_go(fleet, each)
            await gather_all(*first.values())
            for standin in fleet.standins.values():
                standin.log.clear()
        await until_waiting(fleet, 0)


async def test_a_pinned_request_waits_for_its_host_only() -> None:
    """Though another one has a slot."""
    async with open_fleet(ONE_SLOT, ONE_SLOT) as fleet:
        first = await filled(fleet, "a")
        pinned = ask(fleet, "pinned", **{HOST: "a"})
        await until_waiting(fleet, 1)
        assert "b" == (await ask(fleet, "any")).headers[HOST]
        assert not pinned.done()
        let_go(fleet, "a")
        assert "a" == (await pinned).headers[HOST]
        await first["a"]


async def test_who_waits_for_a_host_that_dies_goes_to_another() -> None:
    """All of them are answered, and none of them is sent twice."""
    async with open_fleet(ONE_SLOT, ONE_SLOT) as fleet:
        first = await filled(fleet, "a", "b")
        tasks = [ask(fleet, str(number)) for number in range(6)]
        await until_waiting(fleet, 6)
        await fleet.standins["a"].stop()
        let_go(fleet, "b")
        answers = await gather_all(*tasks, first["b"])
        assert {200} == {answer.status_code for answer in answers}
        assert {"b"} == {answer.headers[HOST] for answer in answers}
        assert 7 == len(fleet.asked("b", CHAT))
        await first["a"]
        await until_waiting(fleet, 0)


async def test_who_leaves_after_a_grant_elsewhere_loses_no_slot() -> None:
    """The host of that slot serves the next one."""
    async with open_fleet(ONE_SLOT, ONE_SLOT) as fleet:
        for _ in range(5):
            first = await filled(fleet, "a", "b")
            leaver, stays = ask(fleet, "leaves"), ask(fleet, "stays")
            await until_waiting(fleet, 2)
            let_go(fleet, "b")
            leaver.cancel()
            await asyncio.wait([stays])
            let_go(fleet, "a")
            assert {200} == {one.status_code for one in await gather_all(stays, *first.values())}
            for standin in fleet.standins.values():
                standin.log.clear()
        answers = await gather_all(ask(fleet, "x"), ask(fleet, "y"))
        assert {200} == {answer.status_code for answer in answers}


async def test_the_slots_of_a_host_are_those_of_its_settings() -> None:
    """They count more than what LM Studio says."""
    async with open_fleet({"parallel": 1}, of_hosts={"a": {"slots": 3}}) as fleet:
        hold(fleet, "a", 3)
        tasks = [ask(fleet, str(number)) for number in range(5)]
        await until_waiting(fleet, 2)
        log = fleet.standins["a"].log
        assert await log.wait_until(lambda: len(fleet.asked("a", CHAT)) == 3)
        let_go(fleet, "a")
        assert [200] * 5 == [answer.status_code for answer in await gather_all(*tasks)]


async def test_a_server_that_says_nothing_gets_all_at_once() -> None:
    """Nobody knows how many requests it runs, so nobody waits for it."""
    async with open_fleet({"host_version": "openai", "parallel": 0}) as fleet:
        hold(fleet, "a", 8)
        tasks = [ask(fleet, str(number)) for number in range(8)]
        log = fleet.standins["a"].log
        assert await log.wait_until(lambda: len(fleet.asked("a", CHAT)) == 8)
        let_go(fleet, "a")
        assert all(QUEUED not in answer.headers for answer in await gather_all(*tasks))


async def test_a_model_that_is_loaded_on_another_host_meanwhile_serves_who_waits() -> None:
    """In the order of the queue, though that host was none when they began to wait."""
    settings = {"placement": {"spread": "queue"}}
    cold = {**ONE_SLOT, "models": (GRADED,)}
    async with open_fleet(cold, cold, settings=settings) as fleet:
        hold(fleet, "a")
        first = ask_of(fleet, GRADED.key, "first", **{HOST: "a"})
        assert await fleet.standins["a"].log.wait_until(partial(was_asked, fleet, "a"))
        waits = ask_of(fleet, GRADED.key, "waits")
        await until_waiting(fleet, 1)
        assert not fleet.asked("b", LOAD)
        loaded = await fleet.post("/api/generate", {"model": GRADED.key}, **{HOST: "b"})
        assert 200 == loaded.status_code
        answer = await waits
        assert (200, "b") == (answer.status_code, answer.headers[HOST])
        assert not first.done()
        let_go(fleet, "a")
        assert 200 == (await first).status_code


async def test_what_somebody_else_loads_on_another_host_is_found() -> None:
    """Nobody asks this gateway for anything, so it looks by itself."""
    settings = {"placement": {"spread": "queue"}, "models": {"catalogue_ttl_s": 60}}
    cold = {**ONE_SLOT, "models": (GRADED,)}
    async with open_fleet(cold, cold, settings=settings) as fleet:
        hold(fleet, "a")
        first = ask_of(fleet, GRADED.key, "first", **{HOST: "a"})
        assert await fleet.standins["a"].log.wait_until(partial(was_asked, fleet, "a"))
        waits = ask_of(fleet, GRADED.key, "waits")
        await until_waiting(fleet, 1)
        async with httpx.AsyncClient(base_url=fleet.standins["b"].url) as person:
            assert 200 == (await person.post(LOAD, json={"model": GRADED.key})).status_code
        answer = await waits
        assert (200, "b") == (answer.status_code, answer.headers[HOST])
        let_go(fleet, "a")
        assert 200 == (await first).status_code


async def serves_who_waits(fleet: Fleet, comes: Callable[[], Awaitable[object]]) -> None:
    """Check that a host, b, serves who waits for a slot of the other one, once it comes."""
    first = await filled(fleet, "a")
    waits = ask(fleet, "waits")
    await until_waiting(fleet, 1)
    await comes()
    answer = await waits
    assert (200, "b") == (answer.status_code, answer.headers[HOST])
    let_go(fleet, "a")
    await gather_all(*first.values())


async def test_a_host_that_is_taken_back_serves_who_waits() -> None:
    """They began to wait while it was drained."""
    async with open_fleet(ONE_SLOT, ONE_SLOT) as fleet:
        await fleet.client.post("/olgate/drain", headers={HOST: "b"})
        undrain = partial(fleet.client.post, "/olgate/undrain", headers={HOST: "b"})
        await serves_who_waits(fleet, undrain)


async def test_a_host_that_is_back_serves_who_waits() -> None:
    """They began to wait while its list could not be had."""
    async with open_fleet(ONE_SLOT, ONE_SLOT) as fleet:
        fleet.script("b", {"match": {"path": LIST}, "fault": "closed_before_headers"})
        await fleet.client.get("/health")

        async def come_back() -> None:
            fleet.standins["b"].app.script.clear()

        await serves_who_waits(fleet, come_back)


async def test_who_waits_for_a_host_by_name_is_offered_no_other() -> None:
    """It may only go there."""
    async with open_fleet(ONE_SLOT, ONE_SLOT) as fleet:
        await fleet.client.post("/olgate/drain", headers={HOST: "b"})
        first = await filled(fleet, "a")
        pinned = ask(fleet, "pinned", **{HOST: "a"})
        waits = ask(fleet, "waits")
        await until_waiting(fleet, 2)
        await fleet.client.post("/olgate/undrain", headers={HOST: "b"})
        assert "b" == (await waits).headers[HOST]
        await until_waiting(fleet, 1)
        let_go(fleet, "a")
        assert "a" == (await pinned).headers[HOST]
        await gather_all(*first.values())


DRAIN, UNDRAIN = "/olgate/drain", "/olgate/undrain"


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_who_waits_for_a_host_that_is_drained_goes_to_another(path: str) -> None:
    """Also to one that has to load the model, and what runs on the drained host ends there."""
    cold = {**ONE_SLOT, "models": (GRADED,)}
    async with open_fleet(cold, cold, settings={"placement": {"spread": "queue"}}) as fleet:
        hold(fleet, "a")
        first = ask_of(fleet, GRADED.key, "first", **{HOST: "a"})
        assert await fleet.standins["a"].log.wait_until(partial(was_asked, fleet, "a"))
        asked = [fleet.post(path, chat(GRADED.key, str(number))) for number in range(3)]
        tasks = [asyncio.ensure_future(one) for one in asked]
        await until_waiting(fleet, 3)
        await fleet.client.post(DRAIN, headers={HOST: "a"})
        answers = await gather_all(*tasks)
        assert {(200, "b")} == {(one.status_code, one.headers[HOST]) for one in answers}
        assert not first.done()
        let_go(fleet, "a")
        assert (200, "a") == ((await first).status_code, (await first).headers[HOST])
        assert 1 == len(fleet.asked("a", CHAT))


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_who_may_go_nowhere_else_is_told_at_once_that_its_host_is_drained(path: str) -> None:
    """A request that names the host, and one for a model that no other host has."""
    async with open_fleet(ONE_SLOT, {**ONE_SLOT, "models": (GRADED,)}) as fleet:
        first = await filled(fleet, "a")
        pinned = asyncio.ensure_future(fleet.post(path, chat(text="p"), **{HOST: "a"}))
        only = asyncio.ensure_future(fleet.post(path, chat(text="o")))
        await until_waiting(fleet, 2)
        await fleet.client.post(DRAIN, headers={HOST: "a"})
        for answer in await gather_all(pinned, only):
            assert 503 == answer.status_code
            assert "the host a is drained" in answer.text
        let_go(fleet, "a")
        assert 200 == (await first["a"]).status_code
        assert 1 == len(fleet.asked("a", CHAT))


async def test_who_waits_elsewhere_gets_its_own_host_again_once_that_is_taken_back() -> None:
    """It had waited for both hosts."""
    async with open_fleet(ONE_SLOT, ONE_SLOT) as fleet:
        first = await filled(fleet, "a", "b")
        waits = [ask(fleet, str(number)) for number in range(2)]
        await until_waiting(fleet, 2)
        for name in ("a", "b"):
            await fleet.client.post(DRAIN, headers={HOST: name})
            await fleet.client.post(UNDRAIN, headers={HOST: name})
        await until_waiting(fleet, 2)
        let_go(fleet, "a")
        assert {"a"} == {answer.headers[HOST] for answer in await gather_all(*waits)}
        let_go(fleet, "b")
        await gather_all(*first.values())

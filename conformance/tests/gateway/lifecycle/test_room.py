"""
Making room for a load, and how many may wait for one (docs/lifecycle.md,
docs/facts/ollama.md#queue).
"""

import asyncio

import httpx

from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    COLD_SHORT,
    COLD_TOO,
    LOAD,
    LOADED,
    LOADED_EMBEDDER,
    UNLOAD,
    VARIED,
    Pair,
    caching,
    chat,
    gather_all,
    open_pair,
)
from gateway.queueing.waiting import BUSY


async def crowd(pair: Pair) -> list[asyncio.Task[httpx.Response]]:
    """
    Have a request run until `rest` is released, one wait for the load of another model, and a third
    one wait behind that for the model that runs.
    """
    pair.script({"match": {"path": CHAT}, "hold": "rest", "nth": 1})
    first = asyncio.create_task(pair.post("/api/chat", chat(COLD)))
    await pair.until_asked(CHAT)
    waiting = asyncio.create_task(pair.post("/api/chat", chat(COLD_TOO)))
    await pair.until_answered(LOAD, 2)
    return [first, waiting, asyncio.create_task(pair.post("/api/chat", chat(COLD)))]


async def test_the_one_used_longest_ago_makes_room() -> None:
    """Two own instances fill the memory; a third replaces the one that was idle longest."""
    async with open_pair(max_instances=4) as pair:
        await pair.post("/api/chat", chat(COLD, keep_alive=-1))
        await pair.post("/api/chat", chat(COLD_TOO))
        await pair.post("/api/chat", chat(COLD))
        answer = await pair.post("/api/chat", chat(VARIED))
        assert 200 == answer.status_code, answer.text
        assert [{"instance_id": COLD_TOO}] == pair.bodies(UNLOAD)
        assert [COLD] == pair.instances(COLD)


async def test_several_make_room_when_one_is_not_enough() -> None:
    """One after the other until the load is taken."""
    async with open_pair(max_instances=4) as pair:
        await pair.post("/api/chat", chat(COLD))
        await pair.post("/api/chat", chat(COLD_TOO))
        await pair.change("fail_load", message="not enough memory", requests=2)
        answer = await pair.post("/api/chat", chat(VARIED))
        assert 200 == answer.status_code, answer.text
        assert [COLD, COLD_TOO] == [body["instance_id"] for body in pair.bodies(UNLOAD)]


async def test_a_load_waits_until_a_busy_model_is_idle() -> None:
    """The stream goes on to its end, then its model makes room."""
    async with open_pair(max_instances=3) as pair:
        pair.script({"match": {"path": CHAT}, "hold": "rest", "after": 3, "nth": 1})
        async with pair.client.stream("POST", "/api/chat", json=chat(COLD, stream=True)) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            waiting = asyncio.create_task(pair.post("/api/chat", chat(COLD_TOO)))
            await pair.until_answered(LOAD, 2)
            await pair.let_pass()
            assert not waiting.done()
            assert [] == pair.asked(UNLOAD)
            pair.release("rest")
            rest = [line async for line in lines]
        assert '"done":true' in rest[-1]
        assert 200 == (await waiting).status_code
        assert [{"instance_id": COLD}] == pair.bodies(UNLOAD)


async def test_later_requests_wait_behind_a_load_that_waits() -> None:
    """Also those for the model that makes room; the others are served."""
    async with open_pair(max_instances=3) as pair:
        first, waiting, later = await crowd(pair)
        await pair.let_pass()
        assert 200 == (await pair.post("/api/chat", chat(LOADED))).status_code
        pair.release("rest")
        answers = await gather_all(first, waiting, later)
        assert [200] * 3 == [answer.status_code for answer in answers]
        assert [COLD, LOADED, COLD_TOO, COLD] == [body["model"] for body in pair.bodies(CHAT)]


async def test_a_load_that_nobody_wants_any_more_gives_its_place_up() -> None:
    """The busy model is used at once by those who waited, and is not unloaded."""
    async with open_pair(max_instances=3) as pair:
        first, waiting, later = await crowd(pair)
        await pair.let_pass()
        waiting.cancel()
        assert 200 == (await later).status_code
        pair.release("rest")
        assert 200 == (await first).status_code
        assert [] == pair.asked(UNLOAD)


async def test_who_waits_behind_a_load_is_in_the_queue() -> None:
    """Too many are refused in Ollama's words, and one that leaves makes place for another."""
    async with open_pair({"models": {"max_queue": 1}}, max_instances=3) as pair:
        first, waiting, later = await crowd(pair)
        await pair.let_pass()
        refused = await pair.post("/api/chat", chat(COLD))
        assert (503, {"error": BUSY}) == (refused.status_code, refused.json())
        later.cancel()
        await pair.let_pass()
        another = asyncio.create_task(pair.post("/api/chat", chat(COLD)))
        await pair.let_pass()
        assert not another.done()
        pair.release("rest")
        answers = await gather_all(first, waiting, another)
        assert [200] * 3 == [answer.status_code for answer in answers]


async def test_a_load_waits_no_longer_than_a_load_may_take() -> None:
    """Then LM Studio's words are told; the model that was busy all the time stays."""
    async with open_pair({"models": {"load_timeout_s": 0.3}}, max_instances=3) as pair:
        pair.script({"match": {"path": CHAT}, "hold": "slow"})
        slow = asyncio.create_task(pair.post("/api/chat", chat(COLD)))
        await pair.until_asked(CHAT)
        refused = await pair.post("/api/chat", chat(COLD_TOO))
        assert 500 == refused.status_code
        assert "insufficient system resources" in refused.json()["error"]
        assert [] == pair.asked(UNLOAD)
        pair.release("slow")
        assert 200 == (await slow).status_code


async def test_two_loads_with_one_model_that_can_go_come_one_after_the_other() -> None:
    """The second waits until the first one's model is idle."""
    async with open_pair(max_instances=3) as pair:
        await pair.post("/api/chat", chat(COLD))
        answers = await gather_all(
            pair.post("/api/chat", chat(COLD_TOO)), pair.post("/api/chat", chat(VARIED))
        )
        assert [200, 200] == [answer.status_code for answer in answers]
        assert 2 == len(pair.asked(UNLOAD))
        assert 3 == len(pair.standin.app.host.table.instances)


async def test_a_number_of_models_may_be_the_limit() -> None:
    """As Ollama's OLLAMA_MAX_LOADED_MODELS; what others loaded does not count."""
    async with open_pair({"models": {"max_loaded": 1}}) as pair:
        await pair.post("/api/chat", chat(COLD))
        answers = await gather_all(
            pair.post("/api/chat", chat(COLD_TOO)), pair.post("/api/chat", chat(VARIED))
        )
        assert [200, 200] == [answer.status_code for answer in answers]
        assert 2 == len(pair.asked(UNLOAD))
        assert 3 == len(pair.standin.app.host.table.instances)


async def test_a_limit_that_no_model_makes_room_for_is_told() -> None:
    """After the time that a load may take; nothing is cut for it."""
    async with open_pair({"models": {"max_loaded": 1, "load_timeout_s": 0.3}}) as pair:
        pair.script({"match": {"path": CHAT}, "hold": "slow"})
        slow = asyncio.create_task(pair.post("/api/chat", chat(COLD)))
        await pair.until_asked(CHAT)
        refused = await pair.post("/api/chat", chat(COLD_TOO))
        assert 503 == refused.status_code
        assert "models.max_loaded" in refused.json()["error"]
        pair.release("slow")
        assert 200 == (await slow).status_code


async def test_what_others_loaded_makes_no_room() -> None:
    """Neither does anything when it is switched off."""
    async with open_pair(max_instances=2) as pair:
        assert 500 == (await pair.post("/api/chat", chat(COLD))).status_code
        assert [] == pair.asked(UNLOAD)
    async with open_pair({"models": {"make_room": False}}, max_instances=3) as pair:
        await pair.post("/api/chat", chat(COLD))
        assert 500 == (await pair.post("/api/chat", chat(COLD_TOO))).status_code
        assert [] == pair.asked(UNLOAD)


async def test_other_failures_make_no_room() -> None:
    """Only a lack of memory is cured by it."""
    async with open_pair() as pair:
        await pair.post("/api/chat", chat(COLD))
        await pair.change("fail_load", message="The disk is full.")
        assert 500 == (await pair.post("/api/chat", chat(COLD_TOO))).status_code
        assert [] == pair.asked(UNLOAD)


async def test_others_are_evicted_before_a_load_where_that_is_set() -> None:
    """All idle instances of other models that somebody else loaded, and no busy one."""
    async with open_pair({"models": {"evict_others": True}}) as pair:
        pair.script({"match": {"path": CHAT, "model": LOADED}, "hold": "slow"})
        slow = asyncio.create_task(pair.post("/api/chat", chat(LOADED)))
        await pair.until_asked(CHAT)
        assert 200 == (await pair.post("/api/chat", chat(COLD))).status_code
        assert [{"instance_id": LOADED_EMBEDDER}] == pair.bodies(UNLOAD)
        pair.release("slow")
        assert 200 == (await slow).status_code
        await pair.post("/api/chat", chat(COLD_SHORT))
        assert [LOADED_EMBEDDER, LOADED] == [body["instance_id"] for body in pair.bodies(UNLOAD)]
        assert [COLD] == pair.instances(COLD)


async def test_too_many_that_wait_are_refused() -> None:
    """Ollama's words; nothing is asked of the model, and those who wait are served."""
    async with open_pair({"models": {"max_queue": 2}}) as pair:
        pair.script({"match": {"path": LOAD}, "hold": "load"})
        asking = [asyncio.create_task(pair.post("/api/chat", chat(COLD)))]
        await pair.until_asked(LOAD)
        asking += [asyncio.create_task(pair.post("/api/chat", chat(COLD))) for _ in range(2)]
        await pair.let_pass()
        refused = await pair.post("/api/chat", chat(COLD, stream=True))
        passed = await pair.post(CHAT, chat(COLD))
        assert (503, {"error": BUSY}) == (refused.status_code, refused.json())
        assert (503, BUSY) == (passed.status_code, passed.json()["error"]["message"])
        assert 200 == (await pair.post("/api/chat", chat(LOADED))).status_code
        pair.release("load")
        assert [200] * 3 == [answer.status_code for answer in await gather_all(*asking)]
        assert 200 == (await pair.post("/api/chat", chat(COLD))).status_code


async def test_nobody_may_wait_and_one_is_served() -> None:
    """Who begins the load is not in the queue."""
    async with open_pair(caching(max_queue=0)) as pair:
        assert 200 == (await pair.post("/api/chat", chat(COLD))).status_code

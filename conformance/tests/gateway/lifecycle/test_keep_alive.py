"""
How long models stay, and who may make them go (docs/facts/ollama.md#keep-alive, docs/lifecycle.md).
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LIST,
    LOAD,
    LOADED,
    UNLOAD,
    VARIED,
    Pair,
    caching,
    chat,
    frames,
    generate,
    open_pair,
)

COLD_NAME = f"{COLD}:latest"
LOADED_NAME = f"{LOADED}:latest"
SHORT = "50ms"


def lifetime(shown: dict[str, Any]) -> timedelta:
    """Return how long a model of /api/ps has left, in its own words."""
    expires = datetime.fromisoformat(shown["expires_at"])
    return expires - datetime.now(expires.tzinfo)


async def test_what_the_gateway_loaded_goes_when_idle(fresh: Pair) -> None:
    """It is unloaded by the instance that the load named, once."""
    await fresh.post("/api/chat", chat(COLD, keep_alive=SHORT))
    await fresh.until_answered(UNLOAD)
    assert [{"instance_id": COLD}] == fresh.bodies(UNLOAD)
    assert [] == fresh.instances(COLD)
    assert [LOADED] == fresh.instances(LOADED)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"model": COLD, "keep_alive": SHORT}),
        ("/api/generate", {"model": COLD, "keep_alive": 0.05}),
        ("/api/generate", generate(COLD, keep_alive=SHORT, stream=True)),
        ("/api/chat", chat(COLD, keep_alive=SHORT, stream=True)),
    ],
    ids=["preload", "preload by number", "generate", "chat"],
)
async def test_every_route_starts_the_time(fresh: Pair, path: str, body: dict[str, Any]) -> None:
    """Whatever used the model last."""
    assert 200 == (await fresh.post(path, body)).status_code
    await fresh.until_answered(UNLOAD)
    assert [] == fresh.instances(COLD)


async def test_the_setting_is_the_time_of_a_model_that_nobody_speaks_of() -> None:
    """Also for models that were used through /v1, where nobody can say anything."""
    async with open_pair({"models": {"keep_alive": SHORT}}) as pair:
        assert 200 == (await pair.post(CHAT, chat(COLD))).status_code
        await pair.until_answered(UNLOAD)
        assert [] == pair.instances(COLD)


async def test_what_was_loaded_by_hand_stays(fresh: Pair) -> None:
    """A short time counts only for what the gateway loaded itself."""
    await fresh.post("/api/chat", chat(LOADED, keep_alive=SHORT))
    await fresh.post("/api/chat", chat(COLD, keep_alive=SHORT))
    await fresh.until_answered(UNLOAD)
    assert [{"instance_id": COLD}] == fresh.bodies(UNLOAD)
    assert [LOADED] == fresh.instances(LOADED)


async def test_a_second_instance_that_was_loaded_by_hand_stays(fresh: Pair) -> None:
    """Ownership is an instance's, not a model's."""
    await fresh.post("/api/chat", chat(COLD))
    await fresh.change("load", COLD)
    assert [COLD, f"{COLD}:2"] == fresh.instances(COLD)
    await fresh.post("/api/chat", chat(COLD, keep_alive=SHORT))
    await fresh.until_answered(UNLOAD)
    assert [f"{COLD}:2"] == fresh.instances(COLD)


async def test_the_time_does_not_run_while_a_request_does(fresh: Pair) -> None:
    """It starts when the last request ends; the first one's end unloads nothing."""
    fresh.script({"match": {"path": CHAT, "body_contains": "slow"}, "hold": "slow"})
    slow = asyncio.create_task(fresh.post("/api/chat", chat(COLD, "slow", keep_alive=SHORT)))
    await fresh.until_asked(CHAT)
    await fresh.post("/api/chat", chat(COLD, "quick", keep_alive="1ms"))
    await fresh.let_pass()
    assert [] == fresh.asked(UNLOAD)
    fresh.release("slow")
    assert 200 == (await slow).status_code
    await fresh.until_answered(UNLOAD)


async def test_a_new_request_starts_the_time_anew(fresh: Pair) -> None:
    """What is said last counts: a model about to go stays when somebody wants it longer."""
    await fresh.post("/api/chat", chat(COLD, keep_alive="10m"))
    assert timedelta(minutes=5) < lifetime((await fresh.running())[COLD_NAME])
    await fresh.post("/api/chat", chat(COLD, keep_alive="1h"))
    assert timedelta(minutes=50) < lifetime((await fresh.running())[COLD_NAME])
    await fresh.post("/api/chat", chat(COLD))
    assert timedelta(minutes=50) < lifetime((await fresh.running())[COLD_NAME])
    await fresh.post("/api/chat", chat(COLD, keep_alive=SHORT))
    await fresh.until_answered(UNLOAD)


async def test_a_model_that_is_loaded_anew_has_the_usual_time(fresh: Pair) -> None:
    """
    A keep-alive that somebody asked for ends with the load it was for
    (docs/facts/ollama.md#keep-alive).
    """
    await fresh.post("/api/chat", chat(COLD, keep_alive=SHORT))
    await fresh.until_answered(UNLOAD)
    await fresh.post("/api/chat", chat(COLD))
    assert timedelta(minutes=4) < lifetime((await fresh.running())[COLD_NAME])


@pytest.mark.parametrize("forever", [-1, "-1s", "-5m"])
async def test_a_pinned_model_that_is_unloaded_is_not_pinned_any_more(
    fresh: Pair, forever: int | str
) -> None:
    """Neither after an unload nor after anything else is it for ever."""
    await fresh.post("/api/chat", chat(COLD, keep_alive=forever))
    assert timedelta(days=100_000) < lifetime((await fresh.running())[COLD_NAME])
    await fresh.post("/api/chat", {"model": COLD, "keep_alive": 0})
    assert [] == fresh.instances(COLD)
    await fresh.post("/api/chat", chat(COLD))
    assert lifetime((await fresh.running())[COLD_NAME]) < timedelta(minutes=6)


# -- zero ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/chat", chat(COLD)), ("/api/generate", generate(COLD))],
    ids=["chat", "generate"],
)
@pytest.mark.parametrize("zero", [0, "0s"])
async def test_zero_unloads_after_the_answer(
    fresh: Pair, path: str, body: dict[str, Any], streamed: bool, zero: int | str
) -> None:
    """The answer is whole, then the model goes."""
    answer = await fresh.post(path, {**body, "stream": streamed, "keep_alive": zero})
    assert frames(answer.text)[-1]["done"] is True
    await fresh.until_answered(UNLOAD)
    assert [{"instance_id": COLD}] == fresh.bodies(UNLOAD)
    (inference,) = fresh.asked(CHAT)
    (unload,) = fresh.asked(UNLOAD)
    assert inference.ended_ms is not None
    assert inference.ended_ms <= unload.received_ms


async def test_zero_unloads_only_after_the_stream_has_ended(fresh: Pair) -> None:
    """A stream in the middle keeps its model."""
    fresh.script({"match": {"path": CHAT}, "hold": "rest", "after": 3})
    async with fresh.client.stream(
        "POST", "/api/chat", json=chat(COLD, stream=True, keep_alive=0)
    ) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await fresh.let_pass()
        assert [] == fresh.asked(UNLOAD)
        fresh.release("rest")
        rest = [line async for line in lines]
    assert '"done":true' in rest[-1]
    await fresh.until_answered(UNLOAD)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
async def test_zero_waits_for_the_requests_of_others(fresh: Pair, streamed: bool) -> None:
    """The model goes when the last of them has its answer."""
    fresh.script({"match": {"path": CHAT, "body_contains": "slow"}, "hold": "slow"})
    slow = asyncio.create_task(fresh.post("/api/chat", chat(COLD, "slow", stream=streamed)))
    await fresh.until_asked(CHAT)
    await fresh.post("/api/chat", chat(COLD, "quick", keep_alive=0))
    await fresh.let_pass()
    assert [] == fresh.asked(UNLOAD)
    fresh.release("slow")
    answer = await slow
    assert frames(answer.text)[-1]["done"] is True
    await fresh.until_answered(UNLOAD)
    assert [] == fresh.instances(COLD)


async def test_zero_unloads_what_was_loaded_by_hand(fresh: Pair) -> None:
    """A client that says zero asks for it in so many words."""
    await fresh.post("/api/chat", chat(LOADED, keep_alive=0))
    await fresh.until_answered(UNLOAD)
    assert [] == fresh.instances(LOADED)


async def test_a_later_wish_undoes_zero(fresh: Pair) -> None:
    """Somebody wants the model to stay before it went: the last word counts."""
    fresh.script({"match": {"path": CHAT, "body_contains": "slow"}, "hold": "slow"})
    slow = asyncio.create_task(fresh.post("/api/chat", chat(COLD, "slow", keep_alive=0)))
    await fresh.until_asked(CHAT)
    await fresh.post("/api/chat", chat(COLD, "quick", keep_alive="10m"))
    fresh.release("slow")
    await slow
    await fresh.let_pass()
    assert [] == fresh.asked(UNLOAD)
    assert timedelta(minutes=5) < lifetime((await fresh.running())[COLD_NAME])


async def test_a_request_that_comes_before_the_unload_keeps_its_model() -> None:
    """A running request is never cut by an unload: one that was due waits for it."""
    async with open_pair(caching()) as pair:
        await pair.post("/api/chat", chat(COLD))
        await pair.get("/api/tags")
        pair.script(
            {"match": {"path": LIST}, "hold": "list", "nth": 1},
            {"match": {"path": CHAT, "body_contains": "late"}, "hold": "late", "after": 2},
        )
        pair.forget()
        await pair.post("/api/chat", chat(COLD, keep_alive=0))
        await pair.until_asked(LIST)
        late = asyncio.create_task(pair.post("/api/chat", chat(COLD, "late")))
        await pair.let_pass("/api/version")
        pair.release("list")
        await pair.until_asked(CHAT, 2)
        await pair.let_pass()
        assert [] == pair.asked(UNLOAD)
        pair.release("late")
        answer = await late
        assert 200 == answer.status_code, answer.text
        assert "error" not in answer.text
        await pair.until_answered(UNLOAD)


async def test_a_request_that_comes_while_unloading_gets_an_answer() -> None:
    """It finds the model gone and has it loaded again, by the gateway and not by LM Studio."""
    async with open_pair(caching()) as pair:
        await pair.post("/api/chat", chat(COLD))
        pair.script({"match": {"path": UNLOAD}, "hold": "unload"})
        await pair.post("/api/chat", chat(COLD, keep_alive=0))
        await pair.until_asked(UNLOAD)
        late = asyncio.create_task(pair.post("/api/chat", chat(COLD, "late")))
        await pair.let_pass()
        pair.release("unload")
        assert 200 == (await late).status_code
        assert 2 == len(pair.asked(LOAD))


# -- the unload command --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"model": LOADED, "keep_alive": 0}),
        ("/api/chat", {"model": LOADED, "messages": [], "keep_alive": "0s"}),
        ("/api/generate", {"model": LOADED, "keep_alive": 0}),
        ("/api/generate", {"model": LOADED_NAME, "prompt": "", "keep_alive": 0, "stream": True}),
    ],
)
async def test_zero_for_nothing_unloads(fresh: Pair, path: str, body: dict[str, Any]) -> None:
    """
    It says `unload`, and nothing is asked of the model (docs/facts/clients.md#empty-requests).
    """
    answer = await fresh.post(path, body)
    (frame,) = frames(answer.text)
    assert ("unload", True) == (frame["done_reason"], frame["done"])
    assert [{"instance_id": LOADED}] == fresh.bodies(UNLOAD)
    assert [] == fresh.instances(LOADED)
    assert [] == fresh.asked(CHAT)


async def test_unloading_takes_every_instance(fresh: Pair) -> None:
    """A model's name stands for all of its instances."""
    await fresh.change("load", LOADED)
    await fresh.change("load", LOADED, instance_id="by-another-name")
    await fresh.post("/api/generate", {"model": LOADED, "keep_alive": 0})
    assert [] == fresh.instances(LOADED)
    assert 3 == len(fresh.asked(UNLOAD))


async def test_unloading_what_is_not_loaded_does_nothing(fresh: Pair) -> None:
    """Clients do so to be sure; it says `unload` all the same."""
    answer = await fresh.post("/api/generate", {"model": COLD, "keep_alive": 0})
    assert (200, "unload") == (answer.status_code, answer.json()["done_reason"])
    assert [] == fresh.asked(UNLOAD)
    assert [] == fresh.asked(LOAD)


async def test_unloading_a_busy_model_waits(fresh: Pair) -> None:
    """The answer comes at once; the model goes when its request has ended."""
    fresh.script({"match": {"path": CHAT}, "hold": "slow"})
    slow = asyncio.create_task(fresh.post("/api/chat", chat(LOADED, stream=True)))
    await fresh.until_asked(CHAT)
    answer = await fresh.post("/api/generate", {"model": LOADED, "keep_alive": 0})
    assert (200, "unload") == (answer.status_code, answer.json()["done_reason"])
    await fresh.let_pass()
    assert [] == fresh.asked(UNLOAD)
    fresh.release("slow")
    assert frames((await slow).text)[-1]["done"] is True
    await fresh.until_answered(UNLOAD)
    assert [] == fresh.instances(LOADED)


async def test_a_variant_is_unloaded_by_its_model(fresh: Pair) -> None:
    """The instance that was loaded is the one that goes."""
    await fresh.post("/api/chat", chat(f"{VARIED}:q8_0", keep_alive=SHORT))
    await fresh.until_answered(UNLOAD)
    assert [{"instance_id": f"{VARIED}@q8_0"}] == fresh.bodies(UNLOAD)


async def test_an_unload_that_fails_is_told(fresh: Pair) -> None:
    """LM Studio's words and status reach the client who asked for it."""
    answer = {"status": 500, "chunks": [[0, '{"error":{"message":"It clings to life."}}']]}
    fresh.script({"match": {"path": UNLOAD}, "answer": answer})
    got = await fresh.post("/api/generate", {"model": LOADED, "keep_alive": 0})
    assert got.status_code >= 500
    assert "It clings to life." == got.json()["error"]


async def test_an_unload_that_nobody_waits_for_may_fail(fresh: Pair) -> None:
    """Its failure is for the log; the next request is served as any."""
    answer = {"status": 500, "chunks": [[0, '{"error":{"message":"It clings to life."}}']]}
    fresh.script({"match": {"path": UNLOAD}, "answer": answer})
    await fresh.post("/api/chat", chat(COLD, keep_alive=0))
    await fresh.until_answered(UNLOAD)
    assert 200 == (await fresh.post("/api/chat", chat(COLD))).status_code


# -- ps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep_alive", "least", "most"),
    [
        ("10m", timedelta(minutes=9), timedelta(minutes=10)),
        (7200, timedelta(minutes=119), timedelta(hours=2)),
        ("1.5h", timedelta(minutes=89), timedelta(minutes=90)),
        (None, timedelta(minutes=4), timedelta(minutes=5)),
        (-1, timedelta(days=106_000), timedelta(days=107_000)),
        ("-1m", timedelta(days=106_000), timedelta(days=107_000)),
    ],
)
async def test_ps_tells_when_a_model_goes(
    fresh: Pair, keep_alive: Any, least: timedelta, most: timedelta
) -> None:
    """For ever is as long as Go can say, some 292 years (docs/facts/ollama.md#forever)."""
    await fresh.post("/api/chat", chat(COLD, keep_alive=keep_alive))
    assert least < lifetime((await fresh.running())[COLD_NAME]) <= most


async def test_ps_shows_what_is_loaded_by_hand_as_staying(fresh: Pair) -> None:
    """LM Studio gives it no time to live, so nothing here ends it."""
    await fresh.post("/api/chat", chat(LOADED, keep_alive="1m"))
    assert timedelta(days=100_000) < lifetime((await fresh.running())[LOADED_NAME])


async def test_ps_shows_the_time_to_live_of_lm_studio(fresh: Pair) -> None:
    """What a request of somebody else loaded goes when LM Studio says so."""
    await fresh.change("load", COLD, ttl_s=1800)
    shown = lifetime((await fresh.running())[COLD_NAME])
    assert timedelta(minutes=29) < shown <= timedelta(minutes=30)


async def test_ps_counts_a_running_request_as_a_new_start(fresh: Pair) -> None:
    """While a model is busy its time has not begun, so the whole of it is ahead."""
    fresh.script({"match": {"path": CHAT}, "hold": "slow"})
    slow = asyncio.create_task(fresh.post("/api/chat", chat(COLD, keep_alive="10m")))
    await fresh.until_asked(CHAT)
    assert timedelta(minutes=9) < lifetime((await fresh.running())[COLD_NAME])
    fresh.release("slow")
    await slow


async def test_ps_lists_what_lives_longest_first(fresh: Pair) -> None:
    """As Ollama does."""
    await fresh.post("/api/chat", chat(COLD, keep_alive="1m"))
    await fresh.post("/api/chat", chat(VARIED, keep_alive="1h"))
    names = [one["name"] for one in (await fresh.get("/api/ps"))["models"]]
    assert [f"{VARIED}:latest", COLD_NAME] == names[-2:]


async def test_ps_shows_what_just_went_as_gone() -> None:
    """It asks the host each time, whatever the catalogue remembers."""
    async with open_pair(caching()) as pair:
        assert LOADED_NAME in await pair.running()
        await pair.change("unload", LOADED)
        assert LOADED_NAME not in await pair.running()


async def test_ps_shows_a_variant_by_its_own_name(fresh: Pair) -> None:
    """A model that runs in another quantisation than the selected one is told apart."""
    await fresh.post("/api/chat", chat(f"{VARIED}:q8_0"))
    assert f"{VARIED}:q8_0" in await fresh.running()


async def test_ps_shows_what_is_stopping_as_past(fresh: Pair) -> None:
    """
    While a request still runs; the command line calls that stopping (docs/facts/ollama.md#ps).
    """
    await fresh.post("/api/chat", chat(COLD))
    fresh.script({"match": {"path": CHAT}, "hold": "slow"})
    slow = asyncio.create_task(fresh.post("/api/chat", chat(COLD, stream=True)))
    await fresh.until_asked(CHAT, 2)
    await fresh.post("/api/generate", {"model": COLD, "keep_alive": 0})
    assert lifetime((await fresh.running())[COLD_NAME]) < timedelta(0)
    fresh.release("slow")
    await slow
    await fresh.until_answered(UNLOAD)


# -- variants ------------------------------------------------------------------------------------


async def test_two_variants_have_a_time_each(fresh: Pair) -> None:
    """One goes, the other stays: each tag is a model of its own."""
    await fresh.post("/api/chat", chat(f"{VARIED}:q8_0", keep_alive="1h"))
    await fresh.post("/api/chat", chat(f"{VARIED}:q4_k_m", keep_alive="10ms"))
    assert 2 == len(fresh.asked(LOAD))
    await fresh.until_answered(UNLOAD)
    assert [f"{VARIED}@q8_0"] == fresh.instances(VARIED)
    shown = (await fresh.running())[f"{VARIED}:q8_0"]
    assert timedelta(minutes=58) < lifetime(shown) <= timedelta(hours=1)


async def test_a_variant_goes_although_another_one_is_in_use(fresh: Pair) -> None:
    """The time of a variant is its own: requests on another one do not start it anew."""
    fresh.script({"match": {"path": UNLOAD}, "hold": "unload"})
    await fresh.post("/api/chat", chat(f"{VARIED}:q4_k_m", keep_alive="1h"))
    await fresh.post("/api/chat", chat(f"{VARIED}:q8_0", keep_alive="1h"))
    before = (await fresh.running())[f"{VARIED}:q8_0"]["expires_at"]
    for _ in range(3):
        await fresh.post("/api/chat", chat(f"{VARIED}:q4_k_m"))
        await fresh.post("/api/chat", chat(VARIED))
    assert before == (await fresh.running())[f"{VARIED}:q8_0"]["expires_at"]


async def test_a_variant_that_was_due_goes_after_a_request_for_the_bare_key(fresh: Pair) -> None:
    """It stays while the request may run on it, and its time is over when that ends."""
    await fresh.post("/api/chat", chat(VARIED))
    await fresh.post("/api/chat", chat(f"{VARIED}:q8_0", keep_alive="1h"))
    fresh.script({"match": {"path": CHAT, "body_contains": "slow"}, "hold": "slow"})
    held = asyncio.create_task(fresh.post("/api/chat", chat(f"{VARIED}:q8_0", "slow")))
    await fresh.until_asked(CHAT, 3)
    slow = asyncio.create_task(fresh.post("/api/chat", chat(VARIED, "slow")))
    await fresh.until_asked(CHAT, 4)
    await fresh.post("/api/chat", chat(f"{VARIED}:q8_0", keep_alive=0))
    await fresh.let_pass()
    assert [] == fresh.asked(UNLOAD)
    fresh.release("slow")
    assert [200, 200] == [answer.status_code for answer in (await held, await slow)]
    await fresh.until_answered(UNLOAD)
    assert [{"instance_id": f"{VARIED}@q8_0"}] == fresh.bodies(UNLOAD)


async def test_the_selected_variant_and_latest_are_one(fresh: Pair) -> None:
    """Two names for one instance: a request under one keeps it from going under the other."""
    fresh.script({"match": {"path": CHAT, "body_contains": "slow"}, "hold": "slow"})
    slow = asyncio.create_task(fresh.post("/api/chat", chat(VARIED, "slow")))
    await fresh.until_asked(CHAT)
    await fresh.post("/api/chat", chat(f"{VARIED}:q4_k_m", keep_alive=0))
    await fresh.let_pass()
    assert [] == fresh.asked(UNLOAD)
    assert 1 == len(fresh.asked(LOAD))
    fresh.release("slow")
    assert 200 == (await slow).status_code
    await fresh.until_answered(UNLOAD)


async def test_a_variant_that_may_answer_for_latest_stays_meanwhile(fresh: Pair) -> None:
    """LM Studio chooses which instance answers for the bare key, so none of them goes."""
    await fresh.post("/api/chat", chat(f"{VARIED}:q8_0", keep_alive="1h"))
    fresh.script({"match": {"path": CHAT, "body_contains": "slow"}, "hold": "slow"})
    slow = asyncio.create_task(fresh.post("/api/chat", chat(VARIED, "slow")))
    await fresh.until_asked(CHAT, 2)
    assert 1 == len(fresh.asked(LOAD))
    await fresh.post("/api/chat", {"model": f"{VARIED}:q8_0", "keep_alive": 0})
    await fresh.let_pass()
    assert [] == fresh.asked(UNLOAD)
    fresh.release("slow")
    assert 200 == (await slow).status_code
    await fresh.until_answered(UNLOAD)


async def test_what_lm_studio_unloads_takes_its_time_with_it(fresh: Pair) -> None:
    """What a client wanted was for the instance that is gone."""
    await fresh.post("/api/chat", chat(COLD, keep_alive=-1))
    await fresh.change("unload", COLD)
    await fresh.post("/api/chat", chat(COLD))
    assert lifetime((await fresh.running())[COLD_NAME]) < timedelta(minutes=6)

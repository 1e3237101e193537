"""The queue over HTTP: who waits where, what clients and operators see of it, and how waits end."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import httpx
import pytest

from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LOADED,
    Pair,
    chat,
    frames,
    gather_all,
    lines_of,
    open_pair,
    written,
)
from gateway.queueing.waiting import BUSY

QUEUED = "x-olgate-queued-ms"


def hold(pair: Pair, times: int) -> None:
    """Have LM Studio hold the next requests for an answer until `let_go`."""
    pair.script({"match": {"path": "/v1/*", "method": "POST"}, "hold": "all", "times": times})


def ask(
    pair: Pair, text: str, *, streamed: bool = False, key: str = ""
) -> asyncio.Task[httpx.Response]:
    """Begin a chat."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    body = chat(text=text, stream=streamed)
    return asyncio.ensure_future(pair.client.post("/api/chat", json=body, headers=headers))


def asked_texts(pair: Pair) -> list[str]:
    """Return the texts of the chats that LM Studio was asked, in their order."""
    return [body["messages"][-1]["content"] for body in pair.bodies(CHAT)]


async def waiting(pair: Pair, key: str = "") -> int:
    """Return how many requests wait for a slot, as the metrics show it."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    text = (await pair.client.get("/metrics", headers=headers)).text
    line = 'olgate_waiting_requests{reason="slot"} '
    return int(float(text.partition(line)[2].partition("\n")[0]))


async def until_waiting(pair: Pair, number: int, key: str = "") -> None:
    """Wait until so many requests wait."""
    async with asyncio.timeout(30):
        while await waiting(pair, key) != number:
            # Each look is a whole request.
            pass


async def filled(pair: Pair, *texts: str, slots: int = 1) -> list[asyncio.Task[httpx.Response]]:
    """Take all slots with requests that LM Studio holds, and have further chats wait."""
    hold(pair, slots)
    tasks = [ask(pair, f"first {number}") for number in range(slots)]
    await pair.until_asked(CHAT, slots)
    for number, text in enumerate(texts):
        tasks.append(ask(pair, text))
        await until_waiting(pair, number + 1)
    return tasks


@pytest.mark.parametrize("slots", [1, 2, 4])
async def test_no_more_than_its_slots_reach_lm_studio(slots: int) -> None:
    """The others wait in the gateway, and each of them is answered and told how long it waited."""
    async with open_pair(parallel=slots) as pair:
        texts = [str(number) for number in range(5)]
        tasks = await filled(pair, *texts, slots=slots)
        assert slots == len(pair.asked(CHAT))
        pair.release("all")
        answers = await gather_all(*tasks)
        assert {200} == {answer.status_code for answer in answers}
        has_waited = [QUEUED in answer.headers for answer in answers]
        assert [False] * slots + [True] * 5 == has_waited
        assert all(int(one.headers[QUEUED]) >= 1 for one in answers[slots:])
        assert texts == asked_texts(pair)[slots:]
        assert 0 == await waiting(pair)
        text = (await pair.client.get("/metrics")).text
        assert "olgate_queue_time_seconds_count{" in text


async def test_an_idle_model_has_nobody_wait() -> None:
    """No header, and no time in the queue."""
    async with open_pair(parallel=1) as pair:
        for _ in range(3):
            answer = await pair.post("/api/chat", chat())
            assert QUEUED not in answer.headers
        assert "olgate_queue_time_seconds_count{" not in (await pair.client.get("/metrics")).text


async def test_a_streamed_chat_comes_before_others() -> None:
    """Embeddings and whole answers that came earlier wait behind it."""
    async with open_pair(parallel=1) as pair:
        tasks = await filled(pair, "batch 1", "batch 2")
        tasks.append(ask(pair, "chat", streamed=True))
        await until_waiting(pair, 3)
        pair.release("all")
        answers = await gather_all(*tasks)
        assert ["first 0", "chat", "batch 1", "batch 2"] == asked_texts(pair)
        assert frames(answers[-1].text)[-1]["done"]
        assert QUEUED in answers[-1].headers


async def test_by_arrival_it_does_not() -> None:
    """The setting has the older ones come first."""
    async with open_pair({"queue": {"order": "arrival"}}, parallel=1) as pair:
        tasks = await filled(pair, "batch 1")
        tasks.append(ask(pair, "chat", streamed=True))
        await until_waiting(pair, 2)
        pair.release("all")
        await gather_all(*tasks)
        assert ["first 0", "batch 1", "chat"] == asked_texts(pair)


async def test_at_the_host_nobody_waits_here() -> None:
    """With that setting LM Studio gets all of them at once."""
    async with open_pair({"queue": {"at": "host"}}, parallel=1) as pair:
        hold(pair, 5)
        tasks = [ask(pair, str(number)) for number in range(5)]
        await pair.until_asked(CHAT, 5)
        pair.release("all")
        assert all(QUEUED not in answer.headers for answer in await gather_all(*tasks))


async def test_who_leaves_leaves_the_queue() -> None:
    """The next one gets the slot, and LM Studio never hears of who left."""
    async with open_pair(parallel=1) as pair:
        first, leaver, stays = await filled(pair, "leaves", "stays")
        leaver.cancel()
        await until_waiting(pair, 1)
        pair.release("all")
        await gather_all(first, stays)
        assert ["first 0", "stays"] == asked_texts(pair)
        assert 200 == (await pair.post("/api/chat", chat())).status_code


async def test_one_that_leaves_while_it_is_served_frees_its_slot() -> None:
    """As soon as its client is gone."""
    async with open_pair(parallel=1) as pair:
        first, second = await filled(pair, "second")
        first.cancel()
        assert 200 == (await second).status_code


async def test_a_flood_beyond_the_bound_is_refused() -> None:
    """In Ollama's words, with the time to try again; those that wait are served."""
    async with open_pair({"queue": {"most": 2}}, parallel=1) as pair:
        tasks = await filled(pair, "1", "2")
        for refused in await gather_all(*(pair.post("/api/chat", chat()) for _ in range(20))):
            assert (503, {"error": BUSY}) == (refused.status_code, refused.json())
            assert int(refused.headers["retry-after"]) >= 1
        pair.release("all")
        assert {200} == {answer.status_code for answer in await gather_all(*tasks)}


async def test_a_chat_finds_a_place_in_a_queue_full_of_others() -> None:
    """The newest of them is refused in its place."""
    async with open_pair({"queue": {"most": 2}}, parallel=1) as pair:
        first, older, newer = await filled(pair, "older", "newer")
        late = ask(pair, "chat", streamed=True)
        assert 503 == (await newer).status_code
        pair.release("all")
        assert [200, 200, 200] == [one.status_code for one in await gather_all(first, late, older)]
        assert ["first 0", "chat", "older"] == asked_texts(pair)


async def test_too_long_a_wait_is_told() -> None:
    """The setting is named."""
    async with open_pair({"queue": {"longest_s": 0.01}}, parallel=1) as pair:
        hold(pair, 1)
        first = ask(pair, "first")
        await pair.until_asked(CHAT)
        refused = await pair.post("/api/chat", chat())
        assert 503 == refused.status_code
        assert "queue.longest_s" in refused.json()["error"]
        assert int(refused.headers[QUEUED]) >= 10
        pair.release("all")
        assert 200 == (await first).status_code


async def test_a_host_that_dies_leaves_nobody_waiting() -> None:
    """Those that wait are told that it can't be reached, all of them."""
    async with open_pair(parallel=2) as pair:
        tasks = await filled(pair, *[str(number) for number in range(8)], slots=2)
        await pair.standin.stop()
        answers = await gather_all(*tasks)
        assert {502, 503} >= {answer.status_code for answer in answers}
        assert 0 == await waiting(pair)


async def test_two_keys_share_by_their_weights() -> None:
    """With weights 1 and 3 the second gets three of four slots, though it comes last."""
    digests = {name: sha256(name.encode()).hexdigest() for name in ("one", "three")}
    keys = {"one": {"digest": digests["one"]}, "three": {"digest": digests["three"], "weight": 3}}
    async with open_pair({"keys": keys}, parallel=1) as pair:
        hold(pair, 1)
        tasks = [ask(pair, "first", key="one")]
        await pair.until_asked(CHAT)
        for name in ("one", "three"):
            for _ in range(8):
                tasks.append(ask(pair, name, key=name))
                await until_waiting(pair, len(tasks) - 1, key="one")
        pair.release("all")
        assert {200} == {answer.status_code for answer in await gather_all(*tasks)}
        assert (2, 6) == tuple(asked_texts(pair)[1:9].count(name) for name in ("one", "three"))


async def test_a_key_of_a_higher_priority_comes_first() -> None:
    """And the others get one slot of `queue.batch_every`."""
    keys = {
        name: {"digest": sha256(name.encode()).hexdigest(), "priority": priority}
        for name, priority in (("low", -1), ("high", 1))
    }
    settings = {"keys": keys, "queue": {"batch_every": 3}}
    async with open_pair(settings, parallel=1) as pair:
        hold(pair, 1)
        tasks = [ask(pair, "first", key="low")]
        await pair.until_asked(CHAT)
        for name in ("low", "high"):
            for _ in range(4):
                tasks.append(ask(pair, name, key=name, streamed=name == "low"))
                await until_waiting(pair, len(tasks) - 1, key="low")
        pair.release("all")
        await gather_all(*tasks)
        assert ["high", "high", "low", "high", "high", "low"] == asked_texts(pair)[1:7]


async def test_a_load_needs_no_slot() -> None:
    """A request that only loads, or unloads, does not wait for who is served."""
    async with open_pair(parallel=1) as pair:
        (first,) = await filled(pair)
        loaded = await pair.post("/api/generate", {"model": LOADED})
        assert "load" == loaded.json()["done_reason"]
        assert QUEUED not in loaded.headers
        pair.release("all")
        await first


async def test_who_waits_keeps_the_model_loaded() -> None:
    """A model with a keep-alive of nothing is unloaded after the last one that waited."""
    async with open_pair(parallel=1) as pair:
        hold(pair, 1)
        body = chat(COLD, keep_alive=0)
        first = asyncio.ensure_future(pair.post("/api/chat", body))
        await pair.until_asked(CHAT)
        second = asyncio.ensure_future(pair.post("/api/chat", body))
        await until_waiting(pair, 1)
        pair.release("all")
        assert [200, 200] == [one.status_code for one in await gather_all(first, second)]
        await pair.until_answered("/api/v1/models/unload")
        assert 1 == len(pair.asked("/api/v1/models/load"))


async def test_the_line_says_how_long_it_waited() -> None:
    """And says nothing of the queue for one that did not wait."""
    with written(format="json") as stream:
        async with open_pair(parallel=1) as pair:
            tasks = await filled(pair, "second")
            pair.release("all")
            await gather_all(*tasks)
            first, second = sorted(
                lines_of(stream, path="/api/chat"), key=lambda line: "queued_s" in line
            )
            assert "queued_s" not in first
            assert 0 < second["queued_s"] <= second["took_s"]

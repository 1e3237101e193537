"""The context that a request gets, and when a model is loaded again for it (docs/lifecycle.md)."""

import asyncio
from typing import Any

import pytest

from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LOAD,
    LOADED,
    UNLOAD,
    Pair,
    caching,
    chat,
    frames,
    generate,
    lines_of,
    open_pair,
    written,
)

WARNING = "x-olgate-warning"


def wanting(num_ctx: int, text: str = "Why?", **more: Any) -> dict[str, Any]:
    """Return a chat request that wants a context."""
    return chat(COLD, text, options={"num_ctx": num_ctx}, **more)


def contexts(pair: Pair) -> list[int | None]:
    """Return the contexts that loads asked for."""
    return [body.get("context_length") for body in pair.bodies(LOAD)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", chat(COLD)),
        ("/api/chat", chat(COLD, stream=True)),
        ("/api/generate", generate(COLD)),
        ("/api/chat", {"model": COLD}),
    ],
    ids=["chat", "streamed chat", "generate", "preload"],
)
async def test_an_idle_model_grows_on_demand(fresh: Pair, path: str, body: dict[str, Any]) -> None:
    """It is unloaded and loaded with more; a later wish for less leaves it as it is."""
    await fresh.post("/api/chat", wanting(4096))
    answer = await fresh.post(path, {**body, "options": {"num_ctx": 16384}})
    assert (200, None) == (answer.status_code, answer.headers.get(WARNING))
    await fresh.post("/api/chat", wanting(8192))
    assert [4096, 16384] == contexts(fresh)
    assert 1 == len(fresh.asked(UNLOAD))
    assert [COLD] == fresh.instances(COLD)


async def test_a_reload_keeps_the_other_settings(fresh: Pair) -> None:
    """How the user has a model loaded is read from its instance and said again."""
    await fresh.post("/api/chat", wanting(4096))
    (instance,) = fresh.standin.app.host.table.instances_of(
        fresh.standin.app.host.table.find_model(COLD)[0]  # type: ignore[index]  # it has it
    )
    instance.config |= {"flash_attention": False, "eval_batch_size": 256, "num_experts": 3}
    await fresh.post("/api/chat", wanting(8192))
    kept = {"flash_attention": False, "eval_batch_size": 256, "num_experts": 3}
    assert kept.items() <= fresh.bodies(LOAD)[-1].items()


async def test_the_setting_makes_a_model_grow() -> None:
    """Also for requests through /v1, which can't ask for a context."""
    async with open_pair({"models": {"context_length": 8192}}) as pair:
        await pair.post("/api/chat", wanting(4096))
        await pair.post(CHAT, chat(COLD))
        assert [4096, 8192] == contexts(pair)


async def test_growing_waits_for_a_stream(fresh: Pair) -> None:
    """A running generation is whole; who came after the one that waits comes after it."""
    await fresh.post("/api/chat", wanting(4096))
    fresh.script({"match": {"path": CHAT, "body_contains": "slow"}, "hold": "rest", "after": 3})
    async with fresh.client.stream(
        "POST", "/api/chat", json=wanting(4096, "slow", stream=True)
    ) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        grower = asyncio.create_task(fresh.post("/api/chat", wanting(16384)))
        await fresh.let_pass()
        late = asyncio.create_task(fresh.post("/api/chat", wanting(2048, "late")))
        await fresh.let_pass()
        assert not grower.done()
        assert not late.done()
        assert [] == fresh.asked(UNLOAD)
        fresh.release("rest")
        rest = [line async for line in lines]
    assert '"done":true' in rest[-1]
    assert [200, 200] == [(await one).status_code for one in (grower, late)]
    assert [4096, 16384] == contexts(fresh)


async def test_two_clients_that_differ_load_twice_and_no_more(fresh: Pair) -> None:
    """Twenty requests in turn, two sizes: the model grows once."""
    for _ in range(5):
        assert 200 == (await fresh.post("/api/chat", wanting(4096))).status_code
        assert 200 == (await fresh.post("/api/chat", wanting(8192))).status_code
    asking = [fresh.post("/api/chat", wanting(4096 + 4096 * (n % 2))) for n in range(10)]
    assert {200} == {one.status_code for one in await asyncio.gather(*asking)}
    assert [4096, 8192] == contexts(fresh)


async def test_first_requests_that_differ_load_once(fresh: Pair) -> None:
    """The largest of what all who wait want is loaded at once."""
    fresh.script({"match": {"path": "/api/v1/models"}, "hold": "list", "nth": 5})
    asking = [asyncio.create_task(fresh.post("/api/chat", wanting(n))) for n in (4096, 8192)]
    assert [200, 200] == [(await one).status_code for one in asking]
    assert 8192 == contexts(fresh)[-1]
    assert len(contexts(fresh)) <= 2


async def test_a_client_that_leaves_does_not_make_it_grow(fresh: Pair) -> None:
    """What waited for idle is forgotten with it, and who came later goes on."""
    await fresh.post("/api/chat", wanting(4096))
    fresh.script({"match": {"path": CHAT, "body_contains": "slow"}, "hold": "slow"})
    slow = asyncio.create_task(fresh.post("/api/chat", wanting(4096, "slow")))
    await fresh.until_asked(CHAT, 2)
    grower = asyncio.create_task(fresh.post("/api/chat", wanting(16384)))
    await fresh.let_pass()
    late = asyncio.create_task(fresh.post("/api/chat", wanting(2048, "late")))
    await fresh.let_pass()
    grower.cancel()
    assert 200 == (await late).status_code
    fresh.release("slow")
    assert 200 == (await slow).status_code
    assert [4096] == contexts(fresh)


async def test_a_model_that_is_never_idle_serves_as_it_is() -> None:
    """After the time for a load the request is served with what there is, and told so."""
    async with open_pair({"models": {"load_timeout_s": 0.4}}) as pair:
        await pair.post("/api/chat", wanting(4096))
        pair.script({"match": {"path": CHAT, "body_contains": "slow"}, "hold": "slow"})
        slow = asyncio.create_task(pair.post("/api/chat", wanting(4096, "slow")))
        await pair.until_asked(CHAT, 2)
        answer = await pair.post("/api/chat", wanting(16384))
        assert 200 == answer.status_code
        assert "4096" in answer.headers[WARNING]
        pair.release("slow")
        assert 200 == (await slow).status_code
        assert [] == pair.asked(UNLOAD)


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
async def test_a_capped_request_is_served_and_told(fresh: Pair, streamed: bool) -> None:
    """Some clients ask for a model's maximum with every chat."""
    answer = await fresh.post("/api/chat", wanting(131072, stream=streamed))
    assert 200 == answer.status_code
    assert "32768" in answer.headers[WARNING]
    assert frames(answer.text)[-1]["done"] is True
    assert [32768] == contexts(fresh)


async def test_the_cap_is_a_setting() -> None:
    """0 leaves the model's own limit."""
    async with open_pair({"models": {"context_cap": 0}}) as pair:
        answer = await pair.post("/api/chat", wanting(65536))
        assert None is answer.headers.get(WARNING)
        assert [65536] == contexts(pair)


async def test_what_somebody_else_loaded_is_not_loaded_again(fresh: Pair) -> None:
    """It is served as it is; the client is told."""
    await fresh.change("load", COLD, context_length=4096)
    answer = await fresh.post("/api/chat", wanting(16384))
    assert 200 == answer.status_code
    assert "4096" in answer.headers[WARNING]
    assert ([], []) == (fresh.asked(LOAD), fresh.asked(UNLOAD))


async def test_the_policy_may_be_to_ignore() -> None:
    """A request's number counts for nothing then."""
    async with open_pair({"models": {"context_policy": "ignore"}}) as pair:
        answer = await pair.post("/api/chat", wanting(4096))
        await pair.post("/api/chat", wanting(16384))
        assert [None] == contexts(pair)
        assert None is answer.headers.get(WARNING)


async def test_the_policy_may_be_exact() -> None:
    """Each gets what it asks for, smaller ones too; one that asks for nothing changes nothing."""
    async with open_pair({"models": {"context_policy": "exact"}}) as pair:
        for number in (8192, 4096, 8192):
            await pair.post("/api/chat", wanting(number))
        await pair.post("/api/chat", chat(COLD))
        assert [8192, 4096, 8192] == contexts(pair)


async def test_a_failed_reload_brings_the_old_one_back(fresh: Pair) -> None:
    """The request is served, told, and no later one tries again."""
    await fresh.post("/api/chat", wanting(4096))
    await fresh.change("fail_load", message="It does not fit.")
    answer = await fresh.post("/api/chat", wanting(16384))
    assert 200 == answer.status_code, answer.text
    assert "4096" in answer.headers[WARNING]
    again = await fresh.post("/api/chat", wanting(16384))
    assert (200, [4096, 16384, 4096]) == (again.status_code, contexts(fresh))
    assert [COLD] == fresh.instances(COLD)


async def test_a_failed_reload_that_leaves_nothing_says_so(fresh: Pair) -> None:
    """The client hears both reasons, and the next request loads afresh."""
    await fresh.post("/api/chat", wanting(4096))
    await fresh.change("fail_load", message="It does not fit.", requests=2)
    answer = await fresh.post("/api/chat", wanting(16384))
    assert 500 == answer.status_code
    assert "is not loaded now" in answer.json()["error"]
    assert 2 == answer.json()["error"].count("It does not fit.")
    assert 200 == (await fresh.post("/api/chat", wanting(4096))).status_code


async def test_a_failed_unload_leaves_the_old_one(fresh: Pair) -> None:
    """Nothing is lost when the reload can't even begin."""
    await fresh.post("/api/chat", wanting(4096))
    refusal = {"status": 500, "chunks": [[0, '{"error":{"message":"It clings to life."}}']]}
    fresh.script({"match": {"path": UNLOAD}, "answer": refusal})
    answer = await fresh.post("/api/chat", wanting(16384))
    assert 200 == answer.status_code
    assert "4096" in answer.headers[WARNING]
    assert [COLD] == fresh.instances(COLD)


async def test_a_fresh_catalogue_costs_a_chat_no_call() -> None:
    """Whatever it wants of the context that is there."""
    async with open_pair(caching()) as pair:
        await pair.post("/api/chat", chat(LOADED))
        pair.forget()
        await pair.post("/api/chat", chat(LOADED, options={"num_ctx": 1024}))
        assert [CHAT] == [one.path for one in pair.standin.seen]


async def test_a_host_that_rounds_up_lets_a_model_grow(fresh: Pair) -> None:
    """More than was asked for is no refusal of more; a smaller wish inside it is served as is."""
    table = fresh.standin.app.host.table
    load = table.load

    async def rounding(*given: Any, context_length: int | None = None, **more: Any) -> Any:
        rounded = None if context_length is None else -(-context_length // 256) * 256
        return await load(*given, context_length=rounded, **more)

    table.load = rounding  # type: ignore[method-assign]  # of this table alone
    for number in (5000, 16000, 16000, 30000):
        answer = await fresh.post("/api/chat", wanting(number))
        assert (200, None) == (answer.status_code, answer.headers.get(WARNING))
        await fresh.running()
    assert [5000, 16000, 30000] == contexts(fresh)


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ({"context_length": 65536}, 65536),
        ({"context_length": 65536, "context_cap": 16384}, 16384),
        ({"context_length": 0}, None),
    ],
    ids=["above the default cap", "above a stated cap", "0"],
)
async def test_the_operators_own_length_is_not_capped_in_silence(
    models: dict[str, Any], expected: int | None
) -> None:
    """It wins over a cap that nobody has set; one that is set is told in the log, once a model."""
    with written(format="json") as log:
        async with open_pair({"models": models}) as pair:
            for _ in range(2):
                assert 200 == (await pair.post("/api/chat", chat(COLD))).status_code
                await pair.post("/api/chat", {"model": COLD, "keep_alive": 0})
            assert [expected] * 2 == contexts(pair)
    told = lines_of(log, "the configured context length is capped")
    assert (1 if expected == 16384 else 0) == len(told)


async def test_a_request_may_go_as_far_as_the_operators_own_length() -> None:
    """And no further: the client is told."""
    async with open_pair({"models": {"context_length": 65536}}) as pair:
        answer = await pair.post("/api/chat", wanting(131072))
        assert "65536" in answer.headers[WARNING]
        assert [65536] == contexts(pair)

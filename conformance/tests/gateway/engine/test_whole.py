"""
Answers that LM Studio is asked for in one piece (`answers.one_shot = "whole"`).

What becomes of them is in the cases chat/whole and generate/whole.
"""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from conformance.standin.catalogue import PLAIN
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.support import CHAT, Pair, chat, generate, open_pair
from gateway.fleet import host
from gateway.wire.reading import AT_ONCE

WHOLE = "/api/v0/chat/completions"
ASKING = {"answers": {"one_shot": "whole"}}
LACKING = {
    "match": {"path": WHOLE},
    "answer": {
        "headers": {"content-type": "application/json"},
        "chunks": [[0, '{"error":"Unexpected endpoint or method. (POST ' + WHOLE + ')"}']],
    },
}


async def test_a_client_that_leaves_closes_the_connection() -> None:
    """LM Studio ends the prediction when its connection closes; the next request is served."""
    async with open_pair(ASKING) as pair:
        pair.script({"match": {"path": WHOLE}, "hold": "prompt", "nth": 1})
        asking = asyncio.create_task(pair.post("/api/chat", chat()))
        await pair.until_asked(WHOLE)
        asking.cancel()
        await pair.until_left(WHOLE)
        assert 200 == (await pair.post("/api/chat", chat())).status_code
        assert [] == pair.asked(CHAT)


async def test_the_limit_to_the_first_byte_is_that_of_the_whole_answer() -> None:
    """Nothing tells a host that works from one that hangs, before its answer is there."""
    settings = {**ASKING, "upstream": {"first_byte_timeout_s": 0.2, "silence_timeout_s": 0}}
    async with open_pair(settings) as pair:
        pair.script({"match": {"path": WHOLE}, "hold": "prompt", "nth": 1})
        answer = await pair.post("/api/generate", generate())
        assert 504 == answer.status_code
        assert "nothing came for 0.2 s" in answer.json()["error"]
        assert [] == pair.asked(CHAT)


async def test_no_metric_has_a_time_of_the_first_token() -> None:
    """The time of the whole answer would be counted as that of its first token."""
    assert 0 == await first_tokens(ASKING)
    assert 1 == await first_tokens({})


async def first_tokens(settings: dict[str, Any]) -> float:
    """Return how many times of a first token are counted after one one-shot chat."""
    async with open_pair(settings) as pair:
        assert 200 == (await pair.post("/api/chat", chat())).status_code
        await pair.let_pass()
        return await counted(pair, "olgate_time_to_first_token_seconds_count")


async def counted(pair: Pair, name: str) -> float:
    """Return the sum of a metric's samples of one name."""
    text = (await pair.client.get("/metrics")).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    )


async def test_a_large_request_is_whole_when_it_is_asked_again_for_a_stream() -> None:
    """The text of a large request is not kept where nobody needs it a second time."""
    text = "w" * (AT_ONCE + 1)
    async with open_pair(ASKING) as pair:
        pair.script(LACKING)
        assert 200 == (await pair.post("/api/chat", chat(text=text))).status_code
        (body,) = pair.bodies(CHAT)
        assert text == body["messages"][0]["content"]


async def test_a_client_is_warned_once_though_its_request_is_asked_again() -> None:
    """The plan that asks for a stream says once more what the first one has said."""
    messages = [{"role": "narrator", "content": "Fog."}, {"role": "user", "content": "Why?"}]
    async with open_pair(ASKING) as pair:
        pair.script(LACKING)
        answer = await pair.post("/api/chat", chat(messages=messages))
        assert 1 == len(answer.headers.get_list("x-olgate-warning"))
        assert 1 == len(pair.asked(CHAT))


async def test_of_several_hosts_the_one_without_the_route_is_asked_for_a_stream() -> None:
    """It has the model and works; so its request stays there, and the next ones ask it at once."""
    both: dict[str, Any] = {"models": (PLAIN,)}
    async with open_fleet(both, both, settings=ASKING, of_hosts={"b": {"tier": 2}}) as fleet:
        fleet.script("a", LACKING)
        for _ in range(2):
            answer = await fleet.post("/api/chat", chat(PLAIN.key))
            assert (200, "a") == (answer.status_code, answer.headers["x-olgate-host"])
        assert (1, 2) == (len(fleet.asked("a", WHOLE)), len(fleet.asked("a", CHAT)))
        assert 0 == len(fleet.asked("b", WHOLE))


async def test_a_host_that_lacked_the_route_is_asked_for_it_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may have been updated; until then its requests are not made twice."""
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + host.LACKS_WHOLE_S)
    async with open_pair(ASKING) as pair:
        pair.script({**LACKING, "nth": 1})
        for _ in range(2):
            assert 200 == (await pair.post("/api/chat", chat())).status_code
        assert (1, 2) == (len(pair.asked(WHOLE)), len(pair.asked(CHAT)))

        monkeypatch.setattr(host, "time", later)
        assert 200 == (await pair.post("/api/chat", chat())).status_code
        assert (2, 2) == (len(pair.asked(WHOLE)), len(pair.asked(CHAT)))

"""The queue on the page: who waits for a slot, for how long, and how long it took in the end."""

import asyncio
import re
from hashlib import sha256

import httpx
import pytest

from conformance.tests.gateway.console.test_page import PAGE, looking
from conformance.tests.gateway.support import CHAT, LOADED, Pair, chat, gather_all, open_pair
from gateway.console import merging

SCRIPT = "<script>alert(1)</script>"
NOBODY = "No request waits for a slot"


def begin(pair: Pair, agent: str = "a-program/1", **headers: str) -> asyncio.Task[httpx.Response]:
    """Begin a chat that is not streamed."""
    sent = {"user-agent": agent, **headers}
    asking = pair.client.post("/api/chat", json=chat(), headers=sent)
    return asyncio.ensure_future(asking)


def statuses(answers: list[httpx.Response]) -> list[int]:
    """Return the statuses of answers."""
    return [answer.status_code for answer in answers]


async def take_the_slot(pair: Pair, **headers: str) -> asyncio.Task[httpx.Response]:
    """Have a request take the only slot until `all` is let go."""
    pair.script({"match": {"path": CHAT}, "hold": "all", "nth": 1})
    task = begin(pair, **headers)
    await pair.until_asked(CHAT, 1)
    return task


def rows(section: str) -> int:
    """Return how many rows a section has."""
    return section.count('<th scope="row"')


async def test_who_waits_is_shown_until_it_has_a_slot() -> None:
    """And afterwards how long it has waited; who took the slot at once has waited for nothing."""
    async with open_pair(parallel=1) as pair, looking(pair.client) as page:
        await page.until(lambda shown: NOBODY in shown["queue"])
        first = await take_the_slot(pair)
        second = begin(pair, "patient/2")
        await page.until(lambda shown: "patient/2" in shown["queue"])
        waits = page.sections["queue"]
        assert 1 == rows(waits)
        for text in ("POST /api/chat", LOADED, "batch", "data-since"):
            assert text in waits
        pair.release("all")
        assert [200, 200] == statuses(await gather_all(first, second))
        await page.until(lambda shown: NOBODY in shown["queue"])
        await page.until(lambda shown: 2 == rows(shown["recent"]))
        queued = re.findall(r'data-label="Queued" class="number">([^<]*)<', page.sections["recent"])
    # The last one that ended comes first.
    assert re.fullmatch(r"\d+(\.\d+)? s", queued[0])
    assert "" == queued[1]


async def test_a_running_request_says_how_long_it_has_waited() -> None:
    """Its row has the time of the wait, once it runs."""
    async with open_pair(parallel=1) as pair, looking(pair.client) as page:
        first = await take_the_slot(pair)
        pair.script({"match": {"path": CHAT}, "hold": "second", "nth": 1})
        second = begin(pair, "patient/2")
        await page.until(lambda shown: "patient/2" in shown["queue"])
        pair.release("all")
        await page.until(
            lambda shown: re.search(r'"Queued" class="number">[\d.]+ s<', shown["running"])
        )
        assert NOBODY in page.sections["queue"]
        pair.release("second")
        assert [200, 200] == statuses(await gather_all(first, second))


async def test_a_client_that_leaves_is_shown_no_more() -> None:
    """Nobody is left behind in the list."""
    async with open_pair(parallel=1) as pair, looking(pair.client) as page:
        first = await take_the_slot(pair)
        second = begin(pair, "hasty/3")
        await page.until(lambda shown: "hasty/3" in shown["queue"])
        second.cancel()
        await page.until(lambda shown: NOBODY in shown["queue"])
        pair.release("all")
        assert 200 == (await first).status_code


async def test_keys_and_priorities_are_shown_and_secrets_are_not() -> None:
    """The name of a key, and what its table says."""
    tables = {
        "chief": {"digest": sha256(b"chief-secret").hexdigest(), "admin": True},
        "guest": {"digest": sha256(b"guest-secret").hexdigest(), "priority": 7},
    }
    chief, guest = ({"authorization": f"Bearer {name}-secret"} for name in ("chief", "guest"))
    async with (
        open_pair({"keys": tables}, parallel=1) as pair,
        looking(pair.client, headers=chief) as page,
    ):
        first = await take_the_slot(pair, **guest)
        second = begin(pair, **guest)
        await page.until(lambda shown: "key guest" in shown["queue"])
        assert re.search(r'"Priority" class="number">7<', page.sections["queue"])
        assert "guest-secret" not in page.sections["queue"]
        pair.release("all")
        assert [200, 200] == statuses(await gather_all(first, second))


async def test_the_list_is_bounded_and_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are shown, and how many more there are; a program's name is text."""
    monkeypatch.setattr(merging, "MOST_QUEUED", 2)
    async with open_pair(parallel=1) as pair, looking(pair.client) as page:
        tasks = [await take_the_slot(pair)]
        for number in range(4):
            tasks.append(begin(pair, f"agent-{number}{SCRIPT}"))
            seen = f"agent-{number}" if number < 2 else f"{number - 1} more wait"
            await page.until(lambda shown, seen=seen: seen in shown["queue"])  # type: ignore[misc]  # a default has no type
        at_first = (await pair.client.get(PAGE)).text
        for shown in (page.sections["queue"], at_first[at_first.index('id="queue"') :]):
            assert "agent-0&lt;script&gt;" in shown
            assert "<script>alert" not in shown
        assert 2 == rows(page.sections["queue"])
        assert "agent-2" not in page.sections["queue"]
        pair.release("all")
        assert [200] * 5 == statuses(await gather_all(*tasks))

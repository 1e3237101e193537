"""The stream that all open pages share."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import pytest

from gateway.console import feed as feeds
from gateway.console.feed import Feed


class Shown(msgspec.Struct):
    """Two sections."""

    one: str = "a"
    two: str = "b"


class Source:
    """What a feed takes, renders and asks for, counted."""

    def __init__(self) -> None:
        self.shown = Shown()
        self.taken = self.asked = self.stopped = 0
        self.rendered: list[str] = []
        self.looked = asyncio.Event()
        self.feed = Feed(self._take, self._render, self._ask, self._stop)

    def _take(self) -> Shown:
        self.taken += 1
        self.looked.set()
        return msgspec.structs.replace(self.shown)

    def _render(self, name: str, value: object) -> str:
        self.rendered.append(name)
        return f"<{name}={value}>"

    def _ask(self) -> None:
        self.asked += 1

    def _stop(self) -> None:
        self.stopped += 1


class Browser:
    """A page that keeps what it is sent."""

    def __init__(self, feed: Feed) -> None:
        self.events: list[dict[str, str]] = []
        self._news = asyncio.Event()
        self.task = asyncio.ensure_future(feed.follow(self._push))

    def _push(self, part: bytes) -> None:
        if part.startswith(b"data: "):
            self.events.append(msgspec.json.decode(part[6:])["sections"])
            self._news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something is so after an event."""
        async with asyncio.timeout(30):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def leave(self) -> None:
        """Close the page."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


def has_got(page: Browser, count: int) -> bool:
    """Return whether a page has got so many events."""
    return len(page.events) == count


def has_last(page: Browser, text: str) -> bool:
    """Return whether a text is in a page's last event."""
    return bool(page.events) and text in str(page.events[-1])


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than in earnest."""
    monkeypatch.setattr(feeds, "INTERVAL_S", 0.001)


async def test_a_page_gets_everything_and_then_what_has_changed() -> None:
    """A section that is as before is neither rendered nor sent again."""
    source = Source()
    page = Browser(source.feed)
    await page.until(lambda: len(page.events) == 1)
    source.shown.two = "c"
    await page.until(lambda: len(page.events) == 2)
    await page.leave()

    assert [{"one": "<one=a>", "two": "<two=b>"}, {"two": "<two=c>"}] == page.events
    assert ["one", "two", "two"] == source.rendered


async def test_all_pages_share_one_look() -> None:
    """What has changed is rendered once, whoever looks; a later page gets everything."""
    source = Source()
    pages = [Browser(source.feed) for _ in range(5)]
    for page in pages:
        await page.until(partial(has_got, page, 1))
    source.shown.one = "z"
    for page in pages:
        await page.until(partial(has_got, page, 2))
    late = Browser(source.feed)
    await late.until(lambda: bool(late.events))
    for page in (*pages, late):
        await page.leave()

    assert ["one", "two", "one"] == source.rendered
    assert [{"one": "<one=z>", "two": "<two=b>"}] == late.events


async def test_nothing_is_done_while_no_page_is_open() -> None:
    """After the last page is closed nothing is taken or asked, and nothing runs."""
    source = Source()
    assert 0 == source.taken
    page = Browser(source.feed)
    await page.until(lambda: bool(page.events))
    await page.leave()
    taken, asked = source.taken, source.asked

    assert None is source.feed._running
    assert 0 == source.feed.pages
    assert 1 == source.stopped

    again = Browser(source.feed)
    await again.until(lambda: bool(again.events))
    await again.leave()
    assert taken < source.taken, "it begins anew"
    assert asked < source.asked
    assert again.events[0].keys() == {"one", "two"}


async def test_a_page_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others go on, and nothing is kept for it."""
    monkeypatch.setattr(feeds, "SLOW_S", 0.01)
    source = Source()
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    parts: list[bytes] = []

    def push(part: bytes) -> Any:
        parts.append(part)
        return never if part.startswith(b"data") else None

    other = Browser(source.feed)
    await other.until(lambda: bool(other.events))
    async with asyncio.timeout(30):
        await source.feed.follow(push)
    source.shown.one = "still"
    await other.until(lambda: {"one": "<one=still>"} in other.events)

    assert 2 == len(parts), "the time to connect anew, and one event"
    assert 1 == source.feed.pages
    await other.leave()


async def test_a_slow_page_gets_the_last_state_and_not_each_one() -> None:
    """What has changed twice while it took nothing is sent once."""
    source = Source()
    gate = asyncio.Event()
    held: list[bytes] = []
    ended = asyncio.Event()

    def push(part: bytes) -> Any:
        held.append(part)
        if b"end" in part:
            ended.set()
        return gate.wait() if len(held) == 2 else None

    slow = asyncio.ensure_future(source.feed.follow(push))
    other = Browser(source.feed)
    for text in ("1", "2", "3"):
        source.shown.one = text
        await other.until(partial(has_last, other, text))
    assert 2 == len(held)
    gate.set()
    source.shown.two = "end"
    await other.until(lambda: "end" in str(other.events[-1]))
    async with asyncio.timeout(30):
        await ended.wait()
    slow.cancel()
    await other.leave()

    assert not any(b"one=1" in part or b"one=2" in part for part in held[2:])
    with suppress(asyncio.CancelledError):
        await slow


async def test_a_page_hears_something_while_nothing_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A comment, which shows proxies and the gateway that the other side is there."""
    monkeypatch.setattr(feeds, "HEARTBEAT_S", 0.001)
    source = Source()
    heard = asyncio.Event()

    def push(part: bytes) -> None:
        if part.startswith(b": "):
            heard.set()

    page = asyncio.ensure_future(source.feed.follow(push))
    async with asyncio.timeout(30):
        await heard.wait()
    page.cancel()
    with suppress(asyncio.CancelledError):
        await page


async def test_a_failed_look_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page stays open over a fault of the gateway."""
    source = Source()
    page = Browser(source.feed)
    await page.until(lambda: bool(page.events))
    render = source.feed._render
    failed = asyncio.Event()

    def fail(name: str, value: object) -> str:
        failed.set()
        raise ValueError(name)

    monkeypatch.setattr(source.feed, "_render", fail)
    source.shown.one = "x"
    async with asyncio.timeout(30):
        await failed.wait()
    monkeypatch.setattr(source.feed, "_render", render)
    await page.until(lambda: {"one": "<one=x>"} in page.events)
    await page.leave()


async def test_the_end_of_the_gateway_ends_the_stream() -> None:
    """Without that, an open page would keep the gateway from ending."""
    source = Source()
    page = Browser(source.feed)
    await page.until(lambda: bool(page.events))
    source.feed.close()
    async with asyncio.timeout(30):
        await page.task

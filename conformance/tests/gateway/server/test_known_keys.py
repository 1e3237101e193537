"""Keys in heads that come again: each request is judged by its own key, and none is kept."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from conformance.tests.gateway.server.test_heads import knowing, parsed
from conformance.tests.gateway.support import (
    LOADED,
    Pair,
    caching,
    lines_of,
    open_pair,
    written,
)
from gateway.server.heads import Heads
from gateway.settings.schema import ListenSettings, Settings

from .test_named_keys import key

KEYS = ("first-key", "second-key")
GET = b"GET /api/tags HTTP/1.1\r\nHost: 127.0.0.1\r\n%bUser-Agent: a\r\n\r\n"
POST = (
    b"POST /api/show HTTP/1.1\r\nHost: 127.0.0.1\r\n%bContent-Length: %d\r\nAccept: */*\r\n\r\n%b"
)
SHOWN = b'{"model":"%b"}' % LOADED.encode()


def line(secret: str, name: str = "Authorization", scheme: str = "Bearer ") -> bytes:
    """Return the line of a head that carries a key."""
    return f"{name}: {scheme}{secret}\r\n".encode("latin-1")


def get(lines: bytes) -> bytes:
    """Return a request without a body."""
    return GET % lines


def post(lines: bytes) -> bytes:
    """Return a request with a body."""
    return POST % (lines, len(SHOWN), SHOWN)


def all_of(heads: Heads) -> str:
    """Return all that is kept of heads, as a text."""
    kept = {**heads._bodiless, **heads._with_body}
    return repr(
        [(rest, known._head, known._head._texts, known.url) for rest, known in kept.items()]
    )


@pytest.mark.parametrize("request_of", [get, post])
@pytest.mark.parametrize(("name", "scheme"), [("Authorization", "Bearer "), ("x-api-key", "")])
def test_a_key_is_no_part_of_its_head(
    request_of: Callable[[bytes], bytes], name: str, scheme: str
) -> None:
    """Another key has the same head, and each request the key that it was sent with."""
    heads = knowing(request_of(line("first-key", name, scheme)))
    kept = []
    for secret in ("second", "first-key", "a b"):
        found = heads.find(request_of(line(secret, name, scheme)))
        assert found is not None
        known, head, _ = found
        kept.append(known)
        value = f"{scheme}{secret}"
        assert (name.lower().encode(), value.encode()) in head
        assert value == head.text(name.lower().encode())
        assert "a" == head.text(b"user-agent") or request_of is post
    assert 1 == len({id(each) for each in kept})
    assert heads.find(request_of(b"")) is None
    for secret in ("first-key", "second", "a b"):
        assert secret not in all_of(heads)


def test_a_key_that_is_longer_than_any_before_is_left_to_the_parser() -> None:
    """Which knows how long a head may be."""
    heads = knowing(get(line("short")))
    assert heads.find(get(line("longer"))) is None
    heads.keep(get(line("longer")), *parsed(get(line("longer"))))
    assert heads.find(get(line("longer"))) is not None
    assert heads.find(get(line("short"))) is not None


ODD = [
    b"",
    b"Authorization: \r\n",
    b"Authorization:\r\n",
    b"Authorization:  Bearer first-key\r\n",
    b"Authorization:\tBearer first-key\r\n",
    b"Authorization: Bearer first-key \r\n",
    b"Authorization : Bearer first-key\r\n",
    b" Authorization: Bearer first-key\r\n",
    b"Authorization: Bearer\r\n first-key\r\n",
    b"Authorization: Bearer first-key\r\n x\r\n",
    b"Authorization: Bearer first-key\nX: y\r\n",
    b"Authorization: Bearer first\0-key\r\n",
    b"AUTHORIZATION: Bearer first-key\r\n",
    b"authorization: Bearer first-key\r\n",
    b"Authorization: Bearer first-key\r\nAuthorization: Bearer no\r\n",
    b"Authorization: Bearer no\r\nAuthorization: Bearer first-key\r\n",
    b"Authorization: Bearer no\r\nauthorization: Bearer first-key\r\n",
    b"X-Api-Key: no\r\nAuthorization: Bearer first-key\r\n",
    b"Authorization: Bearer first-key\r\nX-Api-Key: no\r\n",
    b"X: y\r\nAuthorization: Bearer first-key\r\n",
    b"Proxy-Authorization: Bearer first-key\r\n",
]
"""Lines that are not, or not to the letter, those of the head that was read before."""


@pytest.mark.parametrize("lines", ODD)
def test_an_odd_line_is_left_to_the_parser(lines: bytes) -> None:
    """It is never taken for the line of a head that is known."""
    for request_of in (get, post):
        assert knowing(request_of(line("first-key"))).find(request_of(lines)) is None


@asynccontextmanager
async def asking(pair: Pair) -> AsyncIterator[Callable[[bytes], Any]]:
    """Connect, and yield what sends a request on the connection and returns its status."""
    port = int(pair.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(data: bytes) -> int:
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        await reader.readexactly(int(length[1]))
        return int(head.split(b" ", 2)[1])

    try:
        yield ask
    finally:
        writer.close()


@pytest.mark.parametrize("request_of", [get, post])
async def test_each_request_is_judged_by_its_own_key(
    request_of: Callable[[bytes], bytes],
) -> None:
    """Whatever key was sent before it with the same head, on the same connection or another."""
    sent = [
        ("first-key", 200, "1"),
        ("wrong-key", 401, None),
        ("first-key", 200, "1"),
        ("second-key", 200, "2"),
        ("first-ke", 401, None),
        ("", 401, None),
        ("second-key", 200, "2"),
    ]
    async with open_pair({**caching(), "listen": {"keys": KEYS}}) as pair:
        with written(format="json") as lines:
            for _ in range(2):
                async with asking(pair) as ask:
                    for secret, status, _ in sent:
                        data = request_of(line(secret) if secret else b"")
                        assert status == await ask(data), secret
        noted = [(one["status"], one.get("key")) for one in lines_of(lines)]
    assert [(status, owner) for _, status, owner in sent * 2] == noted
    assert not any(secret in lines.getvalue() for secret in KEYS)


@pytest.mark.parametrize("lines", ODD)
async def test_an_odd_line_means_the_same_after_a_known_head(lines: bytes) -> None:
    """What it is answered does not depend on the heads that came before it."""
    statuses = []
    for before in (0, 3):
        async with open_pair({**caching(), "listen": {"keys": KEYS}}) as pair:
            for _ in range(before):
                async with asking(pair) as ask:
                    assert 200 == await ask(get(line("first-key")))
            async with asking(pair) as ask:
                statuses.append(await ask(get(lines)))
    assert statuses[0] == statuses[1]
    assert statuses[0] in (200, 400, 401)


async def test_a_key_that_a_reload_removes_is_refused_at_once() -> None:
    """Its head is known, but whose it is is asked for each request."""
    async with open_pair({**caching(), "listen": {"keys": KEYS}}) as pair, asking(pair) as ask:
        for _ in range(3):
            assert 200 == await ask(get(line("first-key")))
        gate = cast("Any", pair.app.inner)._callers
        gate.prepare(Settings(listen=ListenSettings(keys=("second-key",))))()
        assert 401 == await ask(get(line("first-key")))
        assert 200 == await ask(get(line("second-key")))


async def test_anthropics_header_opens_its_own_path_only() -> None:
    """Also where the same head was known with another key."""
    body = b'{"model":"%b","max_tokens":5,"messages":[{"role":"user","content":"a"}]}'
    body %= LOADED.encode()

    def message(secret: str, path: bytes) -> bytes:
        data = POST % (line(secret, "x-api-key", ""), len(body), body)
        return data.replace(b"/api/show", path)

    async with open_pair({**caching(), "listen": {"keys": KEYS}}) as pair, asking(pair) as ask:
        for secret, opens in (("first-key", True), ("no", False), ("second-key", True)) * 2:
            assert opens == (401 != await ask(message(secret, b"/v1/messages")))
            assert 401 == await ask(message(secret, b"/api/chat"))


async def test_a_named_key_gets_what_it_may_see_after_one_that_may_all() -> None:
    """A kept answer is sent at once to a key that may everything, and to no other."""
    tables = {
        "alice": key("sesame-key", models=("nothing",)),
        "bob": key("mellon-key", requests_per_minute=2),
        "carol": key("noroute-key", routes=("/api/chat",)),
    }
    async with (
        open_pair({**caching(), "listen": {"keys": ("plain-key-1",)}, "keys": tables}) as pair,
        asking(pair) as ask,
    ):
        with written(format="json") as lines:
            for _ in range(3):
                assert 200 == await ask(get(line("plain-key-1")))
            assert 200 == await ask(get(line("sesame-key")))
            assert [200, 200, 429] == [await ask(get(line("mellon-key"))) for _ in range(3)]
            assert 403 == await ask(get(line("noroute-key")))
        owners = [one["key"] for one in lines_of(lines)]
        assert ["1"] * 3 + ["alice"] + ["bob"] * 3 + ["carol"] == owners
        seen = await pair.client.get("/api/tags", headers={"authorization": "Bearer sesame-key"})
        assert [] == seen.json()["models"]

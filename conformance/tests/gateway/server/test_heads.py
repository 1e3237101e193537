"""Heads that come again: they are read once, and mean what they meant when they were parsed."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from conformance.tests.gateway.support import LOADED, Pair, caching, open_pair
from gateway.server.heads import MOST_HEADS, Head, Heads

GET = b"GET /api/tags HTTP/1.1\r\nHost: x\r\nUser-Agent: a\r\n\r\n"
POST = b"POST /api/show HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nAccept: */*\r\n\r\n%b"
_CHANGING = re.compile(rb"(?:x-request-id|date): [^\r]+\r\n")


@pytest_asyncio.fixture(loop_scope="session")
async def pair() -> AsyncIterator[Pair]:
    """Run a pair whose server has read no head yet."""
    async with open_pair(caching()) as running:
        yield running


def parsed(data: bytes) -> tuple[dict[str, object], bytes]:
    """Return a scope and a URL as the parser makes them."""
    head, _, _ = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, url, _ = first.split(b" ")
    pairs = (line.split(b": ", 1) for line in lines)
    scope: dict[str, object] = {
        "headers": Head((name.lower(), value) for name, value in pairs),
        "method": method.decode(),
        "path": url.decode(),
        "raw_path": url,
        "query_string": b"",
    }
    return scope, url


def knowing(*requests: bytes) -> Heads:
    """Return heads that have seen some requests."""
    heads = Heads()
    for data in requests:
        heads.keep(data, *parsed(data))
    return heads


def test_a_head_is_known_by_all_of_its_bytes() -> None:
    """One other byte is another head."""
    heads = knowing(GET)
    found = heads.find(GET)
    assert found is not None
    known, head, body = found
    assert (b"", "/api/tags", "a") == (body, known.path, head.text(b"user-agent"))
    assert heads.find(GET.replace(b"tags", b"tagz")) is None
    assert heads.find(GET + b"x") is None
    assert heads.find(GET[:-1]) is None


@pytest.mark.parametrize("body", [b"{}", b"{}" * 700, b"x"])
def test_the_length_of_a_body_is_no_part_of_its_head(body: bytes) -> None:
    """It is stated anew for each request; a body may come with the head, in part, or later."""
    heads = knowing(POST % (2, b"{}"))
    whole = POST % (len(body), body)
    for there in (body, body[:1], b""):
        found = heads.find(whole[: len(whole) - len(body) + len(there)])
        assert found is not None
        known, head, part = found
        assert (there, len(body)) == (part, known.length)
        assert (b"content-length", b"%d" % len(body)) in head
        assert str(len(body)) == head.text(b"content-length")


@pytest.mark.parametrize(
    "other",
    [
        b"Content-Length: \r\n",
        b"Content-Length: +2\r\n",
        b"Content-Length: 2 \r\n",
        b"Content-Length: 2\r\nContent-Length: 2\r\n",
        b"Content-Length: 2,2\r\n",
        b"Content-Length: 2\r\n 0\r\n",
        b"Content-Length: 9999999999\r\n",
        b"Content-Length: 1\r\n",
    ],
)
def test_another_length_is_left_to_the_parser(other: bytes) -> None:
    """What is no plain length, or shorter than what is there, is never taken for a known head."""
    heads = knowing(POST % (2, b"{}"))
    data = (POST % (2, b"{}")).replace(b"Content-Length: 2\r\n", other)
    assert heads.find(data) is None
    assert heads.find(data[:-2]) is None or other == b"Content-Length: 1\r\n"


@pytest.mark.parametrize(
    "line",
    [
        b"Authorization: ",
        b"AUTHORIZATION: Bearer s",
        b"Authorization: Bearer s\r\nX-Api-Key: s",
        b"Authorization: Bearer s\r\nAuthorization: Bearer t",
        b"Authorization: Bearer s\r\nAUTHORIZATION: Bearer t",
        b"Authorization: Bearer \xe9",
        b"Proxy-Authorization: Basic s",
        b"Cookie: s",
        b"X-Request-Id: 1",
        b"Connection: close",
        b"Transfer-Encoding: chunked",
        b"Expect: 100-continue",
        b"Upgrade: h2c",
    ],
)
def test_secrets_and_what_is_more_than_a_head_are_not_kept(line: bytes) -> None:
    """Nor is a head with a query, which may have a secret in it, or a long one."""
    data = GET.replace(b"Host: x", b"Host: x\r\n" + line)
    assert knowing(data).find(data) is None
    for other in (GET.replace(b"/tags", b"/tags?key=s"), GET.replace(b" a", b" " + b"a" * 3000)):
        assert knowing(other).find(other) is None


def test_few_heads_are_kept() -> None:
    """The oldest makes room."""
    many = [GET.replace(b" a", b" %d" % number) for number in range(MOST_HEADS + 1)]
    heads = knowing(*many)
    assert [heads.find(many[0]), None] == [None, heads.find(GET)]
    assert heads.find(many[1]) is not None
    assert heads.find(many[-1]) is not None


async def ask(pair: Pair, *pieces: bytes) -> bytes:
    """Send the pieces of one request one after another, and return what came for it."""
    port = int(pair.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await pair.get("/api/version")  # until the server has read the piece
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        return _CHANGING.sub(b"", head) + await reader.readexactly(int(length[1]))
    finally:
        writer.close()


async def test_an_answer_is_the_same_whether_its_head_was_parsed(pair: Pair) -> None:
    """Wherever the pieces of a request end, with and without a body."""
    host = pair.url.removeprefix("http://").encode()
    shown = b'{"model":"%b"}' % LOADED.encode()
    for data in (
        GET.replace(b"Host: x", b"Host: " + host),
        (POST % (len(shown), shown)).replace(b"Host: x", b"Host: " + host),
        (POST % (1, b"{")).replace(b"Host: x", b"Host: " + host),
        GET.replace(b"Host: x", b"Host: " + host).replace(b"/api/tags", b"/api/nothing"),
        GET.replace(b"Host: x", b"Host: example.com"),
        GET.replace(b"Host: x", b"Host: " + host).replace(b"GET", b"PUT"),
    ):
        first = await ask(pair, data)
        end = data.index(b"\r\n\r\n") + 4
        for at in {5, end - 1, end, end + 1, len(data) - 1, len(data)}:
            pieces = [piece for piece in (data[:at], data[at:]) if piece]
            assert first == await ask(pair, *pieces), (data, at)

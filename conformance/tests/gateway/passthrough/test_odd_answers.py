"""
Answers that a host may send and a server cannot pass on as they are.

Each ends in a right answer or in a named fault, and never in an exception of the server.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from conformance.runner.runner import make_gateway
from conformance.tests.gateway.support import serve, speak_to

ODD = "/v1/odd"
EVENT = b'data: {"id":"c-1"}\n\n'
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n\0\0"
LENGTH = b"Content-Length: 12\r\n"


@asynccontextmanager
async def answering(*answers: bytes, seen: list[bytes] | None = None) -> AsyncIterator[str]:
    """
    Run a gateway in front of a host that sends these bytes, one answer to each request.

    The host closes its connection after the last one; an empty answer closes it at once.
    """
    left = list(answers)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while left:
                head = await reader.readuntil(b"\r\n\r\n")
                if seen is not None:
                    seen.append(head)
                if not (answer := left.pop(0)):
                    break
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    host = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = host.sockets[0].getsockname()[1]
    try:
        async with serve(make_gateway(f"http://127.0.0.1:{port}", {})) as url:
            yield url
    finally:
        host.close()


async def ask(url: str, method: str = "GET", **headers: str) -> httpx.Response:
    async with speak_to(url) as client:
        return await client.request(method, ODD, headers=headers)


def answer(status: bytes, headers: bytes = b"", body: bytes = b"") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\n" + headers + b"\r\n" + body


BODILESS = {
    "204": (answer(b"204 No Content"), 204),
    "204 with a length": (answer(b"204 No Content", LENGTH), 204),
    "304": (answer(b"304 Not Modified"), 304),
    "304 with a length": (answer(b"304 Not Modified", b'ETag: "a"\r\n' + LENGTH), 304),
    "204 of events": (answer(b"204 No Content", b"Content-Type: text/event-stream\r\n"), 204),
    "304 of events": (answer(b"304 Not Modified", b"Content-Type: text/event-stream\r\n"), 304),
    "205": (answer(b"205 Reset Content", b"Content-Length: 0\r\n"), 205),
}
FAULTS = {
    "101": SWITCH,
    "099": answer(b"099 Early", LENGTH, b"hello, world"),
    "600": answer(b"600 Late", LENGTH, b"hello, world"),
    "999": answer(b"999 Go away", LENGTH, b"hello, world"),
    "two lengths": answer(b"200 OK", LENGTH + b"Content-Length: 5\r\n", b"hello, world"),
    "a length and chunks": answer(
        b"200 OK", LENGTH + b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"
    ),
    "a control character": answer(b"200 OK", b"X-Odd: a\x01b\r\n" + LENGTH, b"hello, world"),
    "a name that is none": answer(b"200 OK", b"X(Odd): a\r\n" + LENGTH, b"hello, world"),
}


@pytest.mark.parametrize(("sent", "status"), BODILESS.values(), ids=BODILESS.keys())
async def test_an_answer_without_a_body_is_passed_on(
    sent: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever length it states, and the connection goes on to be used."""
    fine = answer(b"200 OK", LENGTH, b"hello, world")
    async with answering(sent, fine) as url, speak_to(url) as client:
        first = await client.get(ODD)
        second = await client.get(ODD)
    assert (status, b"") == (first.status_code, first.content)
    assert "close" not in first.headers.get("connection", "")
    assert (200, b"hello, world") == (second.status_code, second.content)
    assert_no_exception(caplog)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("sent", FAULTS.values(), ids=FAULTS.keys())
async def test_an_answer_that_is_no_http_is_a_named_fault(
    sent: bytes, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets a 502 with a sentence."""
    async with answering(sent, sent) as url:
        told = await ask(url, method)
    assert 502 == told.status_code
    assert "unexpected answer" in told.json()["error"]["message"]
    assert_no_exception(caplog)


@pytest.mark.parametrize("length", [3, 1000])
async def test_an_event_stream_of_stated_length_that_ends_short_says_so(
    length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The last event is the error: the length is not the one of what the client gets."""
    headers = b"Content-Type: text/event-stream\r\nContent-Length: %d\r\n"
    async with answering(answer(b"200 OK", headers % (len(EVENT) + length), EVENT)) as url:
        told = await ask(url)
    assert 200 == told.status_code
    assert told.content.startswith(EVENT)
    assert "closed the connection" in told.text
    assert "content-length" not in told.headers
    assert_no_exception(caplog)


async def test_another_answer_that_ends_short_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """Its client can tell that it is not whole."""
    async with answering(answer(b"200 OK", LENGTH, b"hello")) as url:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(url)
    assert_no_exception(caplog)


async def test_an_interim_answer_is_no_answer() -> None:
    """100, 102 and 103 may come before any answer."""
    early = answer(b"100 Continue") + answer(b"103 Early Hints", b"Link: </a>\r\n")
    async with answering(early + answer(b"200 OK", LENGTH, b"hello, world")) as url:
        told = await ask(url)
    assert (200, b"hello, world") == (told.status_code, told.content)
    assert "link" not in told.headers


@pytest.mark.parametrize("is_whole", [True, False])
async def test_a_client_of_http_1_0_can_tell_a_whole_answer_from_a_cut_one(is_whole: bool) -> None:
    """Its body ends with the connection, so a cut one ends with a reset."""
    chunks = b"5\r\nhello\r\n" + b"0\r\n\r\n" * is_whole
    async with answering(answer(b"200 OK", b"Transfer-Encoding: chunked\r\n", chunks)) as url:
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET " + ODD.encode() + b" HTTP/1.0\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert b"hello" == await reader.readexactly(5)
        if is_whole:
            assert b"" == await reader.read()
        else:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        writer.close()


@pytest.mark.parametrize("origin", ["http://localhost:3000", ""])
async def test_the_hosts_own_cors_headers_are_dropped(origin: str) -> None:
    """The gateway decides who may read an answer; two such headers are refused by browsers."""
    cors = b"Access-Control-Allow-Origin: *\r\naccess-control-allow-headers: *\r\n"
    async with answering(answer(b"200 OK", cors + LENGTH, b"hello, world")) as url:
        told = await ask(url, **({"origin": origin} if origin else {}))
    names = [name for name in told.headers if name.startswith("access-control-")]
    assert (["access-control-allow-origin"] if origin else []) == names
    assert [origin] * bool(origin) == told.headers.get_list("access-control-allow-origin")


async def test_the_host_is_asked_for_plain_bytes() -> None:
    """Errors, names and ends of streams must be read, whatever the client could unpack."""
    seen: list[bytes] = []
    async with answering(answer(b"200 OK", LENGTH, b"hello, world"), seen=seen) as url:
        await ask(url, **{"accept-encoding": "gzip, br"})
    sent = [line.lower() for line in seen[0].split(b"\r\n")]
    assert [b"accept-encoding: identity"] == [x for x in sent if x.startswith(b"accept-encoding")]


@pytest.mark.parametrize(("method", "status", "requests"), [("GET", 200, 3), ("POST", 502, 2)])
async def test_a_get_lost_on_a_reused_connection_is_made_again(
    method: str, status: int, requests: int
) -> None:
    """Once, and no other method: the host may have done what it was asked."""
    seen: list[bytes] = []
    fine = answer(b"200 OK", LENGTH, b"hello, world")
    async with answering(fine, b"", fine, seen=seen) as url, speak_to(url) as client:
        await client.request(method, ODD)
        second = await client.request(method, ODD)
    assert (status, requests) == (second.status_code, len(seen))


async def test_a_get_lost_twice_is_a_fault() -> None:
    """The repeat is on a new connection: one that is lost, too, is not made a third time."""
    seen: list[bytes] = []
    fine = answer(b"200 OK", LENGTH, b"hello, world")
    async with answering(fine, b"", b"", fine, seen=seen) as url, speak_to(url) as client:
        await client.get(ODD)
        assert 502 == (await client.get(ODD)).status_code
    assert 3 == len(seen)


def assert_no_exception(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing went up to the server or to the event loop."""
    records = [one for one in caplog.records if one.name in ("uvicorn.error", "asyncio")]
    assert [] == [one.getMessage() for one in records if one.exc_info]

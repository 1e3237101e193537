"""What Upstream makes of servers that answer well, badly, late or not at all."""

import asyncio
import json
import socket
from collections.abc import Awaitable
from typing import Any

import pytest

from conformance.tests.gateway.upstream.servers import Call, Connect, Serve
from gateway.faults import UpstreamFailure
from gateway.upstream.answers import lacks_route
from gateway.upstream.client import Upstream
from gateway.upstream.sse import Event

PATH = "/v1/chat/completions"
UNKNOWN = b'{"error":"Unexpected endpoint or method. (POST /chat/completions)"}'
NO_VISION = b'{"error":{"message":"no images","code":"c"},"message":"no images"}'
PAGE = b"<html><head><title>502 Bad Gateway</title></head></html>"
TINY_S = 0.05
EVENT = b'data: {"choices":[]}\n\n'
DONE = b"data: [DONE]\n\n"


async def read_events(upstream: Upstream) -> list[Event]:
    got: list[Event] = []
    async with upstream.stream("POST", PATH, b"{}") as stream:
        await stream.each(got.extend)
    return got


async def fetch(upstream: Upstream) -> bytes:
    return await upstream.fetch("POST", PATH, b"{}")


async def fail(call: Awaitable[object]) -> UpstreamFailure:
    with pytest.raises(UpstreamFailure) as caught:
        await call
    return caught.value


# Successes


async def test_streams_events(serve: Serve, connect: Connect) -> None:
    """Events come one after the other, [DONE] included, and the iteration ends by itself."""

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT, b"event: x\ndata: 1\n", b"\n", DONE)
        await call.finish()

    upstream = connect((await serve(handle)).url)
    first = Event("", b'{"choices":[]}')

    assert [first, Event("x", b"1"), Event("", b"[DONE]")] == await read_events(upstream)


async def test_streams_one_byte_at_a_time(serve: Serve, connect: Connect) -> None:
    """A server that sends every byte by itself is understood, mark and blank lines included."""

    async def handle(call: Call) -> None:
        await call.start_events()
        for byte in b"\xef\xbb\xbf\n\n" + EVENT + DONE:
            await call.send_chunks(bytes((byte,)))
            await asyncio.sleep(0)
        await call.finish()

    upstream = connect((await serve(handle)).url)

    expected = [Event("", b'{"choices":[]}'), Event("", b"[DONE]")]
    assert expected == await read_events(upstream)


async def test_asks_as_a_client_of_the_api(serve: Serve, connect: Connect) -> None:
    """Method, path behind the base path, token, types and body arrive; nothing else is added."""
    seen: list[tuple[bytes, dict[bytes, bytes], bytes]] = []

    async def handle(call: Call) -> None:
        seen.append((call.request_line, call.headers, await call.read_body()))
        await call.start_events()
        await call.send_chunks(DONE)
        await call.finish()

    server = await serve(handle)
    upstream = connect(server.url + "/base/", token="t0")
    await read_events(upstream)

    line, headers, body = seen[0]
    assert (b"POST /base/v1/chat/completions HTTP/1.1", b"{}") == (line, body)
    assert headers == {
        b"host": server.url.removeprefix("http://").encode(),
        b"accept": b"text/event-stream",
        b"accept-encoding": b"identity",
        b"user-agent": b"olgate",
        b"x-olgate-via": upstream.name.encode(),
        b"authorization": b"Bearer t0",
        b"content-type": b"application/json",
        b"content-length": b"2",
    }


async def test_keeps_connections_for_reuse(serve: Serve, connect: Connect) -> None:
    """Answers read to their end, streams and bodies, leave the connection for the next."""

    async def handle(call: Call) -> None:
        if b"event-stream" in call.headers[b"accept"]:
            await call.start_events()
            await call.send_chunks(EVENT, DONE)
            await call.finish()
        else:
            await call.answer(b"{}")

    server = await serve(handle)
    upstream = connect(server.url)
    for _ in range(3):
        await read_events(upstream)
        await upstream.fetch("GET", "/v1/models")

    assert (1, 6) == (server.connections, len(server.calls))


async def test_takes_no_cookies(serve: Serve, connect: Connect) -> None:
    """A cookie that the server sets is not sent along with the next request."""
    seen: list[dict[bytes, bytes]] = []

    async def handle(call: Call) -> None:
        seen.append(call.headers)
        await call.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}")

    upstream = connect((await serve(handle)).url)
    for _ in range(2):
        await upstream.fetch("GET", "/x")

    assert [False, False] == [b"cookie" in headers for headers in seen]


async def test_fetches_json(serve: Serve, connect: Connect) -> None:
    """A body that is JSON comes back as it was sent, without a byte order mark."""
    body = b'{\n  "data": [], "error": null, "object": "list"\n}'

    async def handle(call: Call) -> None:
        await call.answer(b"\xef\xbb\xbf" + body, kind=b"text/plain")

    assert body == await fetch(connect((await serve(handle)).url))


@pytest.mark.parametrize("text", [b"database is locked", b"event log full", b"identity unknown"])
async def test_a_sentence_is_no_event_stream(serve: Serve, connect: Connect, text: bytes) -> None:
    """A text that begins with the name of an event's field is told as the text that it is."""

    async def handle(call: Call) -> None:
        await call.answer(text, kind=b"text/plain")

    upstream = connect((await serve(handle)).url)
    with pytest.raises(UpstreamFailure) as fetched:
        await upstream.fetch("GET", "/x")
    with pytest.raises(UpstreamFailure) as streamed:
        async with upstream.stream("POST", "/x", b"{}"):
            pass

    assert ("not_json", "not_sse") == (fetched.value.fault, streamed.value.fault)
    assert text.decode() in fetched.value.message
    assert text.decode() in streamed.value.message


@pytest.mark.parametrize(
    ("failure", "lacks_list", "lacks_download"),
    [
        (UpstreamFailure("Unexpected endpoint", fault="unknown_endpoint", status=200), True, True),
        (UpstreamFailure("no", status=405), True, True),
        (UpstreamFailure("no", status=501), True, True),
        (UpstreamFailure("no", status=404), True, False),
        (UpstreamFailure("no", status=400), False, False),
        (UpstreamFailure("away", fault="connect"), False, False),
    ],
)
def test_a_missing_route_is_told_from_a_missing_thing(
    failure: UpstreamFailure, lacks_list: bool, lacks_download: bool
) -> None:
    """By one rule for all: a 404 means the route only where a call names no model and no job."""
    assert lacks_list == lacks_route(failure, names_thing=False)
    assert lacks_download == lacks_route(failure, names_thing=True)


async def test_sends_large_bodies_whole(serve: Serve, connect: Connect) -> None:
    """A body of several megabytes arrives with its length, without a warning."""
    body = json.dumps(["x" * 1000] * 3000).encode()

    async def handle(call: Call) -> None:
        same = await call.read_body() == body
        await call.answer(b'{"same":%s}' % str(same).lower().encode())

    upstream = connect((await serve(handle)).url)

    assert b'{"same":true}' == await upstream.fetch("POST", PATH, body)


async def test_json_where_events_were_asked_for(serve: Serve, connect: Connect) -> None:
    """A whole answer in place of a stream is handed on as one, and has no events."""

    async def handle(call: Call) -> None:
        await call.start_events()
        for byte in b'\xef\xbb\xbf {"choices":[]}':
            await call.send_chunks(bytes((byte,)))
            await asyncio.sleep(0)
        await call.finish()

    upstream = connect((await serve(handle)).url)
    async with upstream.stream("POST", PATH, b"{}") as stream:
        got: list[Event] = []
        await stream.each(got.extend)

        assert (b'{"choices":[]}', []) == (stream.one_shot, got)


# Errors that LM Studio states


@pytest.mark.parametrize("ask", [fetch, read_events])
@pytest.mark.parametrize(
    ("status", "body", "message", "code"),
    [
        (400, b'{"error":"text"}', "text", None),
        (400, b'{\n    "error": {"message":"text","code":null}}', "text", None),
        (404, b'{"error":{"message":"text","code":"model_not_found"}}', "text", "model_not_found"),
        (500, b'{"title":"text"}', "text", None),
        (500, b"llama_decode returned -1", "llama_decode returned -1", None),
        (401, b'{"error":{"type":"invalid"}}', "invalid", "invalid"),
        (502, PAGE, 'status 502 with an HTML page titled "502 Bad Gateway"', None),
        (503, b"", "status 503 with an empty body", None),
    ],
)
async def test_a_status_keeps_its_words(
    serve: Serve, connect: Connect, ask: Any, status: int, body: bytes, message: str, code: str
) -> None:
    """A status of 400 and above keeps status, message and code, whatever the body's kind."""

    async def handle(call: Call) -> None:
        await call.answer(body, b"%d Text" % status, b"text/event-stream")

    failure = await fail(ask(connect((await serve(handle)).url)))

    assert (status, message, code) == (failure.status, failure.message, failure.code)
    assert (None, False) == (failure.fault, failure.repeatable)


@pytest.mark.parametrize("ask", [fetch, read_events])
@pytest.mark.parametrize(
    ("body", "fault", "message"),
    [
        (UNKNOWN, "unknown_endpoint", UNKNOWN[10:-2].decode()),
        (b'{"error":"text"}', "upstream_error_200", "text"),
        (b'{"error":{"message":"text"}}', "upstream_error_200", "text"),
        (b'{"error":{}}', "upstream_error_200", "an error without a message"),
    ],
)
async def test_an_error_under_status_200(
    serve: Serve, connect: Connect, ask: Any, body: bytes, fault: str, message: str
) -> None:
    """A 200 whose JSON body states an error is that error."""

    async def handle(call: Call) -> None:
        await call.answer(body)

    failure = await fail(ask(connect((await serve(handle)).url)))

    assert (200, fault, message) == (failure.status, failure.fault, failure.message)


async def test_an_unknown_endpoint_under_another_status(serve: Serve, connect: Connect) -> None:
    """The unknown endpoint is known by its words, and keeps its status."""

    async def handle(call: Call) -> None:
        await call.answer(UNKNOWN, b"404 Not Found")

    failure = await fail(fetch(connect((await serve(handle)).url)))

    assert ("unknown_endpoint", 404) == (failure.fault, failure.status)


@pytest.mark.parametrize(
    ("first", "message", "code"),
    [
        (b"event: error\ndata: " + NO_VISION + b"\n\n", "no images", "c"),
        (b"event: error\ndata: not JSON\n\n", "not JSON", None),
        (b"event: error\ndata:\n\n", "an error without a message", None),
        (b'data: {"error":"no images"}\n\n', "no images", None),
        (b": hello\n\n" + b'data: {"error":"no images"}\n\n', "no images", None),
        (b'data: {"error":"no blank line"}', "no blank line", None),
    ],
)
async def test_an_error_as_first_event(
    serve: Serve, connect: Connect, first: bytes, message: str, code: str | None
) -> None:
    """A first event that states an error is raised on entering, with the message inside it."""

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(first)
        await call.finish()

    failure = await fail(read_events(connect((await serve(handle)).url)))

    assert ("upstream_error_200", 200) == (failure.fault, failure.status)
    assert (message, code) == (failure.message, failure.code)


async def test_a_later_error_is_an_event(serve: Serve, connect: Connect) -> None:
    """After the first event, errors are passed on as events like any other."""

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT, b'event: error\ndata: {"error":"x"}\n\n')
        await call.finish()

    events = await read_events(connect((await serve(handle)).url))

    assert Event("error", b'{"error":"x"}') == events[-1]


async def test_text_about_errors_is_no_error(serve: Serve, connect: Connect) -> None:
    """A first event whose words merely speak of errors is a success."""
    data = b'{"choices":[{"delta":{"content":"{\\"error\\":1}"}}],"x":{"error":"y"}}'

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(b"data: " + data + b"\n\n")
        await call.finish()

    assert [Event("", data)] == await read_events(connect((await serve(handle)).url))


# Bodies that make no sense


@pytest.mark.parametrize(
    ("ask", "body", "fault", "says"),
    [
        (read_events, b"", "empty", "empty body"),
        (read_events, b"\n\n", "empty", "empty body"),
        (read_events, b": ping\n\n", "empty", "without an event"),
        (read_events, b"event: x\n\n", "empty", "without an event"),
        (read_events, PAGE, "not_sse", "502 Bad Gateway"),
        (read_events, b"It works!", "not_sse", "It works!"),
        (read_events, b'{"choices":[', "not_json", "broken JSON"),
        (fetch, b"", "empty", "empty body"),
        (fetch, PAGE, "not_json", "502 Bad Gateway"),
        (fetch, b"It works!", "not_json", "It works!"),
        (fetch, b'{"data":[', "not_json", "broken JSON"),
        (fetch, EVENT + EVENT, "not_json", "2 events"),
        (fetch, b"data: [DONE]\n\n", "empty", "0 events"),
    ],
)
async def test_a_body_of_the_wrong_kind(
    serve: Serve, connect: Connect, ask: Any, body: bytes, fault: str, says: str
) -> None:
    """A 200 with nothing in it, with a page, with text or with half an answer is told apart."""

    async def handle(call: Call) -> None:
        await call.answer(body)

    failure = await fail(ask(connect((await serve(handle)).url)))

    assert fault == failure.fault
    assert says in failure.message
    assert (None, False) == (failure.status, failure.repeatable)


@pytest.mark.parametrize("ask", [fetch, read_events])
async def test_a_redirect_is_not_followed(serve: Serve, connect: Connect, ask: Any) -> None:
    """A redirect is refused with the place it leads to."""

    async def handle(call: Call) -> None:
        await call.read_body()
        await call.send(b"HTTP/1.1 307 X\r\nLocation: https://b.test/\r\nContent-Length: 0\r\n\r\n")

    server = await serve(handle)
    failure = await fail(ask(connect(server.url)))

    assert "bad_http" == failure.fault
    assert "https://b.test/" in failure.message
    assert 1 == len(server.calls)


async def test_an_endless_error_body_is_cut(serve: Serve, connect: Connect) -> None:
    """An error body without end is read so far and no further, and the server is left."""

    async def handle(call: Call) -> None:
        await call.start_events()
        while True:
            await call.send_chunks(b"x" * 65536)

    async def handle_error(call: Call) -> None:
        await call.send(b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await call.send_chunks(b"<" + b"x" * 65535)

    for handler, expected in ((handle, "not_sse"), (handle_error, None)):
        server = await serve(handler)
        upstream = connect(server.url)
        call = read_events(upstream) if expected is None else read_short_events(upstream)

        assert expected == (await fail(call)).fault
        await server.client_left.wait()


async def read_short_events(upstream: Upstream) -> None:
    async with upstream.stream("POST", PATH, b"{}") as stream:
        await stream.each(lambda _: None)


# Faults of the wire


@pytest.mark.parametrize("ask", [fetch, read_events])
async def test_refused(connect: Connect, ask: Any) -> None:
    """A port where nobody listens is `connect`, and a repeat is harmless."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failure = await fail(ask(connect(f"http://127.0.0.1:{taken.getsockname()[1]}")))

    assert ("connect", True, None) == (failure.fault, failure.repeatable, failure.status)


async def test_unknown_host(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that no resolver knows is `dns`."""

    def find_nothing(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", find_nothing)
    failure = await fail(fetch(connect("http://lmstudio.test")))

    assert ("dns", True) == (failure.fault, failure.repeatable)
    assert "lmstudio.test" in failure.message


async def test_tls_where_there_is_none(serve: Serve, connect: Connect) -> None:
    """A server that does not speak TLS is `tls`, whether it answers or hangs up."""
    greetings = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""]

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greetings.pop(0))
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(2):
            failure = await fail(fetch(connect(f"https://127.0.0.1:{port}")))

            assert ("tls", True) == (failure.fault, failure.repeatable)


async def test_connecting_takes_too_long(connect: Connect) -> None:
    """A server that never finishes the handshake is `connect`, by the limit for connecting."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        failure = await fail(fetch(connect(url, connect_timeout_s=TINY_S)))

    assert ("connect", True) == (failure.fault, failure.repeatable)


async def test_no_connection_is_free(serve: Serve, connect: Connect) -> None:
    """With all connections in use the next one waits and fails as `pool`, until one is free."""

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)

    server = await serve(handle)
    upstream = connect(server.url, max_connections=1, first_byte_timeout_s=TINY_S)
    async with upstream.stream("POST", PATH, b"{}"):
        failure = await fail(fetch(upstream))

        assert ("pool", True) == (failure.fault, failure.repeatable)
        assert 1 == len(server.calls)
    async with upstream.stream("POST", PATH, b"{}"):
        assert 2 == len(server.calls)


async def test_a_time_limit_is_not_waited_for_twice(connect: Connect) -> None:
    """A GET whose connecting took too long is not repeated."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        await fail(connect(url, connect_timeout_s=TINY_S).fetch("GET", "/x"))
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


async def test_failures_free_their_connection(serve: Serve, connect: Connect) -> None:
    """After a call that failed before or within its answer, its place is free again."""

    async def handle(call: Call) -> None:
        await call.read_body()
        if call.request_line.startswith(b"PUT"):
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
        if not call.request_line.startswith(b"GET"):
            call.cut()
        else:
            await call.answer(b"{}")

    upstream = connect((await serve(handle)).url, max_connections=1, first_byte_timeout_s=60.0)
    await fail(upstream.fetch("POST", "/x", b"{}"))
    await fail(upstream.fetch("PUT", "/x", b"{}"))

    assert b"{}" == await upstream.fetch("GET", "/x")


@pytest.mark.parametrize("ask", [fetch, read_events])
@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Ty"])
async def test_closed_before_headers(serve: Serve, connect: Connect, ask: Any, part: bytes) -> None:
    """A server that takes the request and hangs up may have run it: not repeatable, sent once."""

    async def handle(call: Call) -> None:
        await call.read_body()
        await call.send(part)
        call.cut()

    server = await serve(handle)
    failure = await fail(ask(connect(server.url)))

    assert ("closed_before_headers", False) == (failure.fault, failure.repeatable)
    assert 1 == len(server.calls)


async def test_a_get_on_a_fresh_connection_is_sent_once(serve: Serve, connect: Connect) -> None:
    """No layer below repeats a request by itself, idempotent or not."""

    async def handle(call: Call) -> None:
        call.cut()

    server = await serve(handle)
    failure = await fail(connect(server.url).fetch("GET", "/v1/models"))

    assert ("closed_before_headers", False) == (failure.fault, failure.repeatable)
    assert 1 == len(server.calls)


async def test_closed_while_writing(serve: Serve, connect: Connect) -> None:
    """A server that hangs up during the upload is `write`."""

    async def handle(call: Call) -> None:
        call.reset()

    failure = await fail(
        connect((await serve(handle)).url).fetch("POST", PATH, b"x" * (32 * 1024 * 1024))
    )

    assert ("write", False) == (failure.fault, failure.repeatable)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("sent", [[], [EVENT], [EVENT, b"data: half"]])
async def test_closed_mid_stream(
    serve: Serve, connect: Connect, sent: list[bytes], reset: bool
) -> None:
    """A stream that ends without its last chunk is `closed_mid_stream`, after what had come."""
    has_read = asyncio.Event()

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(*sent)
        if sent:
            await has_read.wait()
        if reset:
            call.reset()
        else:
            call.cut()

    got: list[Event] = []

    def take(events: list[Event]) -> None:
        got.extend(events)
        has_read.set()

    async def read(upstream: Upstream) -> None:
        async with upstream.stream("POST", PATH, b"{}") as stream:
            await stream.each(take)

    failure = await fail(read(connect((await serve(handle)).url)))

    assert ("closed_mid_stream", False) == (failure.fault, failure.repeatable)
    assert ([Event("", b'{"choices":[]}')] if sent else []) == got


async def test_a_slow_reader_loses_nothing_to_the_cut(serve: Serve, connect: Connect) -> None:
    """What had arrived before the connection was lost is read before the fault is raised."""
    entered = asyncio.Event()
    left = asyncio.Event()

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await entered.wait()
        await call.send_chunks(b"data: 2\n\n", b"data: 3\n\n")
        call.cut()
        left.set()

    got: list[Event] = []

    async def read(upstream: Upstream) -> None:
        async with upstream.stream("POST", PATH, b"{}") as stream:
            entered.set()
            await left.wait()
            for _ in range(100):
                await asyncio.sleep(0)
            await stream.each(got.extend)

    failure = await fail(read(connect((await serve(handle)).url)))

    assert "closed_mid_stream" == failure.fault
    assert [b'{"choices":[]}', b"2", b"3"] == [event.data for event in got]


async def test_a_body_shorter_than_said(serve: Serve, connect: Connect) -> None:
    """A body cut before its length is `closed_mid_stream` for whole answers too."""

    async def handle(call: Call) -> None:
        await call.read_body()
        await call.send(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data":[]}')
        call.cut()

    failure = await fail(fetch(connect((await serve(handle)).url)))

    assert "closed_mid_stream" == failure.fault


@pytest.mark.parametrize("ask", [fetch, read_events])
@pytest.mark.parametrize(
    "head",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_malformed_http(serve: Serve, connect: Connect, ask: Any, head: bytes) -> None:
    """A status line, headers or chunks that are no HTTP are `bad_http`, and are not quoted."""

    async def handle(call: Call) -> None:
        await call.read_body()
        await call.send(head)
        call.cut()

    failure = await fail(ask(connect((await serve(handle)).url)))

    assert ("bad_http", False) == (failure.fault, failure.repeatable)
    assert "secret" not in failure.message


@pytest.mark.parametrize("ask", [fetch, read_events])
@pytest.mark.parametrize("status", [b"099", b"101", b"600", b"999"])
async def test_a_status_that_cannot_be_an_answer(
    serve: Serve, connect: Connect, ask: Any, status: bytes
) -> None:
    """One that HTTP does not have, and a change of protocol, are `bad_http`, too."""

    async def handle(call: Call) -> None:
        await call.read_body()
        upgrade = b"Connection: Upgrade\r\nUpgrade: x\r\n" if status == b"101" else b""
        await call.send(b"HTTP/1.1 %b Odd\r\n%bContent-Length: 2\r\n\r\n{}" % (status, upgrade))
        await call.wait_for_hang_up()

    failure = await fail(ask(connect((await serve(handle)).url)))

    assert ("bad_http", False) == (failure.fault, failure.repeatable)


async def test_broken_chunks_mid_stream(serve: Serve, connect: Connect) -> None:
    """Broken chunk framing after good events ends the stream as `bad_http`, at once."""
    has_read = asyncio.Event()

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await has_read.wait()
        await call.send(b"zzz\r\nnot a chunk\r\n")
        await call.wait_for_hang_up()

    async def read(upstream: Upstream) -> None:
        async with upstream.stream("POST", PATH, b"{}") as stream:
            await stream.each(lambda _: has_read.set())

    failure = await fail(read(connect((await serve(handle)).url)))

    assert "bad_http" == failure.fault


# Time limits


@pytest.mark.parametrize("ask", [fetch, read_events])
@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
async def test_nothing_comes(serve: Serve, connect: Connect, ask: Any, head: bytes) -> None:
    """The first-byte limit ends the wait for the body's first byte, with headers or without."""

    async def handle(call: Call) -> None:
        await call.read_body()
        await call.send(head)
        await call.wait_for_hang_up()

    server = await serve(handle)
    failure = await fail(ask(connect(server.url, first_byte_timeout_s=TINY_S)))

    assert ("first_byte_timeout", False) == (failure.fault, failure.repeatable)
    await server.client_left.wait()


@pytest.mark.parametrize("ask", [fetch, read_events])
async def test_nothing_more_comes(serve: Serve, connect: Connect, ask: Any) -> None:
    """The silence limit ends the wait for the next byte, and the connection."""

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await call.wait_for_hang_up()

    server = await serve(handle)
    failure = await fail(ask(connect(server.url, silence_timeout_s=TINY_S)))

    assert ("silence_timeout", False) == (failure.fault, failure.repeatable)
    await server.client_left.wait()


async def test_every_byte_ends_the_silence(serve: Serve, connect: Connect) -> None:
    """A stream longer than the silence limit is fine while its gaps are shorter."""
    count = 12

    async def handle(call: Call) -> None:
        await call.start_events()
        for _ in range(count):
            await call.send_chunks(EVENT)
            await asyncio.sleep(TINY_S)
        await call.finish()

    upstream = connect((await serve(handle)).url, silence_timeout_s=10 * TINY_S)

    assert count == len(await read_events(upstream))


@pytest.mark.parametrize("first_byte_s", [None, 600.0])
async def test_the_limit_for_gaps_is_not_for_what_comes_before(
    serve: Serve, connect: Connect, first_byte_s: float | None
) -> None:
    """A head and a first byte that come late are fine, and the gap behind them is still limited."""
    has_begun = asyncio.Event()

    async def handle(call: Call) -> None:
        await call.read_body()
        await asyncio.sleep(3 * TINY_S)
        await call.start_events()
        await asyncio.sleep(3 * TINY_S)
        has_begun.set()
        await call.send_chunks(EVENT)
        await call.wait_for_hang_up()

    server = await serve(handle)
    upstream = connect(server.url, first_byte_timeout_s=first_byte_s, silence_timeout_s=TINY_S)
    failure = await fail(read_events(upstream))

    assert has_begun.is_set()
    assert "silence_timeout" == failure.fault


async def test_the_limit_for_the_first_byte_is_not_for_gaps(serve: Serve, connect: Connect) -> None:
    """A gap in the answer may be longer than the first byte may take."""

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await asyncio.sleep(12 * TINY_S)
        await call.send_chunks(DONE)
        await call.finish()

    url = (await serve(handle)).url
    upstream = connect(url, first_byte_timeout_s=10 * TINY_S, silence_timeout_s=600.0)

    assert 2 == len(await read_events(upstream))


async def test_silence_counts_only_while_somebody_waits(serve: Serve, connect: Connect) -> None:
    """A reader that is itself slow is not cut off for it."""
    may_go_on = asyncio.Event()

    async def handle(call: Call) -> None:
        await call.start_events()
        await call.send_chunks(EVENT)
        await may_go_on.wait()
        await call.send_chunks(DONE)
        await call.finish()

    upstream = connect((await serve(handle)).url, silence_timeout_s=TINY_S)
    got: list[Event] = []

    async def wait() -> None:
        await asyncio.sleep(4 * TINY_S)
        may_go_on.set()

    def take(events: list[Event]) -> Awaitable[None] | None:
        got.extend(events)
        return None if may_go_on.is_set() else wait()

    async with upstream.stream("POST", PATH, b"{}") as stream:
        await stream.each(take)

    assert [Event("", b'{"choices":[]}'), Event("", b"[DONE]")] == got


async def test_the_limit_of_a_whole_call(serve: Serve, connect: Connect) -> None:
    """A limit for the whole call ends an answer that keeps coming, and replaces the others."""

    async def handle(call: Call) -> None:
        await call.start_events()
        while True:
            await call.send_chunks(b" ")
            await asyncio.sleep(TINY_S / 10)

    server = await serve(handle)
    upstream = connect(server.url, first_byte_timeout_s=TINY_S / 100)
    failure = await fail(upstream.fetch("GET", "/x", timeout_s=2 * TINY_S))

    assert ("first_byte_timeout", False) == (failure.fault, failure.repeatable)
    assert 1 == len(server.calls)
    await server.client_left.wait()

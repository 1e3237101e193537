"""The process: what it says, how it ends, and what it refuses before the application sees it."""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.observability import journal
from gateway.server.addresses import leads_to
from gateway.server.listen import ListenProblem, bind
from gateway.server.process import serve
from gateway.settings.schema import ListenSettings, Settings, UpstreamSettings

PATIENCE_S = 20.0


class Child:
    """A server process, and what it has said on standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.port = 0

    async def until_said(self, words: str) -> str:
        """Read standard error up to the line that has `words`."""
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.lines.append(line)
            if words in line:
                return line
        raise AssertionError(f"the child ended without saying {words!r}: {self.lines}")

    async def ended(self) -> int:
        """Read the rest of standard error and return the exit code."""
        assert self.process.stderr is not None
        self.lines += (await self.process.stderr.read()).decode().splitlines(keepends=True)
        return await self.process.wait()

    @property
    def said(self) -> str:
        """Everything said so far."""
        return "".join(self.lines)


@asynccontextmanager
async def running(*settings: str) -> AsyncIterator[Child]:
    """Run a child until it listens, and end it in the end, come what may."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "conformance.tests.gateway.server.child",
        *settings,
        stderr=asyncio.subprocess.PIPE,
    )
    child = Child(process)
    try:
        async with asyncio.timeout(PATIENCE_S):
            line = await child.until_said("listening on")
            child.port = int(line.rsplit(":", 1)[1])
            yield child
    finally:
        if process.returncode is None:
            process.kill()
        await child.ended()


class Connection:
    """One raw connection, so that nothing between hides what is on the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, text: str) -> None:
        """Write a text as it is."""
        self.writer.write(text.encode())

    async def until(self, text: str) -> str:
        """Read up to `text` and with it."""
        return (await self.reader.readuntil(text.encode())).decode()

    async def rest(self) -> str:
        """Read to the end of the connection."""
        return (await self.reader.read()).decode()


@asynccontextmanager
async def connected(child: Child) -> AsyncIterator[Connection]:
    """Connect, and close in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", child.port, limit=2**24)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def ask(child: Child, head: str) -> str:
    """Send one request on a connection of its own, and return all of the answer."""
    async with connected(child) as connection:
        connection.send(f"{head}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return await connection.rest()


def chunk(text: str) -> str:
    return f"{len(text):x}\r\n{text}\r\n"


UPLOAD = "POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_a_running_stream_finish(number: signal.Signals) -> None:
    """After the signal nothing new is accepted, the stream gets its regular end, the code is 0."""
    async with running() as child, connected(child) as connection:
        connection.send(UPLOAD + chunk("one\n"))
        await connection.until("one\n")
        child.process.send_signal(number)
        await child.until_said("draining")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", child.port)
        connection.send(chunk("two\n") + chunk("three\n") + "0\r\n\r\n")
        rest = await connection.rest()

        assert "two\n" in rest
        assert "three\n" in rest
        assert rest.endswith("0\r\n\r\n")
        assert 0 == await child.ended()
        assert "farewell" in child.said
        assert "Traceback" not in child.said


async def test_a_signal_ends_an_idle_process_with_code_0() -> None:
    """Nothing runs: the application hears of the end, and an idle connection is closed."""
    async with running() as child, connected(child) as connection:
        connection.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await connection.until("0\r\n\r\n")
        child.process.send_signal(signal.SIGTERM)

        assert "" == await connection.rest()
        assert 0 == await child.ended()
        assert "farewell" in child.said


async def test_the_second_signal_ends_at_once() -> None:
    """A drain of an hour is over with the second signal; the cut answer has no regular end."""
    async with running("limits.drain_s=3600") as child, connected(child) as connection:
        connection.send(UPLOAD + chunk("one\n"))
        await connection.until("one\n")
        child.process.send_signal(signal.SIGTERM)
        await child.until_said("draining")
        child.process.send_signal(signal.SIGTERM)

        assert "0\r\n\r\n" not in await connection.rest()
        assert 0 == await child.ended()
        assert "cancelling" in child.said
        assert "Traceback" not in child.said


async def test_what_outlasts_the_drain_may_send_a_last_line() -> None:
    """A cut answer carries what its handler sends in the end, and no end that looks regular."""
    async with running("limits.drain_s=0") as child, connected(child) as connection:
        connection.send("POST /last-words HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        await connection.until("first\n")
        child.process.send_signal(signal.SIGTERM)
        rest = await connection.rest()

        assert "last\n" in rest
        assert "0\r\n\r\n" not in rest
        assert 0 == await child.ended()
        assert "Traceback" not in child.said


async def test_a_cut_request_without_an_answer_gets_a_503() -> None:
    """The client learns why, in Ollama's shape."""
    async with running("limits.drain_s=0") as child, connected(child) as connection:
        connection.send("POST /stuck HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        await child.until_said("stuck")
        child.process.send_signal(signal.SIGTERM)
        answer = await connection.rest()

        assert answer.startswith("HTTP/1.1 503 ")
        assert answer.endswith('{"error":"the gateway is shutting down"}')
        assert 0 == await child.ended()
        assert "Traceback" not in child.said


async def test_a_request_that_ignores_its_end_holds_nothing_up() -> None:
    """A handler that waits on when it is cancelled is left behind."""
    async with running("limits.drain_s=0") as child, connected(child) as connection:
        connection.send("POST /stubborn HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        await connection.until("first\n")
        child.process.send_signal(signal.SIGTERM)

        assert "0\r\n\r\n" not in await connection.rest()
        assert 0 == await child.ended()


async def test_a_port_that_is_taken_is_said_in_one_sentence() -> None:
    """Exit code 1, and the likely owner is named."""
    async with running() as child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "conformance.tests.gateway.server.child",
            f"listen.port={child.port}",
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()

        assert 1 == process.returncode
        assert (
            f"olgate: port {child.port} on 127.0.0.1 is taken, most likely by a running Ollama "
            "(or another olgate): stop it, or choose another port with --port\n"
        ) == said.decode()


async def test_an_application_that_does_not_start_ends_with_code_1() -> None:
    """Nothing is said to be listening, and the socket is given back."""

    async def failing(_scope: object, receive: object, send: object) -> None:
        raise RuntimeError("no start")

    listener = bind(ListenSettings(port=0))
    port = listener.getsockname()[1]

    assert 1 == await serve(Settings(), lambda _: failing, [listener])
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_an_address_that_is_not_ours_is_said_so() -> None:
    """The sentence names the settings that may hold it."""
    with pytest.raises(
        ListenProblem, match=r"port 0 on 192\.0\.2\.1 is not an address of this machine"
    ):
        bind(ListenSettings(host="192.0.2.1", port=0))


@pytest.mark.parametrize("host", ["", "::", "0.0.0.0"])
def test_every_interface_is_reached_by_both_families(host: str) -> None:
    """Go's servers listen on both for each of these, where the machine has both."""
    with bind(ListenSettings(host=host, port=0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            pass
        if socket.has_dualstack_ipv6():
            with socket.create_connection(("::1", port)):
                pass


async def test_answers_carry_a_date_and_no_server_name() -> None:
    """The headers are Ollama's (docs/facts/ollama.md#headers)."""
    async with running() as child:
        head = (await ask(child, "GET / HTTP/1.1")).partition("\r\n\r\n")[0].lower()

        assert "\r\ndate: " in head
        assert "\r\nserver: " not in head


async def test_an_endless_head_is_refused() -> None:
    """A head over the limit gets a 431 and the end of the connection."""
    async with running() as child, connected(child) as connection:
        connection.send("GET / HTTP/1.1\r\nX-Long: ")
        for _ in range(20):
            connection.send("x" * 65536)

        assert (await connection.rest()).startswith("HTTP/1.1 431 ")


async def test_long_heads_and_bodies_below_the_limit_pass() -> None:
    """The limit counts one head at a time: neither bodies nor earlier requests add up."""
    async with running() as child, connected(child) as connection:
        for _ in range(3):
            body = "x" * 500_000
            connection.send(
                f"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: {'x' * 300_000}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            )
            answer = await connection.until("0\r\n\r\n")

            assert answer.startswith("HTTP/1.1 200 ")
            assert len(body) == answer.partition("\r\n\r\n")[2].count("x")


async def test_an_offer_of_http2_is_ignored() -> None:
    """Java's client offers h2c with its first request; the connection goes on as it was."""
    async with running() as child, connected(child) as connection:
        connection.send(
            "POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            "Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
            "Content-Length: 8\r\n\r\nhell"
        )
        await connection.until("hell")
        connection.send("o us")

        assert "o us" in await connection.until("0\r\n\r\n")
        connection.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert "here" in await connection.until("here")
        child.process.send_signal(signal.SIGTERM)
        assert 0 == await child.ended()
        assert "pgrade" not in child.said


async def test_a_websocket_is_refused_with_a_sentence() -> None:
    """The refusal is an ordinary answer, so that a client can fall back to plain HTTP."""
    async with running() as child, connected(child) as connection:
        connection.send(
            "GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = await connection.until("plain HTTP request")

        assert answer.startswith("HTTP/1.1 501 ")


async def test_an_exception_is_a_500_and_a_traceback_in_the_journal() -> None:
    """An internal error is never silent."""
    async with running() as child:
        answer = await ask(child, "GET /broken HTTP/1.1")
        child.process.send_signal(signal.SIGTERM)

        assert answer.startswith("HTTP/1.1 500 ")
        assert 0 == await child.ended()
        assert "outcome=failed" in child.said
        assert "RuntimeError" in child.said


async def test_the_lengths_of_answers_to_head_are_those_of_get() -> None:
    """No body, and the length that GET would have (docs/facts/ollama.md#head)."""
    async with running() as child:
        unknown = await ask(child, "HEAD /nosuch HTTP/1.1")
        wrong = await ask(child, "HEAD /echo HTTP/1.1")

        assert unknown.startswith("HTTP/1.1 404 ")
        assert "\r\ncontent-length: 18\r\n" in unknown
        assert unknown.endswith("\r\n\r\n")
        assert wrong.startswith("HTTP/1.1 405 ")
        assert "\r\ncontent-length: 22\r\n" in wrong
        assert "\r\nallow: POST\r\n" in wrong
        assert wrong.endswith("\r\n\r\n")


@pytest.mark.parametrize(
    ("settings", "is_warned"),
    [
        (("listen.host=0.0.0.0",), True),
        (("listen.host=",), True),
        (("listen.host=0.0.0.0", "log.level=error"), True),
        (("listen.host=0.0.0.0", "listen.keys=k"), False),
        (("listen.host=localhost",), False),
        ((), False),
    ],
)
async def test_an_open_gateway_is_warned_of(settings: tuple[str, ...], is_warned: bool) -> None:
    """Beyond this machine and without a key, on whatever level the journal is."""
    async with running(*settings) as child:
        child.process.send_signal(signal.SIGTERM)
        assert 0 == await child.ended()

    assert is_warned == ("WARNING: everyone who can reach" in child.said)
    assert is_warned == ("OLGATE_LISTEN_KEYS" in child.said)


async def test_the_number_of_headers_is_limited() -> None:
    """One more than may be is a 431, one less an answer."""
    async with running("limits.headers=5") as child:
        few = await ask(child, "GET / HTTP/1.1" + "\r\nX-A: 1" * 3)
        many = await ask(child, "GET / HTTP/1.1" + "\r\nX-A: 1" * 4)

        passed = await ask(child, "GET /v1/models HTTP/1.1" + "\r\nX-A: 1" * 4)

    assert few.startswith("HTTP/1.1 200 ")
    assert many.startswith("HTTP/1.1 431 ")
    assert many.endswith("\r\n\r\n431 Request Header Fields Too Large")
    assert passed.startswith("HTTP/1.1 431 ")
    assert '"message":"the head has more than 5 headers"' in passed


async def test_the_size_of_a_head_can_be_set() -> None:
    """The request line counts, too."""
    async with running("limits.header_bytes=1000") as child:
        assert (await ask(child, f"GET /{'x' * 1000} HTTP/1.1")).startswith("HTTP/1.1 431 ")
        assert (await ask(child, "GET / HTTP/1.1")).startswith("HTTP/1.1 200 ")


async def test_a_head_that_never_ends_is_given_up() -> None:
    """With a status where something came, in the words of whoever asks; else without a word."""
    async with (
        running("limits.header_s=0.2") as child,
        connected(child) as begun,
        connected(child) as silent,
    ):
        begun.send("GET /api/tags HTTP/1.1\r\nHost: 127")
        answer = await begun.rest()

        assert answer.startswith("HTTP/1.1 408 ")
        assert '{"error":"the request arrived too slowly: ' in answer
        assert "" == await silent.rest()


async def test_a_body_that_stops_coming_is_given_up() -> None:
    """What waits for it ends; one whose body comes is left alone, however long it takes."""
    async with running("limits.body_s=0.2") as child, connected(child) as connection:
        connection.send("POST /stuck HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nhalf")
        answer = await connection.rest()

        assert answer.startswith("HTTP/1.1 408 ")
        assert "at least 1024 bytes of the body within 0.2 s" in answer
    async with running("limits.body_s=0.5") as child, connected(child) as connection:
        connection.send(UPLOAD)
        for _ in range(7):
            await asyncio.sleep(0.1)
            connection.send(chunk("x" * 2000))
        connection.send("0\r\n\r\n")

        assert "0\r\n\r\n" in await connection.until("0\r\n\r\n")


async def test_limits_on_heads_do_not_touch_answers() -> None:
    """A connection may be idle between requests, and an answer may take as long as it takes."""
    async with (
        running("limits.header_s=0.2", "limits.body_s=0.2") as child,
        connected(child) as connection,
        connected(child) as other,
    ):
        connection.send("POST /last-words HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
        await connection.until("first\n")
        for _ in range(2):
            other.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert "here" in await other.until("0\r\n\r\n")
            await asyncio.sleep(0.3)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.rest()


@pytest.mark.parametrize(
    ("host", "url", "is_own"),
    [
        ("127.0.0.1", "http://127.0.0.1:4321", True),
        ("127.0.0.1", "http://localhost:4321", True),
        ("127.0.0.1", "http://lm.localhost:4321", True),
        ("localhost", "http://127.0.0.1:4321", True),
        ("::1", "http://[::1]:4321", True),
        ("0.0.0.0", "http://127.0.0.1:4321", True),
        ("", "http://[::1]:4321", True),
        ("::", "http://localhost:4321/path", True),
        ("127.0.0.1", "http://127.0.0.1:4322", False),
        ("127.0.0.1", "http://[::1]:4321", False),
        ("0.0.0.0", "http://192.0.2.1:4321", False),
        ("0.0.0.0", "http://studio.example:4321", False),
        ("127.0.0.1", "https://127.0.0.1", False),
    ],
)
def test_the_own_address_is_recognised_without_asking(host: str, url: str, is_own: bool) -> None:
    """Names of other machines are not looked up; 192.0.2.1 is an address of nobody."""
    assert is_own == leads_to(url, host, 4321)


async def test_a_gateway_that_would_call_itself_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 1 and one sentence, before the port is bound or looked at."""
    said: list[str] = []
    monkeypatch.setattr(journal, "say", lambda text, _level: said.append(text))
    settings = Settings(
        listen=ListenSettings(port=1234), upstream=UpstreamSettings(url="http://localhost:1234")
    )
    assert 1 == await serve(settings, lambda _: pytest.fail("an application was made"))
    assert [
        "olgate: the gateway would call itself: http://localhost:1234 (upstream.url) is LM "
        "Studio's address, and port 1234 is where the gateway is to listen; choose another port "
        "with --port, or set --upstream (upstream.url, LMSTUDIO_URL) to where LM Studio runs"
    ] == said

"""Requests that the server refuses by itself, or that its end cuts: one true line for each."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from conformance.soak.gateway import Gateway, run_gateway
from conformance.standin import StandIn
from conformance.standin.script import Match, Rule
from conformance.tests.gateway.support import CHAT, chat, speak_to

SETTINGS = {
    "OLGATE_LOG_FORMAT": "json",
    "OLGATE_LIMITS_HEADER_BYTES": "1024",
    "OLGATE_LIMITS_HEADER_S": "0.4",
    "OLGATE_LIMITS_BODY_S": "0.4",
    "OLGATE_LIMITS_DRAIN_S": "0.2",
}

WHOLE = b"GET /api/version HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: mine\r\n\r\n"
UPLOAD = b"POST /api/chat?key=x HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: up\r\n"


@asynccontextmanager
async def running() -> AsyncIterator[Gateway]:
    """Run a gateway in front of a stand-in."""
    async with StandIn() as standin, run_gateway(standin.url, SETTINGS) as gateway:
        yield gateway


async def ask(gateway: Gateway, data: bytes) -> str:
    """Send bytes, and return everything that comes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    try:
        writer.write(data)
        return (await asyncio.wait_for(reader.read(), 20)).decode()
    finally:
        writer.close()


def lines_of(gateway: Gateway) -> list[dict[str, Any]]:
    """Return the lines of requests; every line of the log is JSON."""
    lines = [json.loads(line) for line in gateway.lines]
    return [line for line in lines if line["event"] == "request"]


async def counted(gateway: Gateway) -> dict[tuple[str, str], float]:
    """Return how many requests were counted, by route and status."""
    async with speak_to(gateway.url) as client:
        text = (await client.get("/metrics")).text
    pattern = r'^olgate_requests_total\{method="\w+",route="([^"]+)",status="(\d+)"\} (\S+)'
    return {
        (route, status): float(number)
        for route, status, number in re.findall(pattern, text, re.MULTILINE)
    }


@pytest.mark.parametrize(
    ("data", "status", "method", "path", "route"),
    [
        (b"\0\0\0\0\r\n\r\n", 400, "-", "-", "other"),
        (
            b"GET /api/tags?a=secret HTTP/1.1\r\nbad header\r\n\r\n",
            400,
            "GET",
            "/api/tags",
            "other",
        ),
        (b"GET /api/tags HTTP/1.1\r\n" + b"x: a\r\n" * 300, 431, "GET", "/api/tags", "other"),
        (b"GET /api/tags HTTP/1.1\r\nHost: a", 408, "GET", "/api/tags", "other"),
        (UPLOAD + b"Content-Length: 9\r\n\r\n{", 408, "POST", "/api/chat", "/api/chat"),
        (
            UPLOAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            400,
            "POST",
            "/api/chat",
            "/api/chat",
        ),
    ],
    ids=["no HTTP", "broken head", "large head", "slow head", "slow body", "broken body"],
)
async def test_a_refused_request_has_one_true_line(
    data: bytes, status: int, method: str, path: str, route: str
) -> None:
    """With its status, its id, which the answer has as well, and one count."""
    async with running() as gateway:
        answer = await ask(gateway, data)
        assert answer.startswith(f"HTTP/1.1 {status} ")
        (identifier,) = re.findall(r"\r\nx-request-id: (\S+)\r\n", answer)
        numbers = await counted(gateway)
        await gateway.until_said('"path": "/metrics"')
        line, _ = lines_of(gateway)

    assert (method, path, status) == (line["method"], line["path"], line["status"])
    assert identifier == line["id"]
    assert "127.0.0.1" == line["client"]
    assert "outcome" not in line
    assert ("up" == identifier) == data.startswith(UPLOAD)
    assert {(route, str(status)): 1.0} == numbers
    # The loop's timer may be a few milliseconds early by the other clock.
    assert status != 408 or line["took_s"] > 0.2
    assert "secret" not in str(line)


async def test_a_refused_request_behind_another_has_its_own_line() -> None:
    """The answer to the first one comes first, and each has its own id."""
    async with running() as gateway:
        answer = await ask(gateway, WHOLE + b"GET / HTTP/1.1\r\n" + b"x: a\r\n" * 300)
        numbers = await counted(gateway)
        await gateway.until_said('"path": "/metrics"')
        found = {line["path"]: line for line in lines_of(gateway)}

    ids = ["mine", found["/"]["id"]]
    assert ids == re.findall(r"\r\nx-request-id: (\S+)\r\n", answer)
    assert (200, 431) == (found["/api/version"]["status"], found["/"]["status"])
    assert {("/api/version", "200"): 1.0, ("other", "431"): 1.0} == numbers


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
@pytest.mark.parametrize("streams", [True, False], ids=["a stream", "no answer yet"])
async def test_what_a_shutdown_cuts_has_one_true_line(path: str, streams: bool) -> None:
    """Its fault is the shutdown; without an answer yet it is a 503 with an id."""
    async with StandIn() as standin:
        held = Rule(match=Match(path=CHAT), hold="rest", after=3)
        if not streams:
            held = Rule(match=Match(path=CHAT), hold="prompt")
        standin.app.script.add([held])
        async with (
            run_gateway(standin.url, SETTINGS) as gateway,
            speak_to(gateway.url) as client,
        ):
            body, headers = chat(stream=streams), {"x-request-id": "mine"}
            asking = asyncio.create_task(client.post(path, json=body, headers=headers))
            assert await standin.log.wait_until(lambda: bool(standin.log.select(CHAT)))
            if streams:
                await until_streaming(client)
            gateway.process.send_signal(signal.SIGTERM)
            answer = await asking
            assert 0 == await gateway.process.wait()
            await gateway.until_said(f'"path": "{path}"')
            (line,) = [line for line in lines_of(gateway) if line["path"] != "/metrics"]

    assert answer.status_code == line["status"] == (200 if streams else 503)
    assert "mine" == line["id"] == answer.headers["x-request-id"]
    assert "shutdown" == line["fault"]


async def until_streaming(client: httpx.AsyncClient) -> None:
    """Wait until a streamed answer has begun."""
    async with asyncio.timeout(20):
        while "\nolgate_running_streams 1.0" not in (await client.get("/metrics")).text:
            continue

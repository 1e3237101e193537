"""How a gateway process ends in the midst of answers: signals, last lines, the exit code."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from conformance.soak.gateway import Gateway, run_gateway
from conformance.standin import StandIn
from conformance.standin.script import Match, Rule
from conformance.tests.gateway.support import CHAT, chat, speak_to

GOING_DOWN = "the gateway is shutting down"


@asynccontextmanager
async def running(
    standin: StandIn, drain_s: float
) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    """Run a gateway, and lend a client for it."""
    settings = {"OLGATE_LIMITS_DRAIN_S": str(drain_s), "OLGATE_STORE_PATH": ":memory:"}
    async with (
        run_gateway(standin.url, settings) as gateway,
        speak_to(gateway.url) as client,
    ):
        yield gateway, client


async def read_with_signals(
    gateway: Gateway, client: httpx.AsyncClient, path: str, signals: int
) -> list[str]:
    """Read a stream that LM Studio never ends; signal after its first line."""
    lines: list[str] = []
    async with client.stream("POST", path, json=chat(stream=True)) as answer:
        async for line in answer.aiter_lines():
            if not lines:
                for _ in range(signals):
                    gateway.process.send_signal(signal.SIGTERM)
                    await gateway.until_said("draining")
            lines.append(line)
    return [line for line in lines if line]


@pytest.mark.parametrize(("drain_s", "signals"), [(0.2, 1), (3600, 2)])
@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_a_stream_that_outlasts_the_drain_is_told_so(
    path: str, drain_s: float, signals: int
) -> None:
    """Its last line is an error, LM Studio is left, and the exit code is 0."""
    async with StandIn() as standin:
        standin.app.script.add([Rule(match=Match(path=CHAT), hold="rest", after=3)])
        async with running(standin, drain_s) as (gateway, client):
            lines = await read_with_signals(gateway, client, path, signals)
            assert 0 == await gateway.process.wait()
        last = json.loads(lines[-1].removeprefix("data: "))["error"]
        assert GOING_DOWN == (last if path == "/api/chat" else last["message"])
        assert not any('"done":true' in line or "[DONE]" in line for line in lines)
        assert await standin.log.wait_until(lambda: any(one.left for one in standin.seen))


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_a_stream_that_ends_within_the_drain_is_whole(path: str) -> None:
    """Nothing new is accepted meanwhile."""
    async with StandIn() as standin:
        standin.app.script.add([Rule(match=Match(path=CHAT), hold="rest", after=3)])
        async with running(standin, 60) as (gateway, client):
            reading = asyncio.create_task(read_with_signals(gateway, client, path, 1))
            await gateway.until_said("draining")
            with pytest.raises(httpx.ConnectError):
                await speak_to(gateway.url).get("/")
            standin.app.script.release("rest")
            lines = await reading
            assert 0 == await gateway.process.wait()
        assert '"done":true' in lines[-1] or "data: [DONE]" == lines[-1]
        assert "error" not in "".join(lines)


@pytest.mark.parametrize("path", ["/api/chat", CHAT, "/v1/messages"])
async def test_a_request_without_an_answer_yet_gets_a_503(path: str) -> None:
    """In the caller's words."""
    async with StandIn() as standin:
        standin.app.script.add([Rule(match=Match(path="/v1/*"), hold="prompt")])
        async with running(standin, 0.2) as (gateway, client):
            asking = asyncio.create_task(client.post(path, json=chat()))
            await standin.log.wait_until(lambda: any(one.method == "POST" for one in standin.seen))
            gateway.process.send_signal(signal.SIGTERM)
            answer = await asking
            assert 0 == await gateway.process.wait()
        error = answer.json()["error"]
        assert 503 == answer.status_code
        assert GOING_DOWN == (error if path == "/api/chat" else error["message"])

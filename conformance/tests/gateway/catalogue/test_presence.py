"""What the log says of LM Studio at the start, when it goes, and when it comes back."""

import asyncio
import io
import json
from typing import Any

import pytest

from conformance.standin import StandIn
from conformance.standin.options import Options
from conformance.tests.gateway.support import chat, open_gateway, written
from gateway.catalogue import presence
from gateway.catalogue.advice import GET_A_MODEL, renew_token, set_token, start_it
from gateway.settings.host_keys import UPSTREAM_KEYS

PATIENCE_S = 20.0
TELLING = (
    "LM Studio answers",
    "LM Studio answers again",
    "LM Studio cannot be used",
    "LM Studio has no models",
    "the upstream is not LM Studio",
)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(presence, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(presence, "SOON_S", 0.0)


def told(log: io.StringIO) -> list[dict[str, Any]]:
    """Return what the log says of the host, without the fields that every line has."""
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("timestamp", "level")}
        for line in lines
        if line["event"] in TELLING
    ]


async def until_told(log: io.StringIO, lines: int) -> list[dict[str, Any]]:
    """Wait until the log has so many lines of the host."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = told(log)
            if len(found) >= lines:
                return found
            await asyncio.sleep(0.005)


def up(standin: StandIn, event: str = "LM Studio answers", **more: Any) -> dict[str, Any]:
    """Return the line for a stand-in that answers."""
    fields = {"server": "lmstudio", "dialect": "v1", "models": 8, "loaded": 2}
    return {"event": event, "url": standin.url, **fields, **more}


@pytest.mark.parametrize(("version", "dialect"), [("0.4", "v1"), ("0.3", "v0")])
async def test_the_start_says_what_is_there(version: Any, dialect: str) -> None:
    """Address, dialect and models, without a request of any client."""
    with written(format="json") as log:
        async with (
            StandIn(Options(host_version=version)) as standin,
            open_gateway(standin, tells_of_host=True),
        ):
            assert [up(standin, dialect=dialect)] == await until_told(log, 1)


async def test_a_host_that_goes_and_comes_is_told_once_each() -> None:
    """A request finds that it is gone; nobody has to ask for the gateway to see it back."""
    with written(format="json") as log:
        async with StandIn() as standin, open_gateway(standin, tells_of_host=True) as pair:
            await until_told(log, 1)
            await standin.stop()
            for _ in range(3):
                assert 503 == (await pair.post("/api/chat", chat())).status_code
            lines = await until_told(log, 2)
            assert "LM Studio cannot be used" == lines[1]["event"]
            assert lines[1]["reason"].startswith(f"can't connect to {standin.url}: ")
            assert start_it(UPSTREAM_KEYS) == lines[1]["do"]
            async with StandIn(port=standin.port):
                lines = await until_told(log, 3)
            assert up(standin, "LM Studio answers again") == lines[2]
            assert not any("id" in line for line in lines), "no line belongs to a request"
            await standin.start()


async def test_a_host_that_is_missing_at_the_start_is_told_and_awaited() -> None:
    """The gateway serves all the same."""
    with written(format="json") as log:
        standin = StandIn()
        await standin.start()
        await standin.stop()
        async with open_gateway(standin, tells_of_host=True) as pair:
            assert "LM Studio cannot be used" == (await until_told(log, 1))[0]["event"]
            assert 200 == (await pair.client.get("/api/version")).status_code
            async with StandIn(port=standin.port):
                assert up(standin) == (await until_told(log, 2))[1]


@pytest.mark.parametrize(
    ("token", "advice"),
    [
        pytest.param(None, set_token(UPSTREAM_KEYS), id="none"),
        pytest.param("old", renew_token(UPSTREAM_KEYS), id="old"),
    ],
)
async def test_a_wrong_token_is_told_with_the_next_step(token: str | None, advice: str) -> None:
    """It is the commonest reason after a missing server."""
    with written(format="json") as log:
        settings = {"upstream": {"token": token}} if token else {}
        async with (
            StandIn(Options(token="right")) as standin,
            open_gateway(standin, settings, tells_of_host=True),
        ):
            (line,) = await until_told(log, 1)
            assert ("LM Studio cannot be used", advice) == (line["event"], line["do"])
            assert "token" in line["reason"]
            assert "right" not in log.getvalue()


async def test_a_host_without_models_gets_a_hint() -> None:
    """Clients would show an empty list and no reason."""
    with written(format="json") as log:
        async with (
            StandIn(Options(models=())) as standin,
            open_gateway(standin, tells_of_host=True),
        ):
            lines = await until_told(log, 2)
            assert up(standin, models=0, loaded=0) == lines[0]
            assert ("LM Studio has no models", GET_A_MODEL) == (lines[1]["event"], lines[1]["do"])


async def test_the_start_does_not_wait_for_a_silent_host() -> None:
    """It is asked in the background, and the gateway answers meanwhile."""
    silent = {"match": {"path": "/api/v1/models"}, "answer": {"chunks": [], "end": "hang"}}
    with written(format="json"):
        async with StandIn() as standin:
            async with open_gateway(standin) as pair:
                pair.script(silent)
            async with open_gateway(standin, tells_of_host=True) as pair:
                assert 200 == (await pair.client.get("/api/version")).status_code
                await pair.until_asked("/api/v1/models")


async def test_a_host_that_is_there_is_not_polled() -> None:
    """LM Studio shows every request in its console, so an idle gateway stays quiet."""
    with written(format="json") as log:
        async with StandIn() as standin, open_gateway(standin, tells_of_host=True) as pair:
            await until_told(log, 1)
            pair.forget()
            await pair.let_pass("/api/version")
            assert [] == standin.seen

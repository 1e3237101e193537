"""Advice about a host with a table of its own names the settings of that table."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from conformance.runner.runner import make_gateway
from conformance.standin import Options, StandIn
from conformance.standin.script import Rule
from conformance.tests.gateway.support import chat, serve, speak_to
from gateway.cli.checks import Scene, run_checks
from gateway.server.listen import ListenProblem, refuse_own_upstream
from gateway.settings.host_keys import keys_of
from gateway.settings.schema import ListenSettings, Settings
from gateway.upstream.client import Upstream
from gateway.upstream.trust import TrustProblem

GONE = "http://127.0.0.1:9"
PAGE = "<!doctype html>\n<html><head><title>Router</title></head></html>"


def everything(text: str, status: int = 200, **headers: str) -> dict[str, Any]:
    """Return a rule for all paths but those that control the stand-in."""
    answer = {"status": status, "chunks": [[0, text]], "headers": headers or None}
    return {"match": {"path": "/[!_]*"}, "answer": answer}


async def said_of(url: str, **more: Any) -> str:
    """Return all that requests, `/health` and the doctor say of a host `den` at an address."""
    hosts = {"den": {"url": url, **more}}
    settings = msgspec.convert({"listen": {"port": 0}, "hosts": hosts}, Settings)
    async with serve(make_gateway(url, {"hosts": hosts})) as own, speak_to(own) as client:
        answers = [
            await client.post("/api/chat", json=chat()),
            await client.post("/v1/chat/completions", json=chat()),
            await client.get("/health"),
        ]
    findings = await run_checks(Scene(settings, None))
    return "\n".join(
        [answer.text for answer in answers] + [f"{one.found} {one.do}" for one in findings]
    )


def names_only(said: str, *keys: str) -> None:
    """Check that the named settings of the host are said, and none of another table."""
    for key in keys:
        assert f"hosts.den.{key}" in said
    for other in ("upstream.", "--upstream", "LMSTUDIO_URL", "LM_API_TOKEN"):
        assert other not in said, said


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(GONE, id="nobody"),
        pytest.param("http://nowhere.invalid:1234", id="no-name"),
    ],
)
async def test_a_host_that_cannot_be_reached(url: str) -> None:
    """Its address, wherever it is told."""
    names_only(await said_of(url), "url")


async def test_a_host_that_speaks_no_tls() -> None:
    """The scheme is a part of the address."""
    async with StandIn() as standin:
        names_only(await said_of(standin.url.replace("http:", "https:")), "url")


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(everything(PAGE, 404, **{"Content-Type": "text/html"}), id="page"),
        pytest.param(everything("", 302, Location="http://else.test/"), id="redirect"),
    ],
)
async def test_a_host_that_is_not_lm_studio(rule: Mapping[str, Any]) -> None:
    """What is wrong is the address."""
    async with StandIn() as standin:
        standin.app.script.add([msgspec.convert(dict(rule), Rule)])
        names_only(await said_of(standin.url), "url")


@pytest.mark.parametrize("token", [pytest.param(None, id="none"), pytest.param("old", id="old")])
async def test_a_host_that_wants_a_token(token: str | None) -> None:
    """Its own, or one for all hosts."""
    async with StandIn(Options(token="right")) as standin:
        names_only(await said_of(standin.url, **({"token": token} if token else {})), "token")


async def test_a_host_whose_connections_are_taken() -> None:
    """The limit is the one of its table."""
    settings = msgspec.convert(
        {"hosts": {"den": {"url": GONE, "max_connections": 1, "first_byte_timeout_s": 0.01}}},
        Settings,
    )
    async with StandIn() as standin:
        host = msgspec.structs.replace(settings.hosts["den"], url=standin.url)
        upstream = Upstream(host, keys=keys_of(settings, "den"))
        held = {"match": {"path": "/v1/models"}, "answer": {"chunks": [[60_000, "{}"]]}}
        standin.app.script.add([msgspec.convert(held, Rule)])
        holder = asyncio.create_task(upstream.probe("/v1/models"))
        await asyncio.sleep(0.005)
        with pytest.raises(Exception, match=r"raise hosts\.den\.max_connections"):
            await upstream.fetch("GET", "/v1/models")
        holder.cancel()
        await upstream.aclose()


def test_certificates_that_cannot_be_read() -> None:
    """Before anything is opened."""
    settings = msgspec.convert(
        {"hosts": {"den": {"url": GONE, "ca_file": "/nowhere/ca.pem"}}}, Settings
    )
    with pytest.raises(TrustProblem, match=r"^hosts\.den\.ca_file: the file "):
        Upstream(settings.hosts["den"], keys=keys_of(settings, "den"))


def test_the_gateways_own_address() -> None:
    """At the start, before it listens."""
    settings = msgspec.convert({"hosts": {"den": {"url": "http://127.0.0.1:4321"}}}, Settings)
    with pytest.raises(ListenProblem, match=r"or set hosts\.den\.url to where") as told:
        refuse_own_upstream(
            ListenSettings(port=4321), "http://127.0.0.1:4321", keys_of(settings, "den")
        )
    names_only(str(told.value), "url")

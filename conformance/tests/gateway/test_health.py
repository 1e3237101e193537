"""`/health`: whether LM Studio answers, asked anew for each look."""

import pytest

from conformance.standin import StandIn
from conformance.tests.gateway.support import COLD, Pair, open_gateway, open_pair


@pytest.mark.parametrize(
    ("version", "server", "dialect", "loaded"),
    [("0.4", "lmstudio", "v1", 2), ("0.3", "lmstudio", "v0", 2), ("openai", "openai", "openai", 0)],
)
async def test_a_host_that_answers_is_ok(
    version: str, server: str, dialect: str, loaded: int
) -> None:
    """It tells where LM Studio is, how it is spoken to, and how much it has."""
    async with open_pair(host_version=version) as pair:
        shown = await pair.get("/health")
        assert "ok" == shown["status"]
        reason = shown["upstream"].pop("reason", "")
        assert {
            "url": pair.standin.url,
            "reachable": True,
            "server": server,
            "dialect": dialect,
            "models": 8,
            "loaded": loaded,
        } == shown["upstream"]
        assert (server == "openai") == ("OpenAI API" in reason)


async def test_every_instance_counts_once(pair: Pair) -> None:
    """Two of one model are two."""
    for _ in range(2):
        await pair.change("load", COLD)
    assert 4 == (await pair.get("/health"))["upstream"]["loaded"]


async def test_a_host_that_is_gone_is_noticed() -> None:
    """503 with the reason while it is down, 200 when it is back; no cache in between."""
    settings = {"models": {"catalogue_ttl_s": 3600}}
    async with StandIn() as standin, open_gateway(standin, settings) as pair:
        assert "ok" == (await pair.get("/health"))["status"]
        await standin.stop()
        answer = await pair.client.get("/health")
        assert 503 == answer.status_code
        shown = answer.json()
        assert ("unavailable", False) == (shown["status"], shown["upstream"]["reachable"])
        assert standin.url == shown["upstream"]["url"]
        assert shown["upstream"]["reason"].startswith("can't connect to")
        assert shown["upstream"]["advice"].startswith("start LM Studio's server (")
        async with StandIn(port=standin.port):
            assert "ok" == (await pair.get("/health"))["status"]
        await standin.start()


@pytest.mark.parametrize("status", [401, 500])
async def test_a_host_that_refuses_is_not_ok(pair: Pair, status: int) -> None:
    """Its own words say why."""
    answer = {"status": status, "chunks": [[0, '{"error":{"message":"Go away."}}']]}
    pair.script({"match": {"path": "/api/v1/models"}, "answer": answer})
    shown = await pair.client.get("/health")
    assert 503 == shown.status_code
    assert "Go away." == shown.json()["upstream"]["reason"]


async def test_health_can_be_switched_off() -> None:
    """Then it is no path at all."""
    async with open_pair({"routes": {"health": False}}) as pair:
        assert 404 == (await pair.client.get("/health")).status_code


async def test_health_asks_nothing_of_a_model(pair: Pair) -> None:
    """A probe every few seconds must cost nothing."""
    await pair.get("/health")
    assert {"GET"} == {one.method for one in pair.standin.seen}

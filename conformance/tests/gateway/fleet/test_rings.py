"""A host of a fleet that is another gateway, which has this one among its own hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from conformance.runner.restartable import free_port
from conformance.runner.runner import make_gateway
from conformance.standin import StandIn
from conformance.standin.catalogue import PLAIN
from conformance.standin.options import Options
from conformance.tests.gateway.support import chat, serve, speak_to

PATHS = ("/api/chat", "/v1/chat/completions")


@asynccontextmanager
async def open_ring(routes: dict[str, Any]) -> AsyncIterator[tuple[StandIn, httpx.AsyncClient]]:
    """
    Run two gateways that are hosts of each other, of which the first has a real host as well.

    Yields that host, and a client of the first gateway.
    """
    first, second = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}" for port in (first, second)]
    settings = {"routes": routes, "limits": {"list_s": 1.0}, "fleet": {"list_wait_s": 0.2}}
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(StandIn(Options(models=(PLAIN,))))
        near = {"ring": {"url": urls[1]}, "real": {"url": standin.url}}
        far = {"back": {"url": urls[0]}}
        for port, hosts in ((second, far), (first, near)):
            app = make_gateway("http://127.0.0.1:1", {**settings, "hosts": hosts})
            await stack.enter_async_context(serve(app, port))
        yield standin, await stack.enter_async_context(speak_to(urls[0]))


@pytest.mark.parametrize("routes", [{}, {"lmstudio": False}], ids=["all routes", "without LM's"])
async def test_a_host_that_leads_back_serves_nothing(routes: dict[str, Any]) -> None:
    """Every request is served by the real host, and `/health` says what is wrong."""
    async with open_ring(routes) as (standin, client):
        for _ in range(2):
            for path in PATHS:
                answer = await client.post(path, json=chat(PLAIN.key))
                assert (200, "real") == (answer.status_code, answer.headers["x-olgate-host"])
        assert 4 == len(standin.log.select("/v1/chat/completions"))
        shown = (await client.get("/health")).json()
        pinned = await client.post(
            "/api/chat", json=chat(PLAIN.key), headers={"x-olgate-host": "ring"}
        )

    assert "degraded" == shown["status"]
    ring = shown["hosts"]["ring"]
    assert (False, "down") == (ring["reachable"], ring["state"])
    assert "and it leads back to this one" in ring["reason"]
    assert pinned.status_code >= 400

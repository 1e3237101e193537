"""
A gateway in front of several stand-ins, and the words to use them.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from conformance.runner.runner import make_gateway
from conformance.standin import StandIn
from conformance.standin.options import Options
from conformance.standin.script import Rule
from conformance.standin.seen import Exchange
from conformance.tests.gateway.support import serve, speak_to

NAMES = ("a", "b", "c", "d")


@dataclass(eq=False, repr=False)
class Fleet:
    """A running gateway, the stand-ins behind it by their names, and a client."""

    standins: dict[str, StandIn]
    client: httpx.AsyncClient
    url: str

    def asked(self, name: str, path: str) -> list[Exchange]:
        """Return what the gateway asked a host of a path."""
        return self.standins[name].log.select(path)

    def script(self, name: str, *rules: Mapping[str, Any]) -> None:
        """Add rules for what a stand-in is asked next."""
        made = [msgspec.convert(dict(rule), Rule) for rule in rules]
        self.standins[name].app.script.add(made)

    def instances(self, name: str, key: str) -> list[str]:
        """Return the ids of a model's loaded instances on a host."""
        table = self.standins[name].app.host.table
        return [one.id for one in table.instances if one.model.key == key]

    async def get(self, path: str, **headers: str) -> Any:
        """Return the JSON that the gateway answers to a GET, which must be a success."""
        answer = await self.client.get(path, headers=headers)
        assert 200 == answer.status_code, answer.text
        return answer.json()

    async def names(self) -> set[str]:
        """Return the names that are listed."""
        return {one["name"] for one in (await self.get("/api/tags"))["models"]}

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Post JSON to the gateway."""
        return await self.client.post(path, json=body, headers=headers)


@asynccontextmanager
async def open_fleet(
    *hosts: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
    of_hosts: Mapping[str, Mapping[str, Any]] | None = None,
) -> AsyncIterator[Fleet]:
    """
    Run a gateway in front of a stand-in for each of `hosts`, which are the stand-ins' options.

    They are called a, b and so on. `of_hosts` are settings of hosts by their names. The catalogue
    is asked for anew with each request, unless `settings` say otherwise.
    """
    async with AsyncExitStack() as stack:
        standins = {
            name: await stack.enter_async_context(StandIn(Options(**options)))
            for name, options in zip(NAMES, hosts, strict=False)
        }
        named = {
            name: {"url": standin.url, **(of_hosts or {}).get(name, {})}
            for name, standin in standins.items()
        }
        app = make_gateway("http://127.0.0.1:1", {**(settings or {}), "hosts": named})
        url = await stack.enter_async_context(serve(app))
        client = await stack.enter_async_context(speak_to(url))
        # Every host has been asked once: nothing of that happens during a test.
        await client.get("/health")
        yield Fleet(standins, client, url)

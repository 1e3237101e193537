"""
Clients of a cluster: they ask, and write down what they asked and what became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from conformance.cluster.parts import KEPT, MODELS, Cluster
from conformance.runner.restartable import Server

PATIENCE_S = 60.0
"""After this long without an end, a request counts as one that hangs."""
PAUSE_S = 0.02
FASHION = 30
"""Whole answers after which clients turn to another model."""
KEEP_ALIVES = ("50ms", "200ms", "1s")
"""Short, so that many models are unloaded while others ask for them."""
SHOWN = 160
"""Letters of an error that the history keeps."""


@dataclass
class Load:
    """Clients that ask until they are told to stop. `whole` counts whole answers."""

    cluster: Cluster
    session: aiohttp.ClientSession
    is_balanced: bool = False
    whole: int = 0
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, model: str, keep_alive: str = "1s", via: Server | None = None) -> str:
        """Ask one question, streamed; return what became of it."""
        cluster, mark = self.cluster, f"{id(self):x}.{next(self.numbers)}"
        balancer = cluster.balancer if self.is_balanced and via is None else None
        gateway = None if balancer is not None else via or cluster.choose()
        url = balancer.url if balancer is not None else gateway.url if gateway else ""
        question = f"[#{mark}] What is {random.randrange(100)} times seven?"
        body = {
            "model": model,
            "keep_alive": keep_alive,
            "messages": [{"role": "user", "content": question}],
        }
        cluster.history.note(
            "asked", part=gateway.name if gateway else "", ask=mark, model=model, by=""
        )
        try:
            async with asyncio.timeout(PATIENCE_S):
                how, said = await self._chat(f"{url}/api/chat", body)
        except TimeoutError:
            how, said = "hung", ""
        except (aiohttp.ClientError, ConnectionError) as error:
            how, said = "broken", repr(error)
        cluster.history.note("answered", part="", ask=mark, how=how, by="", names=(said[:SHOWN],))
        self.whole += how == "whole"
        self._came.set()
        return how

    async def _chat(self, url: str, body: object) -> tuple[str, str]:
        async with self.session.post(url, json=body) as answer:
            if answer.status != 200:
                return "error", f"{answer.status} {await answer.text()}"
            last: dict[str, object] = {}
            async for line in answer.content:
                last = json.loads(line)
            if "error" in last:
                return "error", str(last["error"])
            return ("whole", "") if last.get("done") else ("silent", str(last))

    async def keep_asking(self) -> None:
        """Ask for one model after the other; after an error only when something has changed."""
        while not self.is_over.is_set():
            # One model is in fashion, and the others fall idle and are unloaded.
            model = KEPT if random.random() < 0.3 else MODELS[self.whole // FASHION % len(MODELS)]
            if await self.ask(model, random.choice(KEEP_ALIVES)) != "whole":
                await asyncio.sleep(PAUSE_S)

    async def until(self, more: int) -> None:
        """Wait for so many more whole answers. Raises TimeoutError when they don't come."""
        wanted = self.whole + more
        async with asyncio.timeout(PATIENCE_S):
            while self.whole < wanted:
                self._came.clear()
                await self._came.wait()

    async def change_aliases(self) -> None:
        """Make and delete aliases through one gateway after the other, and list them there."""
        while not self.is_over.is_set():
            name = f"alias-{next(self.numbers)}:latest"
            await self.change_alias(name, is_made=True)
            await self.list_aliases(self.cluster.choose())
            if random.random() < 0.8:
                await self.change_alias(name, is_made=False)
            await asyncio.sleep(PAUSE_S)

    async def change_alias(self, name: str, *, is_made: bool) -> None:
        """Make or delete an alias through some gateway, and list aliases there at once."""
        gateway, history = self.cluster.choose(), self.cluster.history
        method, path = ("POST", "create") if is_made else ("DELETE", "delete")
        body = {"model": name, "from": MODELS[0], "stream": False} if is_made else {"model": name}
        what = "alias made" if is_made else "alias deleted"
        how = "error"
        # Noted before as well: from now on both may be right.
        history.note(what, part=gateway.name, model=name, how="begun", by="")
        with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with (
                asyncio.timeout(PATIENCE_S),
                self.session.request(method, f"{gateway.url}/api/{path}", json=body) as answer,
            ):
                how = "done" if answer.status == 200 else "error"
                await answer.read()
        history.note(what, part=gateway.name, model=name, how=how, by="")
        await self.list_aliases(gateway)

    async def list_aliases(self, gateway: Server, how: str = "") -> frozenset[str]:
        """Note the aliases that a gateway lists; return them."""
        with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with (
                asyncio.timeout(PATIENCE_S),
                self.session.get(f"{gateway.url}/api/tags") as answer,
            ):
                if answer.status != 200:
                    return frozenset()
                models = (await answer.json())["models"]
            names = sorted(one["name"] for one in models if one["name"].startswith("alias-"))
            self.cluster.history.note(
                "aliases listed", part=gateway.name, how=how, by="", names=tuple(names)
            )
            return frozenset(names)
        return frozenset()

    async def settle(self) -> None:
        """Wait until all gateways list the same aliases, and note these lists as settled."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    gateways = self.cluster.gateways
                    lists = [await self.list_aliases(one) for one in gateways]
                    if len(set(lists)) == 1:
                        break
                    await asyncio.sleep(PAUSE_S)
        for one in self.cluster.gateways:
            await self.list_aliases(one, "settled")


@asynccontextmanager
async def open_load(cluster: Cluster, clients: int, *, is_balanced: bool) -> AsyncIterator[Load]:
    """Let clients ask while the block runs; afterwards wait for their last answers."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        load = Load(cluster, session, is_balanced)
        asking = [asyncio.create_task(load.keep_asking()) for _ in range(clients)]
        asking.append(asyncio.create_task(load.change_aliases()))
        try:
            yield load
        finally:
            load.is_over.set()
            await asyncio.gather(*asking)
        await load.settle()

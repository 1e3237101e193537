"""
The parts of a cluster as processes: hosts, gateways, their store, and a balancer.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from conformance.cluster.link import Link
from conformance.deploy.balancers import (
    Balancer,
    MissingProgramError,
    open_haproxy,
)
from conformance.runner.redis_server import RedisServer
from conformance.runner.restartable import Server, gateway, standin
from conformance.standin.history import CALLER, Event, History, read_history

KEPT = "quiet-fjord-3b"
"""The model that every host has loaded by hand: no gateway may unload it."""
MODELS = ("harbor/lantern-8b", "meadow/thicket-4b", "tiny-plain-1b-instruct")
"""The models that gateways load, and unload soon after."""
HOST_FLAGS = ("--load-ms", "300", "--rate", "150", "--first-token-ms", "10")
SETTINGS = {
    "OLGATE_UPSTREAM_CONNECT_TIMEOUT_S": "1",
    "OLGATE_UPSTREAM_FIRST_BYTE_TIMEOUT_S": "15",
    "OLGATE_UPSTREAM_SILENCE_TIMEOUT_S": "15",
    "OLGATE_MODELS_CATALOGUE_TTL_S": "1",
    "OLGATE_LIMITS_DRAIN_S": "20",
}
"""Shorter than the defaults, so that a run needs less time."""


@dataclass
class Cluster:
    """All parts. `history` is the file of the driver and its clients; each host has its own."""

    folder: Path
    hosts: list[Server]
    gateways: list[Server]
    history: History
    redis: RedisServer | None = None
    link: Link | None = None
    balancer: Balancer | None = None
    away: set[str] = field(default_factory=set)
    """Names of gateways to which no client goes now."""

    @property
    def store(self) -> str:
        """The kind of the store that the gateways share."""
        return "SQLite" if self.redis is None else "Redis"

    def events(self) -> list[Event]:
        """Return what has happened so far."""
        return read_history(*self.folder.glob("*.jsonl"))

    def choose(self) -> Server:
        """Return a gateway for a request."""
        there = [one for one in self.gateways if one.name not in self.away]
        return random.choice(there)

    async def start(self, server: Server) -> None:
        """Start a part; a gateway's name for itself goes into the history."""
        await asyncio.to_thread(server.start)
        if server in self.gateways:
            await self.name(server)
        self.away.discard(server.name)

    async def name(self, server: Server) -> None:
        """Note the name that a gateway gives itself: it tells it to who has one."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{server.url}/api/version", headers={CALLER: "cluster"}) as answer,
        ):
            self.history.note("named", part=server.name, by=answer.headers[CALLER])

    async def kill(self, server: Server) -> None:
        """End a part as a crash does."""
        self.history.note("killed", part=server.name)
        self.away.add(server.name)
        await asyncio.to_thread(server.kill)

    async def revive(self, server: Server) -> None:
        """Start a part that was killed."""
        await self.start(server)
        self.history.note("healed", part=server.name)

    def stop(self, server: Server) -> None:
        """Freeze a part: it keeps its connections, and answers nothing."""
        self.history.note("fault", part=server.name)
        server.signal(signal.SIGSTOP)

    def go_on(self, server: Server) -> None:
        """Let a frozen part go on."""
        server.signal(signal.SIGCONT)
        self.history.note("healed", part=server.name)


@contextlib.contextmanager
def open_parts(folder: Path, hosts: int, gateways: int, with_redis: bool) -> Iterator[Cluster]:
    """
    Make the parts, and end them with the block; nothing but the store and the balancer runs yet.

    A Redis must be installed if one is wanted. Without HAProxy there is no balancer.
    """
    with contextlib.ExitStack() as stack:
        machines = [make_host(f"host-{number}", folder) for number in range(1, hosts + 1)]
        variables, redis, link = dict(SETTINGS), None, None
        if with_redis:
            # As the files of deploy/ have it.
            kept = ("--appendonly", "yes", "--maxmemory-policy", "noeviction")
            redis = RedisServer(folder, *kept, keeps=False)
            stack.callback(redis.close)
            link = stack.enter_context(Link.opened(redis.port))
            variables["OLGATE_STORE_URL"] = f"redis://127.0.0.1:{link.port}/0"
            variables["OLGATE_STORE_PATH"] = ""
        else:
            variables["OLGATE_STORE_PATH"] = str(folder / "store.sqlite3")
        doors = [
            make_gateway(f"gateway-{n}", folder, machines, variables)
            for n in range(1, gateways + 1)
        ]
        for one in (*machines, *doors):
            stack.callback(one.close)
        balancer = None
        with contextlib.suppress(MissingProgramError):
            addresses = [one.address for one in doors]
            balancer = stack.enter_context(open_haproxy(addresses, folder))
        history = History(folder / "driver.jsonl", "driver")
        yield Cluster(folder, machines, doors, history, redis, link, balancer)


def make_host(name: str, folder: Path) -> Server:
    """Return a stand-in that writes a history under its own name."""
    file = folder / f"{name}.jsonl"
    return standin(name, folder, *HOST_FLAGS, "--history", str(file), "--name", name)


def make_gateway(
    name: str, folder: Path, hosts: Sequence[Server], variables: dict[str, str]
) -> Server:
    """Return a gateway that serves all hosts, in tier 1."""
    settings = folder / "olgate.toml"
    lines = [f'[hosts.{host.name}]\nurl = "{host.url}"\n' for host in hosts]
    settings.write_text("".join(lines), "utf-8")
    chosen = {key: value for key, value in variables.items() if value}
    unset = [key for key, value in variables.items() if not value]
    made = gateway(name, folder, "--config", str(settings), environment=chosen)
    for key in unset:
        made.environment.pop(key, None)
    return made

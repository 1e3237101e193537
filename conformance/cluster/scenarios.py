"""
The faults that a run brings about, one after the other, each while clients ask.

Nothing here waits for a time: a fault lasts until so many requests have been answered meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from conformance.cluster.clients import PATIENCE_S, PAUSE_S, Load
from conformance.cluster.parts import MODELS, Cluster
from conformance.runner.restartable import Server, is_listening

SOME = 12
"""Whole answers before, during and after a fault."""
SLOW_S = 0.05
WAVE = 12

Act = Callable[[Cluster, Load], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A fault: its name in the table, what brings it about, and what must be there for it."""

    name: str
    act: Act
    needs_redis: bool = False
    needs_balancer: bool = False
    is_short: bool = True
    """Whether it belongs to the short run."""


async def nothing(cluster: Cluster, load: Load) -> None:
    """Waves of first requests, and nothing fails."""
    for model in MODELS:
        await asyncio.gather(*(load.ask(model) for _ in range(WAVE)))
    await load.until(SOME)


async def kill_loader(cluster: Cluster, load: Load) -> None:
    """Kill a gateway while it loads a model, so that it holds the lock."""
    victim = await _loader(cluster)
    await cluster.kill(victim)
    await load.until(SOME)
    await cluster.revive(victim)
    await load.until(SOME)


async def stop_loader(cluster: Cluster, load: Load) -> None:
    """Freeze a gateway while it loads a model; it wakes and believes that it holds the lock."""
    victim = await _loader(cluster)
    cluster.away.add(victim.name)
    cluster.stop(victim)
    await load.until(SOME)
    cluster.go_on(victim)
    cluster.away.discard(victim.name)
    await load.until(SOME)


async def kill_owner(cluster: Cluster, load: Load) -> None:
    """Kill a gateway that has loaded instances, so that another one has to adopt them."""
    victim = cluster.gateways[0]
    await asyncio.gather(*(load.ask(model, "10s", victim) for model in MODELS))
    await cluster.kill(victim)
    await load.until(SOME)
    await cluster.revive(victim)
    await load.until(SOME)


async def restart_gateways(cluster: Cluster, load: Load) -> None:
    """Restart all gateways, one after the other; the balancer is told before. Nothing may fail."""
    assert cluster.balancer is not None
    for number, gateway in enumerate(cluster.gateways, 1):
        server = f"gateways/gateway-{number}"
        cluster.away.add(gateway.name)
        cluster.balancer.order(f"set server {server} state drain")
        await load.until(SOME // 2)
        gateway.signal(signal.SIGTERM)
        await asyncio.to_thread(gateway.wait, PATIENCE_S)
        await cluster.start(gateway)
        cluster.balancer.order(f"set server {server} state ready")
        await load.until(SOME // 2)


async def kill_behind_balancer(cluster: Cluster, load: Load) -> None:
    """Kill a gateway to which a balancer sends requests."""
    victim = cluster.gateways[-1]
    await load.until(SOME)
    await cluster.kill(victim)
    await load.until(SOME)
    await cluster.revive(victim)
    await load.until(SOME)


async def kill_host(cluster: Cluster, load: Load) -> None:
    """Kill a host in the midst of answers; it comes back with nothing loaded."""
    host = await _busy_host(cluster)
    await cluster.kill(host)
    await load.until(SOME)
    await cluster.revive(host)
    await load.until(SOME)


async def stop_host(cluster: Cluster, load: Load) -> None:
    """Freeze a host: it accepts connections, and answers nothing."""
    host = await _busy_host(cluster)
    cluster.stop(host)
    await load.until(SOME)
    cluster.go_on(host)
    await load.until(SOME)


async def kill_redis(cluster: Cluster, load: Load) -> None:
    """Kill Redis, and start it again with what it had written."""
    assert cluster.redis is not None
    await cluster.kill(cluster.redis)
    await load.until(SOME)
    await cluster.revive(cluster.redis)
    await load.until(SOME)


async def slow_redis(cluster: Cluster, load: Load) -> None:
    """Let each answer of Redis take a while."""
    assert cluster.link is not None
    cluster.link.delay_s = SLOW_S
    await load.until(SOME)
    cluster.link.delay_s = 0.0
    await load.until(SOME)


async def cut_redis(cluster: Cluster, load: Load) -> None:
    """Cut all connections to Redis, which itself goes on."""
    assert cluster.link is not None
    cluster.link.cut()
    await load.until(SOME)
    cluster.link.mend()
    await load.until(SOME)


SCENARIOS = (
    Scenario("nothing fails", nothing),
    Scenario("a gateway killed while it loads", kill_loader),
    Scenario("a gateway frozen while it loads", stop_loader),
    Scenario("a gateway killed that has loaded", kill_owner, is_short=False),
    Scenario("a gateway killed behind the balancer", kill_behind_balancer, needs_balancer=True),
    Scenario("all gateways restarted in turn", restart_gateways, needs_balancer=True),
    Scenario("a host killed, and back with nothing loaded", kill_host),
    Scenario("a host frozen", stop_host, is_short=False),
    Scenario("Redis killed and restarted", kill_redis, needs_redis=True),
    Scenario("Redis slow", slow_redis, needs_redis=True, is_short=False),
    Scenario("Redis cut off", cut_redis, needs_redis=True),
)


async def _loader(cluster: Cluster) -> Server:
    """Return a gateway that is loading a model now."""
    names = {e.by: e.part for e in cluster.events() if e.what == "named"}
    gateways = {one.name: one for one in cluster.gateways}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            loading: dict[str, str] = {}
            for event in cluster.events():
                if event.what == "load begun":
                    loading[event.part] = event.by
                elif event.what in ("loaded", "load failed", "started"):
                    loading.pop(event.part, None)
            for by in loading.values():
                if (found := gateways.get(names.get(by, ""))) is not None and found.is_running:
                    return found
            await asyncio.sleep(PAUSE_S)


async def _busy_host(cluster: Cluster) -> Server:
    """Return a host that answers a request now."""
    hosts = {one.name: one for one in cluster.hosts}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            running: dict[str, int] = dict.fromkeys(hosts, 0)
            for event in cluster.events():
                if event.part in hosts:
                    change = {"begun": 1, "ended": -1}.get(event.what, 0)
                    running[event.part] += change
            busiest = max(running, key=lambda name: running[name])
            if running[busiest] and is_listening(hosts[busiest].port):
                return hosts[busiest]
            await asyncio.sleep(PAUSE_S)

"""`python -m conformance.cluster`: faults in a cluster, and a table of what held."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import sys
import tempfile
import urllib.request
from pathlib import Path

from conformance.cluster.checker import check
from conformance.cluster.clients import PATIENCE_S, open_load
from conformance.cluster.parts import KEPT, Cluster, open_parts
from conformance.cluster.report import Row, print_rows, row_of, write_rows
from conformance.cluster.scenarios import SCENARIOS, Scenario
from conformance.runner.redis_server import MISSING, find_redis
from conformance.runner.restartable import Server


def main() -> int:
    """Run the scenarios on each kind of store; return 1 if an invariant was broken."""
    parser = argparse.ArgumentParser(prog="python -m conformance.cluster", description=__doc__)
    parser.add_argument("--all", action="store_true", help="all faults, not the short selection")
    parser.add_argument("--only", default="", help="only faults whose name contains this text")
    parser.add_argument("--store", choices=("sqlite", "redis"), help="only this kind of store")
    parser.add_argument("--hosts", type=int, default=4, help="number of hosts (default 4)")
    parser.add_argument("--gateways", type=int, default=3, help="number of gateways (default 3)")
    parser.add_argument("--clients", type=int, default=6, help="number of clients (default 6)")
    parser.add_argument("--keep", type=Path, help="a folder for the histories and logs")
    parser.add_argument("--write", action="store_true", help="write the table into docs/fleet.md")
    flags = parser.parse_args()
    chosen = [
        one
        for one in SCENARIOS
        if (flags.all or flags.write or one.is_short) and flags.only in one.name
    ]
    rows: list[Row] = []
    for store in (flags.store,) if flags.store else ("sqlite", "redis"):
        if store == "redis" and (missing := missing_for_redis()):
            print(f"skipped: everything with Redis: {missing}")
            continue
        with tempfile.TemporaryDirectory(prefix="olgate-cluster") as temporary:
            folder = (flags.keep or Path(temporary)) / store
            folder.mkdir(parents=True, exist_ok=True)
            with open_parts(folder, flags.hosts, flags.gateways, store == "redis") as cluster:
                rows += asyncio.run(run(cluster, chosen, flags.clients))
    print_rows(rows)
    if flags.write:
        write_rows(rows)
    return 1 if any(row.violations for row in rows) or not rows else 0


async def run(cluster: Cluster, chosen: list[Scenario], clients: int) -> list[Row]:
    """Run scenarios one after the other on one cluster, and judge each."""
    await asyncio.gather(*(cluster.start(host) for host in cluster.hosts))
    for host in cluster.hosts:
        await asyncio.to_thread(load_by_hand, host)
    await asyncio.gather(*(cluster.start(one) for one in cluster.gateways))
    spans: list[tuple[Scenario, float, str]] = []
    for scenario in chosen:
        if (why := why_not(cluster, scenario)) is not None:
            print(f"skipped: {scenario.name} ({cluster.store}): {why}", flush=True)
            continue
        print(f"{cluster.store}: {scenario.name} …", flush=True)
        problem = ""
        cluster.history.note("scenario", how=scenario.name)
        since = cluster.events()[-1].at
        async with open_load(cluster, clients, is_balanced=scenario.needs_balancer) as load:
            try:
                await scenario.act(cluster, load)
            except TimeoutError:
                problem = f"fewer than expected answers within {PATIENCE_S:g} s"
        spans.append((scenario, since, problem))
    events = cluster.events()
    findings = check(events)
    ends = [since for _, since, _ in spans[1:]] + [float("inf")]
    return [
        row_of(cluster.store, scenario.name, since, until, events, findings, problem)
        for (scenario, since, problem), until in zip(spans, ends, strict=True)
    ]


def missing_for_redis() -> str:
    """Return what a store in Redis needs and is not installed, empty if all is there."""
    if importlib.util.find_spec("redis") is None:
        return "the Python package redis is not installed"
    return "" if find_redis() else MISSING


def load_by_hand(host: Server) -> None:
    """Load the model that no gateway may unload."""
    order = json.dumps({"action": "load", "key": KEPT}).encode()
    with urllib.request.urlopen(f"{host.url}/__standin/model", order) as answer:
        answer.read()


def why_not(cluster: Cluster, scenario: Scenario) -> str | None:
    """Return why a scenario can't run here, None if it can."""
    if scenario.needs_redis and cluster.redis is None:
        return "the store is a file"
    if scenario.needs_balancer and cluster.balancer is None:
        return "haproxy not found: install Debian's package haproxy"
    return None


if __name__ == "__main__":
    sys.exit(main())

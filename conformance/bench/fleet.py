"""
What four hosts, and Redis, add to the time to the first token: `python -m conformance.bench.fleet`.

Asks in turn the stand-in itself, a gateway with one host, one with four hosts, and one with four
hosts and Redis, so that all meet the same noise. Exit code 1: the last adds more than 1 ms at p50
to that of one host.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import socket
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

import msgspec

from conformance.bench import servers
from conformance.bench.dialect import request
from conformance.bench.servers import Target
from conformance.runner.redis_server import MISSING, RedisServer, find_redis

HOSTS = 4
MOST_MS = 1.0
TURNS = 400
DIRECT, ONE = "direct", "one host, SQLite"
MANY, SHARED = f"{HOSTS} hosts, SQLite", f"{HOSTS} hosts, Redis"


class FirstToken(msgspec.Struct, frozen=True):
    """The time to the first token of one stream at a time, in milliseconds."""

    target: str
    p50_ms: float
    p90_ms: float


def main() -> int:
    """Measure, and print a row for each target."""
    parser = argparse.ArgumentParser(prog="python -m conformance.bench.fleet")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"requests (default {TURNS})")
    turns: int = parser.parse_args().turns
    found, skipped = measure(turns)
    print("| target | first token p50 ms | p90 ms |\n|---|---|---|")
    for row in found:
        print(f"| {row.target} | {row.p50_ms:.2f} | {row.p90_ms:.2f} |")
    for why in skipped:
        print(f"skipped: {why}")
    more = added_ms(found, SHARED)
    if more is None:
        return 0
    print(f"four hosts and Redis add {more:+.2f} ms at p50; at most {MOST_MS:g} ms are allowed")
    return 0 if more <= MOST_MS else 1


def added_ms(found: list[FirstToken], name: str) -> float | None:
    """Return what a target adds to one host at p50, None if one of them was not measured."""
    middle = {row.target: row.p50_ms for row in found}
    return middle[name] - middle[ONE] if {name, ONE} <= set(middle) else None


def measure(turns: int) -> tuple[list[FirstToken], list[str]]:
    """Return a row for each target, and which were skipped, and why. Raises StartProblem."""
    skipped = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hosts = [
            stack.enter_context(
                servers.started(DIRECT, "openai", "-m", "conformance.bench.standin")
            )
            for _ in range(HOSTS)
        ]
        more = [word for host in hosts[1:] for word in ("--upstream", host.url)]
        gateways: list[tuple[str, list[str], dict[str, str]]] = [(ONE, [], {}), (MANY, more, {})]
        if find_redis() is None:
            skipped.append(f"{SHARED}: {MISSING}")
        elif find_spec("redis") is None:
            skipped.append(f"{SHARED}: the gateway's extra `redis` is not installed")
        else:
            (folder / "redis").mkdir()
            redis = stack.enter_context(
                contextlib.closing(RedisServer(folder / "redis", keeps=False))
            )
            gateways.append((SHARED, more, {"OLGATE_STORE_URL": redis.url}))
        targets = [hosts[0]]
        for name, words, variables in gateways:
            state = folder / name
            state.mkdir()
            kept = variables or {"OLGATE_STORE_PATH": str(state / "store.sqlite")}
            words = servers.gateway_arguments(hosts[0].url) + words
            gateway = servers.started(
                name, "ollama", *words, variables={"XDG_CONFIG_HOME": str(state), **kept}
            )
            targets.append(stack.enter_context(gateway))
        return _in_turn(targets, turns), skipped


def _in_turn(targets: list[Target], turns: int) -> list[FirstToken]:
    samples: dict[str, list[float]] = {target.name: [] for target in targets}
    for turn in range(turns + turns // 10):
        for target in targets:
            took = first_token_ms(target)
            # The first tenth warms up.
            if turn >= turns // 10:
                samples[target.name].append(took)
    cuts = {name: quantiles(each, n=10) for name, each in samples.items()}
    return [FirstToken(name, each[4], each[8]) for name, each in cuts.items()]


def first_token_ms(target: Target) -> float:
    """Ask for a stream on a new connection, and return the time to its first piece in ms."""
    sent = request(target.dialect, "stream")
    assert sent is not None
    place = urlsplit(target.url)
    with socket.create_connection((place.hostname or "", place.port or 80)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        line.sendall(sent)
        answer = http.client.HTTPResponse(line)
        answer.begin()
        if answer.status != 200:
            raise RuntimeError(f"{target.name}: {answer.status} {answer.read().decode()}")
        answer.readline()
        took = time.perf_counter() - began
        answer.read()
    return 1e3 * took


if __name__ == "__main__":
    sys.exit(main())

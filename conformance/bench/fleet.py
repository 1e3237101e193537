"""
What four hosts and Redis add to the time to the first token: `python -m conformance.bench.fleet`.

Asks in turn a gateway with one host and SQLite, a gateway with four hosts and Redis, and the
stand-in itself, so that all meet the same noise. Exit code 1: the fleet adds more than 1 ms at p50.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

from conformance.bench import servers
from conformance.bench.dialect import request
from conformance.bench.servers import Target

HOSTS = 4
MOST_MS = 1.0
TURNS = 400


def main() -> int:
    """Measure, and print a row for each target."""
    parser = argparse.ArgumentParser(prog="python -m conformance.bench.fleet")
    parser.add_argument("--turns", type=int, default=TURNS, help=f"requests (default {TURNS})")
    turns = parser.parse_args().turns
    if shutil.which("redis-server") is None:
        print("skipped: redis-server not found: install Debian's package redis-server")
        return 0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hosts = [
            stack.enter_context(
                servers.started(f"host {n}", "openai", "-m", "conformance.bench.standin")
            )
            for n in range(HOSTS)
        ]
        redis = stack.enter_context(_redis(folder))
        one = servers.started(
            "one host, SQLite",
            "ollama",
            *servers.gateway_arguments(hosts[0].url),
            state=_made(folder / "one"),
        )
        addresses = [word for host in hosts[1:] for word in ("--upstream", host.url)]
        many = servers.started(
            f"{HOSTS} hosts, Redis",
            "ollama",
            *servers.gateway_arguments(hosts[0].url),
            *addresses,
            variables={"OLGATE_STORE_URL": redis, "XDG_CONFIG_HOME": str(_made(folder / "many"))},
        )
        targets = [hosts[0], stack.enter_context(one), stack.enter_context(many)]
        times = measure(targets, turns)
    base = times[targets[0].name][0]
    print("| target | first token p50 ms | p90 ms | added p50 ms |\n|---|---|---|---|")
    for target in targets:
        middle, late = times[target.name]
        name = "direct" if target is targets[0] else target.name
        print(f"| {name} | {middle:.2f} | {late:.2f} | {middle - base:.2f} |")
    more = times[targets[2].name][0] - times[targets[1].name][0]
    print(f"four hosts and Redis add {more:+.2f} ms at p50; at most {MOST_MS:g} ms are allowed")
    return 0 if more <= MOST_MS else 1


def measure(targets: list[Target], turns: int) -> dict[str, tuple[float, float]]:
    """Return p50 and p90 of the time to the first token in ms, by the target's name."""
    samples: dict[str, list[float]] = {target.name: [] for target in targets}
    for turn in range(turns + turns // 10):
        for target in targets:
            took = first_token_ms(target)
            # The first tenth warms up.
            if turn >= turns // 10:
                samples[target.name].append(took)
    found = {}
    for name, each in samples.items():
        cuts = quantiles(each, n=10)
        found[name] = (cuts[4], cuts[8])
    return found


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


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """Run a Redis that keeps nothing; yield its address."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    flags = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(
        ["redis-server", *flags], stdout=subprocess.DEVNULL, env=dict(os.environ)
    ) as process:
        try:
            deadline = time.monotonic() + servers.START_S
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.02)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())

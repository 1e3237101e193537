"""
The processes that are measured: started, named by their pid, and ended.

`load` sends the requests.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psutil

from conformance.bench.dialect import Dialect
from conformance.bench.standin import Plan

START_S = 30.0
STOP_S = 5.0
_SIGN = "listening on "


class Target(msgspec.Struct, frozen=True):
    """
    Something that answers; `pid` is the process whose CPU time and memory are looked at.

    Of several `processes` it is the one that started the others.
    """

    name: str
    url: str
    dialect: Dialect
    pid: int
    processes: int = 1


class StartProblem(Exception):
    """A server that has to be measured is not there, and what it said instead."""


def compiling(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Python keeps what it compiles, as an installation has it."""
    kept = {key: value for key, value in environment.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": str(folder)}


@contextlib.contextmanager
def started(
    name: str,
    dialect: Dialect,
    *arguments: str,
    state: Path | None = None,
    compiled: Path | None = None,
    interpreter: Sequence[str] = (sys.executable,),
    start_s: float = START_S,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Target]:
    """
    Run `python ARGUMENTS` until the block is left. Raises StartProblem.

    What it writes of its own goes into `state`, modules that Python compiles into `compiled`.
    `variables` are more of its environment.
    """
    # What the machine's user has set for Ollama or the gateway must not change the measuring.
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("OLGATE_", "OLLAMA_")) and not key.lower().endswith("_proxy")
    }
    if state is not None:
        env |= {
            "OLGATE_STORE_PATH": str(state / "store.sqlite"),
            "XDG_CONFIG_HOME": str(state),
        }
    env |= variables or {}
    if compiled is not None:
        env = compiling(compiled, env)
    process = subprocess.Popen(
        [*interpreter, *arguments],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    # Later output must not fill the pipe and block the process.
    draining = threading.Thread(target=process.stderr.read, daemon=True)
    try:
        url = _read_url(name, process, start_s)
        draining.start()
        yield Target(name, url, dialect, process.pid)
    finally:
        process.stdin.close()
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if draining.ident is not None:
            draining.join()
        process.stderr.close()


def _read_url(name: str, process: subprocess.Popen[str], limit_s: float) -> str:
    assert process.stderr is not None
    said: list[str] = []
    too_late = threading.Timer(limit_s, process.kill)
    too_late.start()
    try:
        for line in process.stderr:
            said.append(line)
            if line.startswith(_SIGN):
                return line.removeprefix(_SIGN).strip()
    finally:
        too_late.cancel()
    raise StartProblem(f"{name} did not start; it said:\n{''.join(said)}")


def gateway_arguments(upstream: str) -> list[str]:
    """Return how the gateway is run: as anyone runs it, but quiet."""
    return [
        "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", "0",
        "--upstream", upstream, "--log-level", "warning",
    ]  # fmt: skip


def yardstick_arguments(module: str, upstream: str) -> list[str]:
    """Return how one of the bench's own servers is run."""
    return ["-m", f"conformance.bench.yardsticks.{module}", "--upstream", upstream]


def found(name: str, url: str, dialect: Dialect = "ollama") -> Target:
    """Take a server that somebody else has started on this machine. Raises StartProblem."""
    port = urlsplit(url).port
    for each in psutil.net_connections("tcp"):
        if (
            each.status == psutil.CONN_LISTEN
            and each.laddr
            and each.laddr.port == port
            and each.pid
        ):
            return Target(name, url.rstrip("/"), dialect, each.pid)
    raise StartProblem(
        f"{name}: no process of yours listens at {url}; start it before the bench, on this machine"
    )


def set_plan(standin: Target, plan: Plan) -> None:
    """Tell the stand-in how to stream from now on."""
    body = msgspec.json.encode(plan)
    request = urllib.request.Request(f"{standin.url}/__bench/plan", data=body)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=STOP_S):
        pass


def first_answer_s(target_url: str, path: str, began: float) -> float:
    """Return the seconds from `began` (monotonic) to the first answer that comes."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(target_url + path, timeout=START_S):
        return time.monotonic() - began


class Usage:
    """CPU time of a process and of those that it started, and its own memory."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)

    def cpu_ns(self) -> int:
        """Return user and system time used so far, also by threads that have ended."""
        return sum(_cpu_ns(each) for each in (self._process, *self._process.children()))

    def rss_bytes(self) -> int:
        """Return the resident memory now."""
        return int(self._process.memory_info().rss)


def _cpu_ns(process: psutil.Process) -> int:
    """
    Return a process's CPU time.

    Linux has a clock for each process, which counts nanoseconds. psutil reads what is counted in
    steps of 10 ms: a hundred short requests take no more than that.
    """
    if sys.platform == "linux":
        # What clock_getcpuclockid(3) makes of a process id: CPUCLOCK_SCHED of a whole process.
        return time.clock_gettime_ns((~process.pid << 3) | 2)
    times = process.cpu_times()
    return int((times.user + times.system) * 1e9)

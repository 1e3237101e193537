"""
The gateway of the soak: a process of its own, and what can be measured of it from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 30.0
MOST_TRACED = 150
_STAMPED = re.compile(r"\d{4}-\d\d-\d\dT")
_LISTENING = re.compile(r'listening on (http[^\s"]+)')
"""The address in the first line, which is text or JSON."""
SETTINGS = {
    "OLGATE_LISTEN_PORT": "0",
    "OLGATE_UPSTREAM_FIRST_BYTE_TIMEOUT_S": "15",
    "OLGATE_UPSTREAM_SILENCE_TIMEOUT_S": "15",
    "OLGATE_UPSTREAM_IDLE_CONNECTION_S": "1",
    "OLGATE_LIMITS_DRAIN_S": "1",
    "OLGATE_STORE_PATH": ":memory:",
}


@dataclass(frozen=True)
class Measure:
    """What a gateway that has nothing to do still holds."""

    tasks: int
    files: int
    sockets: int
    rss_mib: float


@dataclass(eq=False)
class Gateway:
    """A running gateway; `lines` are the last that it wrote, `requests` how many it told of."""

    url: str
    process: asyncio.subprocess.Process
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    requests: int = 0
    tracebacks: int = 0
    traced: list[str] = field(default_factory=list)
    """The lines of the first exceptions."""
    peak_mib: float = 0.0
    said: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def seen(self) -> psutil.Process:
        """The process as the system sees it."""
        return psutil.Process(self.process.pid)

    def note_rss(self) -> float:
        """Return the memory in use in MiB, and keep the most there was."""
        rss = self.seen.memory_info().rss / 2**20
        self.peak_mib = max(self.peak_mib, rss)
        return rss

    async def counted(self, session: aiohttp.ClientSession) -> dict[str, float]:
        """Return the sums of the gateway's own counters and gauges."""
        async with session.get("/metrics") as answer:
            text = await answer.text()
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
        return sums

    async def measure(self, session: aiohttp.ClientSession) -> Measure:
        """Return what it holds now; the connection that asks is one of the sockets."""
        tasks = int((await self.counted(session))["olgate_running_tasks"])
        seen = self.seen
        # Windows has handles in their place.
        files: int = getattr(seen, "num_handles", seen.num_fds)()
        sockets = len(seen.net_connections(kind="tcp"))
        return Measure(tasks, files, sockets, self.note_rss())

    async def read(self) -> None:
        """Take in what it writes."""
        assert self.process.stderr is not None
        is_traced = False
        while line := (await self.process.stderr.readline()).decode("utf-8", "replace"):
            self.requests += " request " in line
            self.tracebacks += line.startswith("Traceback")
            is_traced = line.startswith("Traceback") or (is_traced and not _STAMPED.match(line))
            if is_traced and len(self.traced) < MOST_TRACED:
                self.traced.append(line.rstrip())
            self.lines.append(line.rstrip())
            self.said.set()

    async def until_said(self, words: str) -> None:
        """Wait until one of the last lines has `words`. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(words in line for line in self.lines):
                self.said.clear()
                await self.said.wait()


@asynccontextmanager
async def run_gateway(
    upstream_url: str, more: Mapping[str, str], program: Sequence[str] = ("-m", "gateway")
) -> AsyncIterator[Gateway]:
    """
    Run a gateway in front of an address, and end it. `program` is what Python runs.

    Raises RuntimeError when it won't start.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OLGATE_", "OLLAMA_", "LMSTUDIO_", "LM_API_"))
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        "serve",
        "--upstream",
        upstream_url,
        env={**kept, **SETTINGS, **more},
        stderr=asyncio.subprocess.PIPE,
    )
    reading: asyncio.Task[None] | None = None
    try:
        gateway = Gateway(await _address(process), process)
        reading = asyncio.create_task(gateway.read())
        yield gateway
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if reading is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await reading


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = ""
    async with asyncio.timeout(PATIENCE_S):
        while line := (await process.stderr.readline()).decode():
            said += line
            if found := _LISTENING.search(line):
                return found[1]
    raise RuntimeError(f"the gateway ended while starting: {said}")

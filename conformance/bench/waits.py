"""
How long a small request waits at a server while others are served, told apart from the machine.

A process of its own asks, so that nothing that loads the server delays it. Of each wait the time is
taken off in which the server, or the one who asks, was ready to run and had no processor; Linux
counts that (`schedstat`). What is left is the server's own: it worked, or one of its threads held
the interpreter. Beside it a server that does nothing is asked (`bare`): what waits there, waits for
the machine, and on systems that count nothing it is all there is to compare with.

The system of a virtual machine is itself stopped at times, and counts nothing of it. So a thread
that only sleeps tells how much too late it woke.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

BOUND_MS = 50.0
"""Milliseconds that no request may wait for any other."""
PROBE = "/api/version"
PAUSE_S = 0.005
_PATIENCE_S = 120.0


class Waits(msgspec.Struct):
    """What small requests waited at one server, in milliseconds."""

    name: str
    probes: int = 0
    worst_ms: float = 0.0
    worst_held_ms: float = 0.0
    """The longest wait without the wait for a processor."""
    above: int = 0
    """How many waits were above the bound, without the wait for a processor."""

    def note(self, wait_s: float, without_s: float) -> None:
        """Take one wait, and the part of it in which a processor was waited for, in seconds."""
        held_ms = max(0.0, wait_s - without_s) * 1e3
        self.probes += 1
        self.worst_ms = max(self.worst_ms, wait_s * 1e3)
        self.worst_held_ms = max(self.worst_held_ms, held_ms)
        self.above += held_ms > BOUND_MS

    def told(self) -> str:
        """Return it in a few words."""
        return (
            f"{self.worst_ms:.0f} ms at most, {self.worst_held_ms:.0f} ms without the wait for a "
            f"processor, {self.above} of {self.probes} above {BOUND_MS:.0f} ms"
        )


def without_processor_s(pid: int) -> float:
    """Return the seconds in which threads of a process were ready to run, and did not, so far."""
    try:
        return sum(map(_thread_without_s, Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0.0


def _thread_without_s(task: Path) -> float:
    with contextlib.suppress(OSError, IndexError):
        return int((task / "schedstat").read_bytes().split()[1]) / 1e9
    return 0.0


class Sleeper(threading.Thread):
    """Sleeps again and again, and notes how much too late it woke: the machine was stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.waits = Waits("sleep")
        self._is_over = threading.Event()

    def run(self) -> None:
        """Sleep until the end."""
        task = Path(f"/proc/self/task/{threading.get_native_id()}")
        while not self._is_over.is_set():
            without_s, began = _thread_without_s(task), time.perf_counter()
            time.sleep(PAUSE_S)
            late_s = time.perf_counter() - began - PAUSE_S
            self.waits.note(late_s, _thread_without_s(task) - without_s)

    def end(self) -> Waits:
        """Return what was noted."""
        self._is_over.set()
        self.join()
        return self.waits


class _Asker:
    """Asks one server, and keeps what it waited."""

    def __init__(self, name: str, url: str, pid: int) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        self.waits = Waits(name)
        self._pid = pid
        self._connection = http.client.HTTPConnection(
            where.hostname, where.port, timeout=_PATIENCE_S
        )

    def ask(self, own_pid: int) -> None:
        """Ask once."""
        without_s = without_processor_s(self._pid) + without_processor_s(own_pid)
        began = time.perf_counter()
        self._connection.request("GET", PROBE)
        self._connection.getresponse().read()
        took_s = time.perf_counter() - began
        after_s = without_processor_s(self._pid) + without_processor_s(own_pid)
        self.waits.note(took_s, after_s - without_s)


@asynccontextmanager
async def watched(url: str, pid: int) -> AsyncIterator[list[Waits]]:
    """
    Ask a server and a bare one again and again, and only sleep beside that.

    The list has the waits of all three when the block is left.

    Raises RuntimeError when the process that asks fails.
    """
    found: list[Waits] = []
    bare = await _started("conformance.bench.bare")
    try:
        assert bare.stdout is not None
        bare_url = (await bare.stdout.readline()).decode().strip()
        asker = await _started(
            "conformance.bench.waits", "server", url, str(pid), "bare", bare_url, str(bare.pid)
        )
        try:
            yield found
            # Some input, if none: without it, the pipe stays open.
            said, _ = await asker.communicate(b"")
            if asker.returncode:
                raise RuntimeError("the process that asks has failed: see its standard error")
            found += msgspec.json.decode(said, type=list[Waits])
        finally:
            await _ended(asker)
    finally:
        await _ended(bare)


async def _started(module: str, *given: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *given,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def main(given: list[str]) -> None:
    """Ask the servers that are given, each with its name and process id, until the input ends."""
    own_pid = threading.get_native_id()
    askers = [
        _Asker(given[at], given[at + 1], int(given[at + 2])) for at in range(0, len(given), 3)
    ]
    is_over = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        is_over.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    sleeper = Sleeper()
    sleeper.start()
    while not is_over.is_set():
        for asker in askers:
            asker.ask(own_pid)
        time.sleep(PAUSE_S)
    waits = [*(asker.waits for asker in askers), sleeper.end()]
    sys.stdout.write(msgspec.json.encode(waits).decode())
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])

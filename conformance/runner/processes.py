"""Servers as processes, as their users start them: what they are given and where they listen."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0


def clean_environment() -> dict[str, str]:
    """Return the environment without what would turn the gateway or a client elsewhere."""
    unwanted = ("OLGATE_", "OLLAMA_", "LANGCHAIN_", "LANGSMITH_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(unwanted) and not name.lower().endswith("_proxy")
    }
    return {**kept, "OLGATE_STORE_PATH": ":memory:", "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def listening(*module: str) -> Iterator[str]:
    """Run a Python module that says where it listens; yield that address."""
    said: list[str] = []
    address: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read(lines: Iterable[str]) -> None:
        # Read to the end: a full pipe would block the process.
        for line in lines:
            said.append(line)
            if "listening on http" in line:
                address.put(line.split()[-1])
        address.put(None)

    with subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        reading = threading.Thread(target=read, args=[process.stderr])
        reading.start()
        try:
            url = address.get(timeout=START_LIMIT_S)
            if url is None:
                raise RuntimeError(f"{module[0]} ended, it said:\n{''.join(said)}")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
            reading.join()

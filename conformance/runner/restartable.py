"""
Servers as processes on ports of their own, which a test kills, stops and starts again.

`processes` starts servers that live as long as a test.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from conformance.runner.processes import ROOT, START_LIMIT_S, STOP_LIMIT_S, clean_environment

PORTS = (10_240, 32_000)
"""
Below the ports that Linux gives to outgoing connections: one of those could take the port of a
server that is down for a moment.
"""
PAUSE_S = 0.01


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free, and that no outgoing connection takes."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts connections on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=STOP_LIMIT_S).close()
    except OSError:
        return False
    return True


def wait_until(holds: Callable[[], bool], what: str, limit_s: float = START_LIMIT_S) -> None:
    """Wait for a condition. Raises TimeoutError that says what did not happen."""
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {limit_s:g} s: {what}")
        time.sleep(PAUSE_S)


class Server:
    """
    A program that serves on one port of 127.0.0.1, however often it is started.

    `command` has `{port}` where the port belongs. What all of its processes say is in the file
    `log`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.name = name
        self.port = port if port is not None else free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.address = f"127.0.0.1:{self.port}"
        self.log = log
        self._command = [word.replace("{port}", str(self.port)) for word in command]
        self.environment = dict(environment if environment is not None else os.environ)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The number of the process that runs. Raises RuntimeError when none does."""
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """
        Start the program, and wait until it listens.

        Raises RuntimeError with what it said when it ends instead.
        """
        with self.log.open("ab") as sink:
            self._process = process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )
        wait_until(
            lambda: process.poll() is not None or is_listening(self.port), f"{self.name} listens"
        )
        if process.poll() is not None:
            said = self.log.read_text("utf-8", "replace")
            raise RuntimeError(f"{self.name} ended with {process.returncode}, it said:\n{said}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def wait(self, limit_s: float = STOP_LIMIT_S) -> int:
        """Wait for the end of the process; return its exit code."""
        assert self._process is not None
        return self._process.wait(limit_s)

    def kill(self) -> None:
        """End the process as a crash does, and wait for its end."""
        self.signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """End the process, whatever state it is in."""
        if not self.is_running:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Start a server, and end it with the block."""
    try:
        server.start()
        yield server
    finally:
        server.close()


def gateway(
    name: str, folder: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Server:
    """Return a gateway that is not started: `olgate serve` with these flags and variables."""
    command = [sys.executable, "-m", "gateway", "serve", "--host", "127.0.0.1", "--port", "{port}"]
    variables = {**clean_environment(), **(environment or {})}
    return Server(name, [*command, *flags], folder / f"{name}.log", variables)


def standin(name: str, folder: Path, *flags: str) -> Server:
    """Return a stand-in of LM Studio that is not started."""
    command = [sys.executable, "-m", "conformance.standin", "--port", "{port}"]
    return Server(name, [*command, *flags], folder / f"{name}.log", clean_environment())

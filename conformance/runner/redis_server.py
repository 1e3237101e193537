"""
A Redis or Valkey of its own: in a folder of its own, on a free port, ended by its process id.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

NAMES = ("redis-server", "valkey-server")
MISSING = (
    "no redis-server and no valkey-server on this machine; Debian has the package redis-server"
)
"""Why a test that needs one is skipped."""

START_S = 20.0
"""Seconds that a server may take to start."""


def find_redis() -> str | None:
    """Return the program of a server, None if there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class RedisServer:
    """
    One server on 127.0.0.1, which can be killed, paused and started again on its port.

    With `keeps` its changes are on the disk when it answers; else a start finds nothing.
    """

    def __init__(self, folder: Path, *given: str, keeps: bool = True) -> None:
        """Start a server; `given` are further options. Raises RuntimeError if it does not start."""
        self._folder = folder
        self._given = (*given, "--appendonly", "yes", "--appendfsync", "always") if keeps else given
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        for _ in range(5):
            # Another process may take the port in between; then the next one is tried.
            self.port = _free_port()
            if self.start():
                return
        raise RuntimeError(f"no Redis started in {folder}: {self._log()}")

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> bool:
        """Start it on its port, and wait until it answers; return whether it does."""
        program = find_redis()
        assert program is not None, MISSING
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                 "--dir", str(self._folder), *self._given],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < until:
            if _answers(self.port):
                return True
            time.sleep(0.02)
        self.kill()
        return False

    def pause(self) -> None:
        """Stop it without ending it: it takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on after a pause."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would; a second call does nothing."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _log(self) -> str:
        with contextlib.suppress(OSError):
            return (self._folder / "redis.log").read_text(errors="replace")[-500:]
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    """Whether something that speaks Redis's protocol answers, with an error or without."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as link:
        link.sendall(b"PING\r\n")
        answer = link.recv(64)
        return answer.startswith((b"+PONG", b"-NOAUTH", b"-MISCONF"))
    return False

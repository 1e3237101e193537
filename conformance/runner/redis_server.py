"""
A Redis or Valkey of its own: in a folder of its own, on a free port, ended by its process id.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from conformance.runner.processes import clean_environment
from conformance.runner.restartable import Server, wait_until

NAMES = ("redis-server", "valkey-server")
MISSING = (
    "no redis-server and no valkey-server on this machine; Debian has the package redis-server"
)
"""Why a test that needs one is skipped."""


def find_redis() -> str | None:
    """Return the program of a server, None if there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class RedisServer(Server):
    """
    One server on 127.0.0.1, which can be killed, frozen and started again on its port.

    With `keeps` its changes are on the disk when it answers; else a start finds nothing, unless
    `given`, which are further options, say otherwise.
    """

    def __init__(self, folder: Path, *given: str, keeps: bool = True) -> None:
        """Start a server. Raises RuntimeError with its words if it does not start."""
        program = find_redis()
        assert program is not None, MISSING
        kept = ("--appendonly", "yes", "--appendfsync", "always") if keeps else ()
        flags = ("--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
        super().__init__(
            "redis", [program, *flags, *given, *kept], folder / "redis.log", clean_environment()
        )
        self.url = f"redis://127.0.0.1:{self.port}/0"
        """The URL of its first database."""
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers: while it reads its files it only listens."""
        super().start()
        wait_until(lambda: not self.is_running or _answers(self.port), "Redis answers")
        if not self.is_running:
            raise RuntimeError(f"Redis ended, it said:\n{self.log.read_text('utf-8', 'replace')}")


Starting: TypeAlias = Callable[..., RedisServer]
"""Starts a server that ends with a test; it takes the options of `RedisServer`."""


def _answers(port: int) -> bool:
    """Whether something that speaks Redis's protocol answers, with an error or without."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as link:
        link.sendall(b"PING\r\n")
        answer = link.recv(64)
        return answer.startswith((b"+PONG", b"-NOAUTH", b"-MISCONF"))
    return False

"""How a yardstick is served: uvicorn as the gateway has it, on a free port."""

from __future__ import annotations

import argparse
import ctypes
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from conformance.bench import loops
from gateway.server.memory import tune_collector

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
"""Numbers of parameters in glibc's malloc.h."""
_MOST = 32 * 1024 * 1024
"""The greatest size that glibc takes from its heap."""


def keep_memory() -> None:
    """
    Give no memory back, where the C library is glibc.

    A floor is the least possible. Without it, a third of what megabytes of vectors take would be
    pages that the system gives and takes, again and again.
    """
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_parameter is not None:
        set_parameter(_M_MMAP_THRESHOLD, _MOST)
        set_parameter(_M_TRIM_THRESHOLD, 8 * _MOST)


def serve(name: str, make: Callable[[str], Any]) -> None:
    """Serve `make(upstream's URL)` until standard input ends."""
    parser = argparse.ArgumentParser(prog=f"python -m conformance.bench.yardsticks.{name}")
    parser.add_argument("--upstream", required=True)
    upstream: str = parser.parse_args().upstream
    loops.allow_open_files()
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(
        make(upstream), http="httptools", ws="none", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    tune_collector()
    keep_memory()

    def end_with_parent() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    loops.run(server.serve([listener]))

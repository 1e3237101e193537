"""How a yardstick is served: uvicorn as the gateway has it, on a free port."""

from __future__ import annotations

import argparse
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from conformance.bench import loops


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

    def end_with_parent() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    loops.run(server.serve([listener]))

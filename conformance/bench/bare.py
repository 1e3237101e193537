"""
An HTTP server that does nothing: what a small request waits here, the machine has it wait.

`python -m conformance.bench.bare` writes its address to standard output, and ends with its standard
input.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import cast

from conformance.bench.loops import run

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class _Answering(asyncio.Protocol):
    """Takes each read for a request: the one who asks waits for the answer before the next."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Answering, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        run(_serve())

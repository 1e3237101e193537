"""
A connection to the store that a run slows down or cuts: a proxy of TCP in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Self

from conformance.runner.restartable import free_port

CHUNK_BYTES = 65536


class Link:
    """Passes bytes on to a port of 127.0.0.1, after `delay_s`, and not at all while it is cut."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self._target = target
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()

    @classmethod
    @contextlib.contextmanager
    def opened(cls, target: int) -> Iterator[Self]:
        """Serve while the block runs."""
        link = cls(target)
        thread = threading.Thread(target=link._loop.run_forever, daemon=True)
        thread.start()
        start = asyncio.start_server(link._serve, "127.0.0.1", link.port)
        server = asyncio.run_coroutine_threadsafe(start, link._loop).result()
        try:
            yield link
        finally:
            asyncio.run_coroutine_threadsafe(link._end(server), link._loop).result()
            link._loop.call_soon_threadsafe(link._loop.stop)
            thread.join()
            link._loop.close()

    def cut(self) -> None:
        """Close all connections, and each new one at once."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._close_all)

    def mend(self) -> None:
        """Pass bytes on again."""
        self._is_cut = False

    def _close_all(self) -> None:
        for writer in self._writers:
            writer.close()

    async def _end(self, server: asyncio.Server) -> None:
        server.close()
        self._close_all()
        others = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()

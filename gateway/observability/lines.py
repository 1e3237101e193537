"""
Lines for standard error, which is written to in a thread of its own.

Nobody may read standard error: a full pipe and a paused console hold up the write, a closed reader
refuses it, and a process can have none at all. None of this may hold up a request or end the
process. So lines wait in a queue with a bound; what does not fit is lost and counted.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import TextIO

MOST_BYTES = 1 << 20
"""Bytes of lines that may wait for the reader of standard error."""

PIECE_BYTES = 1 << 16
"""Bytes that are written at a time, if so many wait."""

POLL_S = 0.05
"""Seconds between two tries at a file that does not wait by itself, and between two looks."""


class Lines:
    """Writes lines to a stream, without ever waiting for its reader."""

    def __init__(self, stream: TextIO | None, describe_loss: Callable[[int], str]) -> None:
        """
        Write to a stream, None for one that does not exist.

        `describe_loss` returns the line that tells how many lines were lost; it is written in
        their place. A stream without a file, as in tests, is written to at once.
        """
        self._stream = stream
        self._file = _file_of(stream)
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._describe_loss = describe_loss
        self._queue: SimpleQueue[tuple[int, bytes] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._untold = 0
        self._thread: threading.Thread | None = None
        self.lost = 0
        """The number of lines that were lost so far."""

    def write(self, line: str) -> None:
        """Write a line, or lose it."""
        if self._file is None:
            self._write_at_once(f"{line}\n")
            return
        data = self._encoded(line)
        with self._lock:
            if self._waiting_bytes + len(data) > MOST_BYTES:
                self._lose(1)
                return
            if self._untold:
                data = self._told_loss() + data
            self._waiting_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        self._queue.put((1, data))

    def flush(self, limit_s: float) -> bool:
        """Wait until all lines are written, at most `limit_s` seconds; return whether they are."""
        end = time.monotonic() + limit_s
        while self._waiting_bytes and time.monotonic() < end:
            time.sleep(0.001)
        return not self._waiting_bytes

    def close(self) -> None:
        """Let the thread end once it has written what waits."""
        if self._thread is not None:
            self._queue.put(None)

    def _lose(self, number: int) -> None:
        """Count lost lines; the caller holds the lock."""
        self.lost += number
        self._untold += number

    def _write_at_once(self, text: str) -> None:
        try:
            if self._stream is not None:
                self._stream.write(text)
                self._stream.flush()
                return
        except (OSError, ValueError):
            pass
        with self._lock:
            self._lose(1)

    def _run(self) -> None:
        """Write what waits, several lines in one write, until the end of the process."""
        while (item := self._queue.get()) is not None:
            number, data = item
            while len(data) < PIECE_BYTES and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    self._write(number, data)
                    return
                number, data = number + item[0], data + item[1]
            self._write(number, data)

    def _write(self, number: int, data: bytes) -> None:
        is_written = self._write_whole(data)
        told = b""
        with self._lock:
            if not is_written:
                self._lose(number)
            elif self._untold and self._queue.empty():
                told = self._told_loss()
        if told:
            self._write_whole(told)
        with self._lock:
            self._waiting_bytes -= len(data)

    def _told_loss(self) -> bytes:
        """Return the line that tells the loss up to here; the caller holds the lock."""
        number, self._untold = self._untold, 0
        return self._encoded(self._describe_loss(number))

    def _encoded(self, line: str) -> bytes:
        return f"{line}\n".encode(self._encoding, "backslashreplace")

    def _write_whole(self, data: bytes) -> bool:
        """
        Write to the file itself: a thread that waits with Python's lock on standard error would
        hold up everybody else who writes there, and the interpreter at its end.
        """
        assert self._file is not None
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._file, view) :]
            except BlockingIOError:
                # Whoever started the process made the file so that it does not wait.
                self._wait_for_room()
            except OSError:
                return False
        return True

    def _wait_for_room(self) -> None:
        assert self._file is not None
        if sys.platform == "win32":
            time.sleep(POLL_S)
        else:
            select.select([], [self._file], [], 1)


def _file_of(stream: TextIO | None) -> int | None:
    try:
        return stream.fileno() if stream is not None else None
    except (OSError, ValueError, AttributeError, io.UnsupportedOperation):
        return None

"""
How one answer is written to its client: few writes, and chunks as clients need them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from .flow import Flow

LAST_CHUNK: Final = b"0\r\n\r\n"
_SIZES: Final = [b"%x\r\n" % size for size in range(512)]
"""The first lines of short chunks, which most are: formatting one takes longer than the rest."""
_RESET: Final = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which a close resets the connection."""


class Outlet:
    """
    What writes one answer to its connection.

    A head may be held until the end of the current step of the event loop, so that the data after
    it is in the same write: each write is a system call and wakes the client once more.

    `is_plain` is whether the client is one of HTTP/1.0, which knows no chunks: the close of the
    connection ends a body without a length. `is_lines` is whether each line of such a body is a
    chunk: some clients in Node take each chunk for one line (docs/facts/ollama.md#stream-lines).
    """

    transport: asyncio.Transport
    flow: Flow
    response_complete: bool
    chunked_encoding: bool | None
    """Whether the body has no length; None if that is not known yet."""
    is_plain: bool
    is_lines: bool
    _head: bytes
    _flushing: asyncio.Handle

    def hold(self, head: bytes) -> None:
        """Write a head with what follows in this step of the loop, or alone at its end."""
        self._head = head
        self._flushing = asyncio.get_running_loop().call_soon(self.flush)

    def write(self, data: bytes) -> None:
        """Write bytes, and the head before them if it is still held."""
        if self._head:
            self._flushing.cancel()
            data, self._head = self._head + data, b""
        # The loop tells the protocol of a client that has left in its next step.
        if not self.transport.is_closing():
            self.transport.write(data)

    def push(self, part: bytes) -> bool:
        """
        Write a part of the body at once, without the layers of its beginning and end.

        Returns False if the caller must use `send`: the client is slow, has left, or gets no
        chunks.
        """
        transport = self.transport
        if (
            not (self.chunked_encoding and part)
            or self.is_plain
            or self.flow.write_paused
            or transport.is_closing()
        ):
            return False
        chunk = in_chunks(part) if self.is_lines else in_chunk(part)
        if self._head:
            self.write(chunk)
        else:
            transport.write(chunk)
        return True

    def framed(self, part: bytes, *, is_last: bool) -> bytes:
        """Return a part of a body without a length, which may be empty, as it is written."""
        if self.is_plain:
            return part
        if not part:
            return LAST_CHUNK if is_last else b""
        chunks = in_chunks(part) if self.is_lines else in_chunk(part)
        return chunks + LAST_CHUNK if is_last else chunks

    def close(self) -> None:
        """
        Close the connection after everything is written.

        It is reset if its close would look like the end of a body that is cut.
        """
        self.flush()
        if self.is_plain and self.chunked_encoding and not self.response_complete:
            connection = self.transport.get_extra_info("socket")
            if connection is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.transport.abort()
        self.transport.close()

    def flush(self) -> None:
        """Write the head if it is still held."""
        head, self._head = self._head, b""
        if head and not self.transport.is_closing():
            self.transport.write(head)


def in_chunk(part: bytes) -> bytes:
    """Return a part of a body, which is not empty, as HTTP frames it."""
    size = len(part)
    return (_SIZES[size] if size < len(_SIZES) else b"%x\r\n" % size) + part + b"\r\n"


def in_chunks(lines: bytes) -> bytes:
    r"""
    Return lines as one chunk for each.

    >>> in_chunks(b"{}\n[]\n")
    b'3\r\n{}\n\r\n3\r\n[]\n\r\n'
    """
    size = len(lines)
    # Mostly it is one. Memory is searched for its end, where a split looks at each byte.
    if -1 < lines.find(b"\n") < size - 1:
        return b"".join(map(in_chunk, lines.splitlines(keepends=True)))
    # As in `in_chunk`: a call for each token would take longer than the rest.
    return (_SIZES[size] if size < len(_SIZES) else b"%x\r\n" % size) + lines + b"\r\n"

"""
The transport of one answer, which joins uvicorn's writes, and frames chunks as clients need them.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, ClassVar

from uvicorn.protocols.http.flow_control import FlowControl

_CONTINUE = b"HTTP/1.1 100 "
_IN_CHUNKS = b"transfer-encoding: chunked\r\n\r\n"
"""The end of a head without a content length: uvicorn writes this header last."""
_LINES = b"\r\ncontent-type: application/x-ndjson\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_SIZES = [b"%x\r\n" % size for size in range(512)]
"""The first lines of short chunks, which most are: formatting one takes longer than the rest."""
_RESET = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which a close resets the connection."""


class Outlet(asyncio.Transport):
    """
    The transport of one answer, as uvicorn's request object sees it.

    The head is held until the end of the current step of the event loop, so that the data after it
    is in the same write: each write is a system call and wakes the client once more.
    """

    _flushing: asyncio.Handle
    _extra: ClassVar[dict[str, Any]] = {}
    _has_head = False
    _is_chunked = False
    _is_lines = False

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, flow: FlowControl
    ) -> None:
        """Write to `transport`; `flow` says when a client reads too slowly."""
        # asyncio's own would make a dictionary for facts that nobody asks for.
        self._loop = loop
        self._transport = transport
        self._flow = flow
        self._head = b""

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn writes nothing else
        """Write uvicorn's bytes: the first are the head, unless they only ask for the body."""
        if self._has_head and self._is_lines:
            data = _by_lines(data)
        if self._transport.is_closing():
            # The client has left, and the loop tells the protocol in its next step.
            self._head = b""
        elif self._head:
            self._flushing.cancel()
            self._transport.write(self._head + data)
            self._head = b""
        elif self._has_head or data.startswith(_CONTINUE):
            self._transport.write(data)
        else:
            self._has_head = True
            self._is_chunked = data.endswith(_IN_CHUNKS)
            self._is_lines = self._is_chunked and data.find(_LINES) >= 0
            self._head = data
            self._flushing = self._loop.call_soon(self.flush)

    def write_whole(self, answer: list[bytes]) -> None:
        """Write a whole answer that has its length in its head, before anything else, in parts."""
        if self._transport.is_closing():
            return
        if len(answer) == 1:
            self._transport.write(answer[0])
        else:
            self._transport.writelines(answer)

    def write_first(self, head: bytes, chunk: bytes) -> None:
        """Write a head and the first chunk of the body, maybe the last one with it."""
        self._has_head = self._is_chunked = True
        # Not `in`, for which Python tries first to read bytes as a number.
        self._is_lines = head.find(_LINES) >= 0
        if not self._transport.is_closing():
            self._transport.write(head + (_by_lines(chunk) if self._is_lines else chunk))

    def push(self, part: bytes) -> bool:
        """
        Write a part of the body at once, without uvicorn's own `send`, which does more than that.

        Returns False if the caller must use `send`: the client is slow, has left, or gets no
        chunks.
        """
        transport = self._transport
        if not (self._is_chunked and part) or self._flow.write_paused or transport.is_closing():
            return False
        chunk = in_chunk(part)
        # A chunk of lines is split where it is written, as most are of one line.
        if self._head or (self._is_lines and part.count(b"\n") > 1):
            self.write(chunk)
        else:
            transport.write(chunk)
        return True

    def is_closing(self) -> bool:
        """Return whether the connection is closed or closing."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close the connection after everything is written."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Write the head if it is still held."""
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)


class PlainOutlet(Outlet):
    """
    The transport of one answer to a client of HTTP/1.0, which knows no chunks.

    uvicorn frames a body without a length in chunks for every client. Here the frames come off
    again, and the close of the connection is the end of the body.
    """

    _is_framed = False
    _has_ended = False

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn writes nothing else
        """Write uvicorn's bytes: the head, then at most one chunk, and the last one with it."""
        if self._is_framed:
            length, _, framed = data.partition(b"\r\n")
            size = int(length or b"0", 16)
            self._has_ended = bool(data) and (not size or len(framed) > size + len(b"\r\n"))
            data = framed[:size]
        elif not self._has_head and data.endswith(_IN_CHUNKS):
            self._is_framed = True
            data = data.removesuffix(_IN_CHUNKS) + b"\r\n"
        if data:
            super().write(data)

    def close(self) -> None:
        """Close the connection; reset it if the body is cut, as a close would look like its end."""
        connection = self._transport.get_extra_info("socket")
        if self._is_framed and not self._has_ended and connection is not None:
            self.flush()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        super().close()


def in_chunk(part: bytes) -> bytes:
    """Return a part of a body, which is not empty, as HTTP frames it."""
    size = len(part)
    return (_SIZES[size] if size < len(_SIZES) else b"%x\r\n" % size) + part + b"\r\n"


def _by_lines(data: bytes) -> bytes:
    """
    Return a chunk of several lines as one chunk for each.

    `data` is what uvicorn wrote: at most one chunk, and the last one after it or alone. Some
    clients in Node take each chunk for one line (docs/facts/ollama.md#stream-lines).
    """
    # A line, its chunk and the chunk's size have one line end each, and the last chunk has two.
    if data.count(b"\n") <= (5 if data.endswith(_LAST_CHUNK) else 3):
        return data
    size, _, rest = data.partition(b"\r\n")
    body = rest[: int(size, 16)]
    lines = body.splitlines(keepends=True)
    if len(lines) < 2:
        return data
    chunks = [in_chunk(line) for line in lines]
    last = _LAST_CHUNK if data.endswith(b"\r\n" + _LAST_CHUNK) else b""
    return b"".join(chunks) + last

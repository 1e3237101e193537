"""
Requests and replies as bytes: what is sent is exactly what is stated, and nothing that comes is
hidden, the cuts between chunks included.
"""

import contextlib
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LIMIT_S = 30.0
BODILESS = {204, 304}


@dataclass(frozen=True)
class Request:
    """One request. A `Host` of None is the server's own, and an empty one is left out."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    host: str | None = None
    version: str = "1.1"

    def encode(self, authority: str) -> bytes:
        """Return the bytes to send to a server."""
        lines = [f"{self.method} {self.target} HTTP/{self.version}"]
        host = authority if self.host is None else self.host
        if host:
            lines.append(f"Host: {host}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
        lines.append("Connection: close")
        return (
            "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + (self.body or b"")
        )


@dataclass(frozen=True)
class Reply:
    """One reply. `chunks` are the pieces in which a chunked body came, empty for other bodies."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    chunks: tuple[bytes, ...] = ()
    whole: bool = True
    extra: dict[str, str] = field(default_factory=dict, compare=False)

    def header(self, name: str) -> str | None:
        """Return the values of a header joined, or None."""
        values = [value for key, value in self.headers if key.lower() == name]
        return ", ".join(values) if values else None


class NoReply(Exception):
    """The server closed the connection, or stayed silent, before a whole head had come."""


class Late(NoReply):
    """The reply had not ended within the time for it."""


def ask(url: str, request: Request, limit_s: float = LIMIT_S) -> Reply:
    """
    Send one request on a connection of its own and read the reply to its end.

    Raises `NoReply`, and OSError when the server can't be reached.
    """
    place = urlsplit(url)
    address = (place.hostname or "127.0.0.1", place.port or 80)
    until = time.monotonic() + limit_s
    with socket.create_connection(address, timeout=limit_s) as link:
        # Refused early, what it said can still be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            link.sendall(request.encode(place.netloc))
        return read_reply(_Stream(link, until), request.method)


class _Stream:
    """Bytes of a connection, with what was read beyond the wanted kept."""

    def __init__(self, link: socket.socket, until: float) -> None:
        self._link = link
        self._until = until
        self._data = b""

    def line(self) -> bytes:
        """Return a line without its end; raises `NoReply` when none comes."""
        while b"\n" not in self._data:
            if not self._more():
                raise NoReply(f"the connection ended after {self._data[:200]!r}")
        line, self._data = self._data.split(b"\n", 1)
        return line.removesuffix(b"\r")

    def take(self, count: int) -> bytes:
        """Return so many bytes, or fewer when the connection ends."""
        while len(self._data) < count and self._more():
            pass
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def rest(self) -> bytes:
        """Return all bytes to the end."""
        while self._more():
            pass
        return self._data

    def _more(self) -> bool:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Late("no end of the reply in time")
        self._link.settimeout(left)
        try:
            data = self._link.recv(65536)
        except TimeoutError:
            raise Late("no end of the reply in time") from None
        except ConnectionResetError:
            data = b""
        self._data += data
        return bool(data)


def read_reply(stream: _Stream, method: str) -> Reply:
    """Read a reply; raises `NoReply`."""
    while True:
        version, _, rest = stream.line().decode("latin-1").partition(" ")
        if not version.startswith("HTTP/") or not rest[:3].isdigit():
            raise NoReply(f"no status line: {version[:80]!r}")
        status = int(rest[:3])
        headers = tuple(_read_headers(stream))
        if status >= 200:
            break
    found = {name.lower(): value for name, value in headers}
    if method == "HEAD" or status in BODILESS:
        return Reply(status, headers, b"")
    if "chunked" in found.get("transfer-encoding", "").lower():
        chunks, whole = _read_chunks(stream)
        return Reply(status, headers, b"".join(chunks), tuple(chunks), whole)
    if "content-length" in found:
        length = int(found["content-length"])
        body = stream.take(length)
        return Reply(status, headers, body, whole=len(body) == length)
    return Reply(status, headers, stream.rest())


def _read_headers(stream: _Stream) -> Iterator[tuple[str, str]]:
    while line := stream.line():
        name, _, value = line.decode("latin-1").partition(":")
        yield name, value.strip()


def _read_chunks(stream: _Stream) -> tuple[list[bytes], bool]:
    chunks: list[bytes] = []
    try:
        while size := int(stream.line().split(b";")[0], 16):
            chunks.append(stream.take(size))
            stream.take(2)
        stream.line()
    except (NoReply, ValueError):
        return chunks, False
    return chunks, True

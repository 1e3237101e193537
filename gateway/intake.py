"""
How bytes from a client become a request: what uvicorn's httptools protocol lacks.

Here live the limit on the head of a request, and the offer of HTTP/2 that has to be ignored. Not
here: anything that an ASGI application can do for itself.
"""

from array import array
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT_BYTES = 1024 * 1024
"""Request line and headers together; Go's limit, and so Ollama's. httptools has none."""

LINGER_S = 0.5
"""How long a client that was refused has to read why, before its unread bytes reset all."""


class ClientHttp(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what uvicorn gives its protocols."""
        super().__init__(*args, **kwargs)
        self.parser = _Parser(self)
        self.offers_http2 = False
        self._head_bytes: int | None = 0
        self._is_refused = False

    def data_received(self, data: bytes) -> None:
        """Count while a head is unfinished; one read more than the limit may have been taken in."""
        if self._is_refused:
            return
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self._refuse_head()
                return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head has to be read anew without the offer of HTTP/2."""
        upgrade = next((value for name, value in self.headers if name == b"upgrade"), b"")
        self.offers_http2 = self.parser.should_upgrade() and upgrade.strip().lower() == b"h2c"
        if not self.offers_http2:
            self._head_bytes = None
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the request, and count anew for the next one on this connection."""
        if not self.offers_http2:
            self._head_bytes = 0
            super().on_message_complete()

    def head_without_offer(self) -> bytes:
        """Write the head that was just read as if HTTP/2 had not been offered."""
        version = self.parser.get_http_version().encode("ascii")
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(t for t in tokens if t.lower() not in _OFFER)
            if name not in _OFFER and (value or name != b"connection"):
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

    def _refuse_head(self) -> None:
        self._is_refused = True
        text = b"431 Request Header Fields Too Large"
        self.transport.write(
            b"HTTP/1.1 " + text + b"\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: " + str(len(text)).encode("ascii") + b"\r\n"
            b"connection: close\r\n\r\n" + text
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


_OFFER = frozenset({b"upgrade", b"http2-settings"})


class _Parser(httptools.HttpRequestParser):
    """
    Goes on after an offer of HTTP/2, which httptools takes for the end of HTTP.

    It skips the body of every request with an `Upgrade` header, wanted or not. Java's HTTP client
    sends one with its first request, body and all, and Ollama takes that for what it is.
    """

    def __init__(self, protocol: ClientHttp) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: "bytes | bytearray | memoryview | array[int]") -> None:
        """Feed what came; where an offer ends the head, a new parser goes on behind it."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            protocol = self._protocol
            if not protocol.offers_http2:
                raise
            head = protocol.head_without_offer()
            protocol.parser = _Parser(protocol)
            protocol.parser.feed_data(head + bytes(data[upgrade.args[0] :]))

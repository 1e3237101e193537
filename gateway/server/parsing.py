"""
The parser of requests: httptools, with the methods and offers of other protocols that Go takes.
"""

from __future__ import annotations

import re
from array import array
from functools import lru_cache
from typing import Protocol
from urllib.parse import unquote

import httptools

from .heads import Head


def split_url(url: bytes) -> tuple[str, bytes, bytes]:
    """
    Return the path, decoded and as sent, and the query. Raises HttpParserError for no URL.

    Bytes that are not ASCII, which the parser lets through, are no URL either.
    """
    parsed = httptools.parse_url(url)
    raw = parsed.path
    path = raw.decode("ascii")
    return unquote(path) if "%" in path else path, raw, parsed.query or b""


SHORT_URL = 64
"""The longest URL, in bytes, that is kept with what it is split into."""
known_url = lru_cache(maxsize=512)(split_url)


METHOD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ")
"""What a request begins with."""
METHODS = frozenset(
    b"GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT PROPFIND PROPPATCH MKCOL COPY MOVE "
    b"LOCK UNLOCK SEARCH REPORT".split()
)
"""Methods that httptools is given as they are; what another is, it need not know."""
STAND_IN = b"REPORT"
"""The method that replaces one that httptools does not know; httptools gives it no meaning."""
OFFER = frozenset({b"upgrade", b"http2-settings"})
"""The headers with which another protocol is offered."""


class Offered(Protocol):
    """The connection that a parser calls, with the head that it has read."""

    parser: Parser | None
    has_idle_offer: bool
    url: bytes
    headers: Head


class Parser(httptools.HttpRequestParser):
    """
    Goes on after an offer to upgrade, which httptools takes for the end of HTTP, and takes methods
    that httptools does not know.

    httptools skips the body of every request with an `Upgrade` header, wanted or not. Java's HTTP
    client sends one with its first request, body and all, and Ollama takes that for what it is.
    """

    own_method = b""
    """The method of the request, if httptools was given another one that it knows."""

    def __init__(self, protocol: Offered) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def get_method(self) -> bytes:
        """Return the method as the client wrote it."""
        return self.own_method or super().get_method()

    def is_http(self, data: bytes) -> bool:
        """
        Parse bytes, and return whether they are HTTP.

        What follows an offer that is taken up is another protocol, which nothing here speaks, and
        no request.
        """
        try:
            self.feed_data(data)
        except httptools.HttpParserError:
            return False
        except httptools.HttpParserUpgrade:
            pass
        return True

    def feed_data(self, data: bytes | bytearray | memoryview | array[int]) -> None:
        """Parse bytes; if an offer of HTTP/2 ends the head, continue after it with a new parser."""
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            protocol = self._protocol
            if not protocol.has_idle_offer:
                raise
            head = self._head_without_offer()
            protocol.parser = Parser(protocol)
            protocol.parser.feed_data(head + bytes(data[upgrade.args[0] :]))

    def _head_without_offer(self) -> bytes:
        """Write the head that was just read as if no other protocol had been offered."""
        version = self.get_http_version().encode("ascii")
        lines = [self.get_method() + b" " + self._protocol.url + b" HTTP/" + version]
        for name, value in self._protocol.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(t for t in tokens if t.lower() not in OFFER)
            if name not in OFFER and (value or name != b"connection"):
                lines.append(name + b": " + value)
        return b"\r\n".join([*lines, b"", b""])

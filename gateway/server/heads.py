"""
The heads of requests that were read before, by their bytes.

A client sends the same head again and again, but for the length of its body. Such a head is not
parsed anew, and what depends on nothing else is looked up once for all requests that have it
(docs/decisions/0044-heads-are-read-once.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from .of_servers import OfServers

MOST_BYTES: Final = 2048
"""The longest head that is kept."""
MOST_HEADS: Final = 256
"""
How many heads of requests with a body, and how many of others, are kept for all connections of a
server. The oldest makes room for a new one.
"""

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?([0-9]{1,9})\r\n")
_NOT_KEPT: Final = frozenset(
    (
        b"authorization", b"cookie", b"x-api-key", b"proxy-authorization",  # secrets
        b"x-request-id", b"traceparent",  # other ones in every request
        b"connection", b"expect", b"transfer-encoding", b"upgrade",  # not only a head and a body
    )
)  # fmt: skip
_KEEPS_ALIVE: Final = b"keep-alive"


class Head(list[tuple[bytes, bytes]]):
    """The headers of a request: names in lower case, and values as they came."""

    __slots__ = ("_texts", "judged")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Take headers in the order in which they came; all of them are there before `text`."""
        super().__init__(headers)
        self._texts: dict[bytes, str] | None = None
        self.judged: Any = None
        """What the edge keeps of its judgement of the head."""

    def text(self, name: bytes) -> str:
        """Return the value of the first header of a name, "" if it is missing."""
        texts = self._texts
        if texts is None:
            texts = self._texts = {}
            for key, value in self:
                if key not in texts:
                    texts[key] = value.decode("latin-1")
        return texts.get(name, "")


class Known:
    """
    A head that was read, with all of a scope that comes from it.

    `length` is the body's length in bytes that the last request stated with it.
    """

    __slots__ = ("_length_at", "head", "length", "method", "path", "query", "raw_path", "url")

    def __init__(self, scope: Any, url: bytes, length: int, length_at: int | None) -> None:
        """Take a parsed request; `length_at` is the place of the header that states the length."""
        self.head: Head = scope["headers"]
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.url = url
        self.length = length
        self._length_at = length_at

    def state(self, length: int) -> None:
        """Have the head state another length."""
        at = self._length_at
        assert at is not None, "a head without a length is of a request without a body"
        changed = Head(self.head)
        changed[at] = (b"content-length", b"%d" % length)
        changed.judged = self.head.judged
        if (texts := self.head._texts) is not None:
            changed._texts = {**texts, b"content-length": str(length)}
        self.head = changed
        self.length = length


class Heads:
    """The heads that the connections of one server have read."""

    def __init__(self) -> None:
        """Know none yet."""
        self._bodiless: dict[bytes, Known] = {}
        self._with_body: dict[bytes, Known] = {}
        """By the head without the digits of the length, which is no head by itself."""

    def find(self, data: bytes) -> tuple[Known, bytes] | None:
        """
        Return the head of a request, and what there is of its body, if the head is a known one.

        The head states the body's length. There is no more than that request in `data`.
        """
        end = data.find(_END) + 4
        if end == len(data) and (known := self._bodiless.get(data)) is not None:
            return known, b""
        if end < 4:
            return None
        key, length = _key_of(data, end)
        known = self._with_body.get(key)
        if known is None or len(data) - end > length:
            return None
        if known.length != length:
            known.state(length)
        return known, data[end:]

    def keep(self, data: bytes, scope: Any, url: bytes) -> None:
        """Keep the head of a request that was parsed, if `data` is no more than that request."""
        headers = scope["headers"]
        end = data.find(_END) + 4
        if not 4 <= end <= MOST_BYTES or b"?" in url or not _may_keep(headers):
            return
        key, length, length_at, kept = data, 0, None, self._bodiless
        if end < len(data):
            kept = self._with_body
            key, length = _key_of(data, end)
            places = [at for at, (name, _) in enumerate(headers) if name == b"content-length"]
            if len(places) != 1 or headers[places[0]][1] != b"%d" % length:
                return
            length_at = places[0]
        if end + length != len(data):
            return
        if len(kept) >= MOST_HEADS:
            del kept[next(iter(kept))]
        kept[key] = Known(scope, url, length, length_at)


def _key_of(data: bytes, end: int) -> tuple[bytes, int]:
    """Return a head without the digits of the body's length, and that length; -1 for none."""
    found = _LENGTH.search(data, 0, end)
    if found is None:
        return data[:end], -1
    first, last = found.span(1)
    return data[:first] + data[last:end], int(found[1])


def _may_keep(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return all(
        name not in _NOT_KEPT or (name == b"connection" and value.lower() == _KEEPS_ALIVE)
        for name, value in headers
    )


heads_of = OfServers(Heads).of
"""Returns those of all connections of a server."""

"""
The heads of requests that were read before, by their bytes.

A client sends the same head again and again, but for the length of its body. Such a head is not
parsed anew, and what depends on nothing else is looked up once for all requests that have it
(docs/decisions/0044-heads-are-read-once.md).

A client's key is cut out of its head before that is looked up, and put into the headers of its own
request only (docs/decisions/0049-a-key-is-no-part-of-its-head.md). Who has it is asked for each
request (`keys`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

MOST_BYTES: Final = 2048
"""The longest head that is kept."""
MOST_HEADS: Final = 256
"""
How many heads of requests with a body, and how many of others, are kept for all connections of a
server. The oldest makes room for a new one.
"""

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ?([0-9]{1,9})\r\n")
_KEY: Final = re.compile(
    rb"\r\n(?:[Aa]uthorization|[Xx]-[Aa][Pp][Ii]-[Kk][Ee][Yy]): ?([!-~](?:[ -~]*[!-~])?)\r\n"
)
"""The line of a key as all clients write it: the parser takes just this text for its value."""
_OF_KEYS: Final = (b"authorization", b"x-api-key")
_NOT_KEPT: Final = frozenset(
    (
        b"cookie", b"proxy-authorization",  # secrets that are no keys of the gateway's
        b"x-request-id", b"traceparent",  # other ones in every request
        b"connection", b"expect", b"transfer-encoding", b"upgrade",  # not only a head and a body
    )
)  # fmt: skip
_KEEPS_ALIVE: Final = b"keep-alive"


class Head(list[tuple[bytes, bytes]]):
    """The headers of a request: names in lower case, and values as they came."""

    __slots__ = ("_texts", "judged", "known")

    def __init__(self, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Take headers in the order in which they came; all of them are there before `text`."""
        super().__init__(headers)
        self._texts: dict[bytes, str] | None = None
        self.judged: Any = None
        """What the edge keeps of its judgement of the head, whatever key it has."""
        self.known: Head | None = None
        """The head that is kept in place of this one, which has a key or another length."""

    def judge(self, judged: Any) -> None:
        """Keep a judgement for all heads that are like this one."""
        self.judged = judged
        if self.known is not None:
            self.known.judged = judged

    def with_value(self, at: int, value: bytes) -> Head:
        """Return the head with another value in one place."""
        name = self[at][0]
        changed = Head(self)
        changed[at] = (name, value)
        changed.judged = self.judged
        changed.known = self.known or self
        # All of them are read once for all such heads.
        self.text(name)
        changed._texts = {**(self._texts or {}), name: value.decode("latin-1")}
        return changed

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
    A head that was read, with all of a scope that comes from it, but without a key.

    `length` is the body's length in bytes that the last request stated with it.
    """

    __slots__ = (
        "_head",
        "_key_at",
        "_length_at",
        "_most_of_key",
        "length",
        "method",
        "path",
        "plain",
        "query",
        "raw_path",
        "url",
    )

    def __init__(
        self, scope: Any, url: bytes, length: int, length_at: int | None, key_at: int | None
    ) -> None:
        """Take a parsed request; the places are of the headers with its length and its key."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.url = url
        self.length = length
        self._length_at = length_at
        self._key_at = key_at
        self._most_of_key = 0
        head: Head = scope["headers"]
        if key_at is not None:
            self._most_of_key = len(head[key_at][1])
            kept = Head(head)
            kept[key_at] = (head[key_at][0], b"")
            # The edge has not judged it yet.
            head.known = kept
            head = kept
        self._head = head
        self.plain = head if key_at is None else None
        """The head with its last length; None if it needs a key."""

    def head(self, length: int, key: bytes) -> Head | None:
        """
        Return the head with a length and a key, b"" for none.

        None if the head that was read had none, or if the key is longer than one that was read: a
        head may be too long with it.
        """
        if len(key) > self._most_of_key or bool(key) != (self._key_at is not None):
            return None
        if length != self.length:
            assert self._length_at is not None, "a head without a length is without a body"
            # Nobody asks for the one with the last length again.
            self._head = self._head.with_value(self._length_at, b"%d" % length)
            self._head.known = None
            self.length = length
        if self._key_at is not None:
            return self._head.with_value(self._key_at, key)
        self.plain = self._head
        return self._head


class Heads:
    """The heads that the connections of one server have read."""

    def __init__(self) -> None:
        """Know none yet."""
        self._bodiless: dict[bytes, Known] = {}
        self._with_body: dict[bytes, Known] = {}
        """By the head without the digits of the length, which is no head by itself."""

    def find(self, data: bytes) -> tuple[Known, Head, bytes] | None:
        """
        Return what is known of a request's head, the head, and what there is of its body.

        The head states the body's length. There is no more than that request in `data`. None if
        the head is not known.
        """
        end = data.find(_END) + 4
        if end == len(data) and (known := self._bodiless.get(data)) is not None:
            return None if known.plain is None else (known, known.plain, b"")
        if end < 4:
            return None
        rest, length = _without_length(data, end)
        kept = self._with_body
        if length < 0:
            kept, length = self._bodiless, 0
        known, key = kept.get(rest), b""
        if known is None:
            # Only a head that is not known by all of its bytes may have a key.
            rest, key = _without_key(rest)
            known = kept.get(rest) if key else None
        if known is None or len(data) - end > length:
            return None
        head = known.plain if length == known.length and not key else known.head(length, key)
        return None if head is None else (known, head, data[end:])

    def keep(self, data: bytes, scope: Any, url: bytes) -> None:
        """Keep the head of a request that was parsed, if `data` is no more than that request."""
        headers = scope["headers"]
        end = data.find(_END) + 4
        if not 4 <= end <= MOST_BYTES or b"?" in url or not _may_keep(headers):
            return
        rest, length, length_at, kept = data[:end], 0, None, self._bodiless
        if end < len(data):
            kept = self._with_body
            rest, length = _without_length(data, end)
            length_at = _place_of((b"content-length",), b"%d" % length, headers)
            if length_at is None:
                return
        if end + length != len(data):
            return
        key_at = None
        if any(name in _OF_KEYS for name, _ in headers):
            rest, key = _without_key(rest)
            key_at = _place_of(_OF_KEYS, key, headers)
            if not key or key_at is None:
                return
        if len(kept) >= MOST_HEADS:
            del kept[next(iter(kept))]
        kept[rest] = Known(scope, url, length, length_at, key_at)


def _without_length(data: bytes, end: int) -> tuple[bytes, int]:
    """Return a head without the digits of the body's length, and that length; -1 for none."""
    found = _LENGTH.search(data, 0, end)
    if found is None:
        return data[:end], -1
    first, last = found.span(1)
    return data[:first] + data[last:end], int(found[1])


def _without_key(head: bytes) -> tuple[bytes, bytes]:
    """Return a head without a client's key, and that key; b"" for none."""
    found = _KEY.search(head)
    if found is None:
        return head, b""
    first, last = found.span(1)
    return head[:first] + head[last:], found[1]


def _place_of(
    names: tuple[bytes, ...], value: bytes, headers: list[tuple[bytes, bytes]]
) -> int | None:
    """Return the place of the only header with one of some names, None if it has another value."""
    places = [at for at, (name, _) in enumerate(headers) if name in names]
    return places[0] if len(places) == 1 and headers[places[0]][1] == value else None


def _may_keep(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return all(
        name not in _NOT_KEPT or (name == b"connection" and value.lower() == _KEEPS_ALIVE)
        for name, value in headers
    )

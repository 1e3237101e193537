"""
Events with characters that were cut in two between them.

A half at the end of a text waits with its event until the text goes on, as on Ollama's own routes
(docs/facts/lmstudio.md#cut-characters). What is never joined becomes U+FFFD.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from ..upstream.sse import Event
from ..wire.cut_text import mend
from ..wire.salvage import NotJson, parse

LONE_HALF: Final = re.compile(
    rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F])"
)
"""
Halves of characters, as JSON escapes them, of which one may be lone.

Both begin alike, so that this beginning is searched for, forty times as fast as any byte is tried.
An escaped backslash before the letter `u` looks the same and is none.
"""
MOST_WAITING: Final = 16
"""Events that wait for the other half of a character at most."""

_FIRST_HALVES: Final = ("\ud800", "\udbff")
_IS_FINISHED: Final = re.compile(rb'"finish_reason"\s*:\s*"')
Path: TypeAlias = tuple[str | int, ...]


class _Waiting(NamedTuple):
    """An event that waits: its value without halves at the ends of its texts."""

    event: Event
    value: Any


class _Half(NamedTuple):
    """A first half, and the event whose text it ended."""

    text: str
    owner: Any


class CutEvents:
    """Joins characters between the events of one stream."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._halves: dict[Path, _Half] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether an event waits, so that the next one must be taken."""
        return bool(self._waiting)

    def take(self, event: Event) -> list[Event]:
        """Return the events that can be passed on; the same object where it is sound."""
        data = event.data
        may_be_cut = LONE_HALF.search(data) is not None or not is_utf8(data)
        if not (may_be_cut or self._waiting):
            return [event]
        try:
            value = parse(data)
        except NotJson:
            return [*self.flush(), event]
        if not self._waiting and not _is_cut(value) and is_utf8(data):
            return [event]
        if not isinstance(value, dict):
            # No chunk, so the next event goes on with none of its texts.
            return [*self.flush(), Event(event.name, mended_json(value))]
        before = {path: half for path, half in self._halves.items() if _text_at(value, path)}
        for path, half in before.items():
            _put(value, path, half.text + _text_at(value, path))
            del self._halves[path]
        if may_be_cut or before:
            for path, text in list(_texts(value, ())):
                if _FIRST_HALVES[0] <= text[-1:] <= _FIRST_HALVES[1]:
                    _put(value, path, text[:-1])
                    self._halves[path] = _Half(text[-1], value)
        self._waiting.append(_Waiting(event, value))
        is_over = _IS_FINISHED.search(data) is not None or len(self._waiting) > MOST_WAITING
        return self.flush() if is_over or not self._halves else []

    def flush(self) -> list[Event]:
        """Return what waits, with U+FFFD for the halves that nothing came to."""
        for path, half in self._halves.items():
            _put(half.owner, path, _text_at(half.owner, path) + "\ufffd")
        waiting, self._waiting, self._halves = self._waiting, [], {}
        return [Event(one.event.name, mended_json(one.value)) for one in waiting]


def mended_body(body: bytes) -> bytes:
    """Return JSON with U+FFFD for what is no character; the same object where there is no such."""
    try:
        value = parse(body)
    except NotJson:
        return body
    return mended_json(value) if _is_cut(value) or not is_utf8(body) else body


def is_utf8(data: bytes) -> bool:
    """Return whether bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def mended_json(value: Any) -> bytes:
    """Return JSON with U+FFFD for what is no character."""
    return json.dumps(mend(value), ensure_ascii=False, separators=(",", ":")).encode()


def _is_cut(value: Any) -> bool:
    """Return whether a value has halves of characters, which no encoder writes."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _texts(item, (*path, place))


def _text_at(value: Any, path: Path) -> str:
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return ""
    return value if isinstance(value, str) else ""


def _put(value: Any, path: Path, text: str) -> None:
    *way, last = path
    for key in way:
        value = value[key]
    value[last] = text

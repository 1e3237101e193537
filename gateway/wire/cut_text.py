"""
Texts with characters that were cut in two.

JavaScript counts in UTF-16, so a server in it may cut a character between its halves. A half is a
lone surrogate in Python, which no encoder writes (docs/facts/lmstudio.md#cut-characters).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE = re.compile("[\ud800-\udfff]")
_FIRST_HALVES = ("\ud800", "\udbff")


def mended(text: str) -> str:
    r"""
    Return a text with its halves joined, and U+FFFD for each lone one.

    >>> mended("a\ud83d\ude00 \ud83d") == "a\U0001f600 \ufffd"
    True
    """
    if _LONE.search(text) is None:
        return text
    return _LONE.sub("\ufffd", _PAIR.sub(_join, text))


def mend(value: Any) -> Any:
    """Return a JSON value with all its texts mended; structs are changed in place."""
    if isinstance(value, str):
        return mended(value)
    if isinstance(value, list):
        return [mend(item) for item in value]
    if isinstance(value, dict):
        return {mend(key): mend(item) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            before = getattr(value, name)
            if isinstance(before, str | list | dict | msgspec.Struct):
                setattr(value, name, mend(before))
    return value


class CutTexts:
    r"""
    Joins characters that were cut between two frames of one stream.

    The first half waits until the next frame that has text. It stands there with its other half, or
    as U+FFFD. Frames are structs whose texts, at any depth of structs, go on from frame to frame.

    >>> class Frame(msgspec.Struct):
    ...     text: str
    >>> cuts = CutTexts()
    >>> cuts.join([Frame("a\ud83d")]), cuts.join([Frame("\ude00b")])
    ([Frame(text='a')], [Frame(text='😀b')])
    """

    def __init__(self) -> None:
        self._halves: dict[tuple[str, ...], str] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether a half waits for its other half."""
        return bool(self._halves)

    def join(self, frames: list[Any], *, is_last: bool = False) -> list[Any]:
        """Return the frames, changed in place; after the last one no half waits."""
        for at, frame in enumerate(frames):
            waiting, self._halves = self._halves, {}
            self._join(frame, (), waiting, is_last and at == len(frames) - 1)
        return frames

    def _join(
        self, value: Any, path: tuple[str, ...], waiting: dict[tuple[str, ...], str], is_last: bool
    ) -> None:
        for name in value.__struct_fields__:
            here = (*path, name)
            before = getattr(value, name)
            if isinstance(before, msgspec.Struct):
                self._join(before, here, waiting, is_last)
                continue
            half = waiting.get(here)
            if half is None and not isinstance(before, str | list | dict):
                continue
            if half is None and not isinstance(before, str):
                setattr(value, name, mend(before))
                continue
            text = (half or "") + (before if isinstance(before, str) else "")
            if not is_last and text and _FIRST_HALVES[0] <= text[-1] <= _FIRST_HALVES[1]:
                self._halves[here] = text[-1]
                text = text[:-1]
            if text or isinstance(before, str):
                setattr(value, name, mended(text))


def _join(found: re.Match[str]) -> str:
    first, second = found[0][0], found[0][1]
    return chr(0x10000 + ((ord(first) - 0xD800) << 10) + (ord(second) - 0xDC00))

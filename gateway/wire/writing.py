"""
Encoding of answers and frames, the way Ollama writes JSON.

The JSON is compact, with fields in the struct's order, and with escapes for `<`, `>`, `&`, U+2028
and U+2029
(docs/facts/ollama.md#json-out).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from .cut_text import mend
from .splitting import Steps

JSON = b"application/json; charset=utf-8"
JSON_OF_STREAMS = b"application/json"
"""
The content type of an error before a stream's first line, and of a report in one piece
(docs/facts/ollama.md#content-types).
"""
NDJSON = b"application/x-ndjson"
TEXT = b"text/plain; charset=utf-8"
NO_TYPE = b""
"""For an answer without a body: Ollama sends no content type then."""

_SEPARATORS_ESCAPED = (("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"))
_SEPARATORS = "\u2028".encode()[:2]
"""The first byte of both separators; other punctuation has it, too, and is not replaced."""
_LESS, _GREATER, _AND = b"<>&"
"""As numbers: searching for a byte is ten times as fast as searching for bytes, which Python first
tries to read as a number."""
_MARK = msgspec.Raw(b"\0")
_PIECE = 128 * 1024
"""Characters of a text that are written in one step."""
_LEAST = 64
"""Bytes that a value is taken for, besides those of a text: it takes as long as these."""
_TEXTS = (str, msgspec.Raw)
_PARTS = (list, tuple)
_fields_of = msgspec.structs.astuple
_encoder = msgspec.json.Encoder()
_view: Callable[[msgspec.Raw], memoryview] = memoryview


ANSWER_AT_ONCE: Final = 64 * 1024
"""
The longest answer, in bytes, that is translated and written in one step: four vectors, 0.2 ms.
"""
_NOT_MADE: Final = cast("msgspec.Raw", object())


class RawNumbers(list[msgspec.Raw]):
    """
    Raw values of nothing but numbers, in which no character is to be escaped.

    Many are made as late as they are written (`make_numbers`), some in each step. Until then the
    list holds what no encoder takes, so that nobody writes it without them.
    """

    __slots__ = ("_later",)

    def __init__(
        self,
        values: Iterable[msgspec.Raw] = (),
        *,
        later: Iterator[Iterable[msgspec.Raw]] | None = None,
    ) -> None:
        """Have these values, or those that `later` makes."""
        super().__init__(values if later is None else (_NOT_MADE,))
        self._later = later

    def make(self) -> Steps[None]:
        """Make all of them, in steps of a bounded time; raises what making them raises."""
        later, self._later = self._later, None
        if later is not None:
            made: list[msgspec.Raw] = []
            for values in later:
                made += values
                yield
            self[:] = made


def make_numbers(value: msgspec.Struct) -> Steps[None]:
    """Make the numbers of a struct that are not made yet, in steps of a bounded time."""
    for name in _raw_lists_in(type(value)):
        items = getattr(value, name)
        if type(items) is RawNumbers:
            yield from items.make()


def give_numbers(made: msgspec.Struct, value: msgspec.Struct) -> None:
    """Give a struct the numbers of another one of its kind, in place of those that are not made."""
    for name in _raw_lists_in(type(value)):
        if type(getattr(value, name)) is RawNumbers:
            setattr(value, name, getattr(made, name))


def encode(value: object) -> bytes:
    """
    Return a value as one JSON text.

    These characters occur in JSON only inside strings, so replacing the bytes is safe.

    >>> encode({"a": "<b>"})
    b'{"a":"\\\\u003cb\\\\u003e"}'

    A lone surrogate, which a host may send, is written as U+FFFD.
    """
    try:
        return _escape(_encoder.encode(value))
    except UnicodeEncodeError:
        return _escape(_encoder.encode(mend(value)))


def encode_in_parts(value: msgspec.Struct) -> list[bytes | memoryview]:
    """
    Return the same bytes in several parts; raw numbers, which must have been made, are parts of
    their own and not copies.

    `encode` copies them again and again, into memory that grows, and out of it, and looks at each
    byte for what is to be escaped.

    >>> class Answer(msgspec.Struct):
    ...     items: list[msgspec.Raw]
    ...     count: int
    >>> parts = encode_in_parts(Answer(RawNumbers([msgspec.Raw(b"[1]"), msgspec.Raw(b"[2]")]), 2))
    >>> [*map(bytes, parts)]
    [b'{"items":[', b'[1]', b',', b'[2]', b'],"count":2}']
    """
    for name in _raw_lists_in(type(value)):
        items = getattr(value, name)
        if type(items) is RawNumbers and items:
            # In JSON, the mark stands nowhere.
            start, _, end = encode(replace(value, **{name: _MARK})).partition(b"\0")
            parts: list[bytes | memoryview] = [b","] * (2 * len(items) + 1)
            parts[0], parts[-1] = start + b"[", b"]" + end
            parts[1::2] = map(_view, items)
            return parts
    return [encode(value)]


@lru_cache(maxsize=64)
def _raw_lists_in(kind: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the fields of a struct that are lists of raw values."""
    fields = msgspec.structs.fields(kind)
    return tuple(field.name for field in fields if field.type == list[msgspec.Raw])


def _encode_marked(value: msgspec.Struct, apart: Mapping[str, Any]) -> list[bytes]:
    """Return what is before, between and after the values of these fields."""
    # In JSON, this byte stands nowhere.
    marked = replace(value, **dict.fromkeys(apart, _MARK))
    return encode(marked).split(b"\0")


def encode_in_steps(value: msgspec.Struct) -> Steps[bytes]:
    """
    Do the same for a struct of many bytes, in steps of a bounded time.

    The structs in its lists are taken out of them, as nothing else may keep a large body.
    """
    whole = BytesIO()
    yield from _write(value, whole)
    return whole.getvalue()


def _write(value: msgspec.Struct, whole: BytesIO) -> Steps[None]:
    """Write a struct; if it holds much, its lists, structs and long texts part by part."""
    if _weight(value) <= _PIECE:
        whole.write(encode(value))
        return
    apart: dict[str, Any] = {}
    for name in value.__struct_fields__:
        held = getattr(value, name)
        if isinstance(held, msgspec.Struct) or (
            isinstance(held, list | str) and len(held) > (0 if isinstance(held, list) else _PIECE)
        ):
            apart[name] = held
    first, *rest = _encode_marked(value, apart)
    whole.write(first)
    for part, held in zip(rest, apart.values(), strict=True):
        if isinstance(held, msgspec.Struct):
            yield from _write(held, whole)
        elif isinstance(held, str):
            yield from _write_text(held, whole)
        else:
            yield from _write_items(held, whole)
        whole.write(part)


def _write_text(text: str, whole: BytesIO) -> Steps[None]:
    whole.write(b'"')
    for at in range(0, len(text), _PIECE):
        whole.write(memoryview(encode(text[at : at + _PIECE]))[1:-1])
        yield
    whole.write(b'"')


def _write_items(items: list[Any], whole: BytesIO) -> Steps[None]:
    at = 0
    mark = b"["
    while at < len(items):
        whole.write(mark)
        mark = b","
        item = items[at]
        end = _end_of_group(items, at)
        if end == at + 1 and isinstance(item, msgspec.Struct):
            yield from _write(item, whole)
        elif end == at + 1 and isinstance(item, str):
            yield from _write_text(item, whole)
        else:
            whole.write(encode(items[at:end])[1:-1])
        if isinstance(item, msgspec.Struct):
            # They are written once, so their texts need not be in memory any longer.
            items[at:end] = [None] * (end - at)
        at = end
        yield
    whole.write(b"]")


def _end_of_group(items: list[Any], at: int) -> int:
    """Return the end of as many items, one at least, as may be written in one step."""
    weight = _weight(items[at])
    for end in range(at + 1, len(items)):
        weight += _weight(items[end])
        if weight > _PIECE:
            return end
    return len(items)


def _weight(held: Any) -> int:
    """Return about how many bytes of JSON a value is, or some number beyond `_PIECE`."""
    if isinstance(held, _TEXTS):
        return _LEAST + len(held)
    parts = _fields_of(held) if isinstance(held, msgspec.Struct) else held
    weight = _LEAST
    if isinstance(parts, _PARTS):
        for part in parts:
            # Most fields are absent.
            if part is not msgspec.UNSET:
                weight += _weight(part)
                if weight > _PIECE:
                    break
    return weight


def encode_line(frame: object) -> bytes:
    """Return a frame as one NDJSON line."""
    return encode(frame) + b"\n"


def encode_lines(frames: list[Any]) -> bytes:
    r"""
    Return frames as NDJSON lines; the characters to escape are searched in all at once.

    >>> encode_lines([{"a": "<"}, {}])
    b'{"a":"\\u003c"}\n{}\n'

    Raises UnicodeEncodeError for a lone surrogate: its other half may be in the next frame.
    """
    data = _encoder.encode_lines(frames)
    # The same search as in `_escape`, which most frames do not need.
    if data.isascii() and not (_LESS in data or _GREATER in data or _AND in data):
        return data
    return _escape(data)


def _escape(data: bytes) -> bytes:
    if _LESS in data:
        data = data.replace(b"<", b"\\u003c")
    if _GREATER in data:
        data = data.replace(b">", b"\\u003e")
    if _AND in data:
        data = data.replace(b"&", b"\\u0026")
    if not data.isascii() and data.find(_SEPARATORS) >= 0:
        for plain, escaped in _SEPARATORS_ESCAPED:
            data = data.replace(plain, escaped)
    return data


def encode_error(text: str) -> bytes:
    """Return Ollama's error object."""
    return encode({"error": text})


def encode_error_line(text: str) -> bytes:
    """Return Ollama's error object as the last line of a stream."""
    return encode_line({"error": text})

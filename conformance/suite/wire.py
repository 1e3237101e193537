"""
Rules for the bytes of any Ollama answer, whatever the case is about.

How JSON is written, how lines are cut and how a stream ends (docs/facts/ollama.md#json-out,
docs/facts/ollama.md#stream-lines, docs/facts/ollama.md#frame-times). Nothing here is about a
single route.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from conformance.suite.compare import TIMESTAMP, Mismatch, look_up, show

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPED = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


class NotJson(ValueError):
    """The bytes are not one JSON value, or hold a key twice."""


def read_json(data: bytes) -> Any:
    """Decode one JSON value; raises `NotJson`, also for a repeated key or bad UTF-8."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except ValueError as error:
        raise NotJson(str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [key for key, _ in pairs]
        raise NotJson(f"key {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return value


def check_writing(data: bytes, path: str) -> Iterator[Mismatch]:
    """Yield where JSON is not compact, or a character that Go escapes stands raw."""
    text = data.decode("utf-8", "replace")
    bare = _TEXT.sub('""', text)
    if any(letter in bare for letter in " \t\r\n"):
        yield Mismatch(path, "compact JSON", show(text))
    for letter, escape in _ESCAPED.items():
        if letter in text:
            yield Mismatch(path, f"{escape} for U+{ord(letter):04X}", show(text))


def check_created(value: Any, path: str) -> Iterator[Mismatch]:
    """Yield a `created_at` that is not RFC 3339 in UTC with the fraction's zeros cut."""
    found, stamp = look_up(value, "created_at")
    if found and not (
        isinstance(stamp, str) and stamp.endswith("Z") and TIMESTAMP.fullmatch(stamp)
    ):
        yield Mismatch(f"{path}.created_at", "RFC 3339 in UTC ending in Z", show(stamp))


def split_lines(body: bytes) -> tuple[list[tuple[bytes, Any]], list[Mismatch]]:
    """Cut an NDJSON body into lines and their values; what is no line is reported."""
    problems: list[Mismatch] = []
    if body and not body.endswith(b"\n"):
        problems.append(Mismatch("body", "a newline after the last line", show(_tail(body))))
    lines: list[tuple[bytes, Any]] = []
    for number, line in enumerate(body.split(b"\n")[: None if body[-1:] != b"\n" else -1]):
        path = f"line {number + 1}"
        if not line.strip():
            problems.append(Mismatch(path, "a JSON object", "a blank line"))
            continue
        try:
            value = read_json(line)
        except NotJson as error:
            problems.append(Mismatch(path, "a JSON object", f"{error}: {show(_tail(line))}"))
            continue
        if not isinstance(value, dict):
            problems.append(Mismatch(path, "a JSON object", show(value)))
            continue
        problems += check_writing(line, path)
        problems += check_created(value, path)
        lines.append((line, value))
    return lines, problems


def is_final(frame: dict[str, Any]) -> bool:
    """Say whether a line ends a stream: `done: true`, an error, or a pull's success."""
    return frame.get("done") is True or "error" in frame or frame == {"status": "success"}


def check_ending(frames: list[dict[str, Any]]) -> Iterator[Mismatch]:
    """Yield a stream that ends without a final line, or goes on after one."""
    finals = [number for number, frame in enumerate(frames, 1) if is_final(frame)]
    if not finals:
        last = show(frames[-1]) if frames else "no line at all"
        yield Mismatch("last line", "done: true, an error, or success", last)
    elif finals != [len(frames)]:
        yield Mismatch("final lines", f"line {len(frames)} only", f"lines {finals}")


def _tail(data: bytes) -> str:
    return data[-200:].decode("utf-8", "replace")

"""
Comparing a wanted value with what came, and saying where they differ.

It compares values only: JSON trees, texts, markers. It knows neither HTTP nor routes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

ABSENT = "$absent"
TIMES = (
    "created_at",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
)
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?(Z|[+-]\d\d:\d\d)")
"""
RFC 3339 as Go writes it: up to nine digits, trailing zeros cut (docs/facts/ollama.md#frame-times).
"""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _matches(pattern: re.Pattern[str]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


MARKERS: dict[str, Callable[[object], bool]] = {
    "$any": lambda value: True,
    "$string": lambda value: isinstance(value, str),
    "$text": lambda value: isinstance(value, str) and value != "",
    "$integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "$number": _is_number,
    "$positive": lambda value: isinstance(value, int) and value is not True and value > 0,
    "$list": lambda value: isinstance(value, list),
    "$timestamp": _matches(TIMESTAMP),
    "$digest": _matches(re.compile(r"[0-9a-f]{64}")),
}
"""Words that stand for any value of a kind; `$$x` stands for the text `$x`."""


@dataclass(frozen=True)
class Mismatch:
    """One difference: where it is, what was wanted there, what came."""

    path: str
    wanted: str
    got: str

    def __str__(self) -> str:
        return f"{self.path}\n    wanted  {self.wanted}\n    got     {self.got}"


def show(value: object, limit: int = 300) -> str:
    """Write a value as compact JSON, cut when long."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except TypeError:
        text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def compare(wanted: Any, got: Any, path: str, *, exact: bool) -> Iterator[Mismatch]:
    """
    Yield every difference between a wanted tree and the one that came.

    Without `exact`, objects may hold more keys than wanted; lists must always have the same length.
    A boolean is never a number, and null is never absence. A wanted fraction is met within a
    millionth, since vectors are single precision on the way.
    """
    if isinstance(wanted, str) and wanted.startswith("$") and wanted != ABSENT:
        yield from _compare_marker(wanted, got, path)
    elif isinstance(wanted, dict):
        if isinstance(got, dict):
            yield from _compare_objects(wanted, got, path, exact=exact)
        else:
            yield Mismatch(path, show(wanted), show(got))
    elif isinstance(wanted, list):
        if not isinstance(got, list) or len(wanted) != len(got):
            yield Mismatch(path, show(wanted), show(got))
            return
        for number, (one, other) in enumerate(zip(wanted, got, strict=True)):
            yield from compare(one, other, _join(path, number), exact=exact)
    elif not _equal(wanted, got):
        yield Mismatch(path, show(wanted), show(got))


def _compare_marker(wanted: str, got: Any, path: str) -> Iterator[Mismatch]:
    if wanted.startswith("$$"):
        if got != wanted[1:]:
            yield Mismatch(path, show(wanted[1:]), show(got))
    elif wanted not in MARKERS:
        yield Mismatch(path, f"a marker that exists ({', '.join(MARKERS)})", wanted)
    elif not MARKERS[wanted](got):
        yield Mismatch(path, wanted, show(got))


def _compare_objects(
    wanted: dict[str, Any], got: dict[str, Any], path: str, *, exact: bool
) -> Iterator[Mismatch]:
    for key, value in wanted.items():
        place = _join(path, key)
        if value == ABSENT:
            if key in got:
                yield Mismatch(place, "absent", show(got[key]))
        elif key not in got:
            yield Mismatch(place, show(value), "absent")
        else:
            yield from compare(value, got[key], place, exact=exact)
    if exact:
        for key in got:
            if key not in wanted:
                yield Mismatch(_join(path, key), "absent", show(got[key]))


def compare_members(wanted: list[Any], got: Any, path: str) -> Iterator[Mismatch]:
    """Yield each wanted subset that no item of the list matches, against its nearest item."""
    if not isinstance(got, list):
        yield Mismatch(path, "a list", show(got))
        return
    for item in wanted:
        tries = [list(compare(item, one, f"{path}.{n}", exact=False)) for n, one in enumerate(got)]
        if not tries:
            yield Mismatch(path, f"an item like {show(item)}", "an empty list")
        elif all(tries):
            yield from min(tries, key=len)


def _equal(wanted: object, got: object) -> bool:
    if isinstance(wanted, float) and isinstance(got, int | float) and not isinstance(got, bool):
        return math.isclose(wanted, got, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(wanted, bool) or isinstance(got, bool):
        return wanted is got
    if isinstance(wanted, int) and isinstance(got, int | float):
        return wanted == got
    return type(wanted) is type(got) and wanted == got


def _join(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)


def blur(value: Any, names: Iterable[str]) -> Any:
    """
    Replace the values of the named fields by a fixed word, at any depth; absence stays absence.

    >>> blur({"a": 1, "b": {"a": 2}}, ["a"])
    {'a': '(tolerated)', 'b': {'a': '(tolerated)'}}
    """
    chosen = set(names)
    if "times" in chosen:
        chosen |= set(TIMES)
    return _blur(value, chosen)


def _blur(value: Any, names: set[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: "(tolerated)" if key in names and item != ABSENT else _blur(item, names)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_blur(item, names) for item in value]
    return value


def look_up(value: Any, path: str) -> tuple[bool, Any]:
    """
    Follow a dotted path (digits index lists); returns whether it is there, and the value.

    >>> look_up({"a": [{"b": 1}]}, "a.0.b")
    (True, 1)
    """
    if isinstance(value, dict) and path in value:
        return True, value[path]
    for part in path.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return False, None
    return True, value

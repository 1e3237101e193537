"""
Reading an answer of LM Studio that the strict decoder refuses: each odd value costs only itself.

A value of another type counts as absent, or is read as what it plainly says (`"4"` for 4). It
takes along the smallest thing that cannot be without it: an object without a field that it needs,
a list of numbers with a value that is no number (docs/facts/lmstudio.md#odd-fields).

This is the slow path. An answer in which every value has its type never comes here.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from .cut_text import mended
from .lenient import BOM

MOST_ODD = 32
"""Number of odd values that are named of one answer."""

_MOST_DIGITS = 40
"""Length of the longest text that is read as a number."""
_UNDECODED = re.compile("[\udc80-\udcff]")


class Salvaged(NamedTuple):
    """What could be read, and the paths of the values that could not (`choices[].index`)."""

    value: Any
    odd: list[str]


class NotJson(ValueError):
    """Bytes that are not JSON, or not the JSON of an object; the text says why."""


class _Unfit(Exception):
    """A value that does not fit its type, and has nothing that can be left out."""


def salvage(body: bytes, kind: Any, *, keeps_halves: bool = False) -> Salvaged:
    """
    Return an object of a struct type from JSON that its decoder refuses.

    Bytes that are not UTF-8 and lone surrogates become U+FFFD. With `keeps_halves` a lone surrogate
    stays as it is, because the next piece of the same text may hold its other half.

    Raises NotJson.

    >>> class Part(msgspec.Struct):
    ...     text: str | None = None
    ...     size: int | None = None
    >>> salvage(b'{"text": "a", "size": []}', Part)
    Salvaged(value=Part(text='a', size=None), odd=['size'])
    """
    value = parse(body)
    odd: list[str] = []
    try:
        found = _Reader(odd, keeps_halves).fit(value, _shape(kind), "")
    except _Unfit as problem:
        raise NotJson(str(problem)) from None
    return Salvaged(found, odd)


def parse(body: bytes) -> Any:
    """Return the value of JSON, lone surrogates kept. Raises NotJson."""
    text = body.removeprefix(BOM).decode("utf-8", "surrogateescape")
    try:
        return json.loads(_UNDECODED.sub("\ufffd", text), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from None


def _no_number(_: str) -> None:
    """Read NaN and the infinities, which JSON does not have, as null."""


@lru_cache(maxsize=256)
def _shape(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


class _Reader:
    """Fits JSON values to types, and notes the paths of those that do not fit."""

    def __init__(self, odd: list[str], keeps_halves: bool) -> None:
        self._odd = odd
        self._keeps_halves = keeps_halves

    def fit(self, value: Any, shape: inspect.Type, path: str) -> Any:
        """Return a value as its type. Raises _Unfit."""
        match shape:
            case inspect.UnionType():
                return self._fit_union(value, shape, path)
            case inspect.StructType():
                return self._fit_struct(value, shape, path)
            case inspect.ListType():
                return self._fit_list(value, shape, path)
            case inspect.DictType():
                return self._fit_dict(value, shape, path)
            case inspect.RawType():
                return msgspec.Raw(json.dumps(value, separators=(",", ":")).encode())
            case inspect.StrType():
                return self._fit_text(value)
            case inspect.IntType():
                return _whole(value)
            case inspect.FloatType():
                return _number(value)
            case inspect.BoolType() if isinstance(value, bool):
                return value
            case inspect.AnyType():
                return value
            case inspect.NoneType() if value is None:
                return value
        raise _Unfit(f"expected another value{_at(path)}, got {_kind(value)}")

    def _fit_union(self, value: Any, shape: inspect.UnionType, path: str) -> Any:
        members = [one for one in shape.types if not isinstance(one, inspect.CustomType)]
        if value is None and any(isinstance(one, inspect.NoneType) for one in members):
            return None
        problem = None
        for member in members:
            if isinstance(member, inspect.NoneType):
                continue
            try:
                return self.fit(value, member, path)
            except _Unfit as unfit:
                problem = str(unfit)
        raise _Unfit(problem or f"nothing fits{_at(path)}")

    def _fit_struct(self, value: Any, shape: inspect.StructType, path: str) -> Any:
        if not isinstance(value, dict):
            raise _Unfit(f"expected an object{_at(path)}, got {_kind(value)}")
        found: dict[str, Any] = {}
        for field in shape.fields:
            key = field.encode_name
            here = f"{path}.{key}" if path else key
            if key not in value:
                if field.required:
                    raise _Unfit(f"an object lacks `{key}`{_at(path)}")
                continue
            try:
                found[field.name] = self.fit(value[key], field.type, here)
            except _Unfit:
                if field.required:
                    raise
                self._note(here)
        return shape.cls(**found)

    def _fit_list(self, value: Any, shape: inspect.ListType, path: str) -> Any:
        if not isinstance(value, list):
            raise _Unfit(f"expected a list{_at(path)}, got {_kind(value)}")
        here = f"{path}[]"
        # The place of a number in its list has a meaning, so no number can be left out.
        is_strict = isinstance(shape.item_type, inspect.IntType | inspect.FloatType)
        found = []
        for item in value:
            try:
                found.append(self.fit(item, shape.item_type, here))
            except _Unfit:
                if is_strict:
                    raise
                self._note(here)
        return found

    def _fit_dict(self, value: Any, shape: inspect.DictType, path: str) -> Any:
        if not isinstance(value, dict):
            raise _Unfit(f"expected an object{_at(path)}, got {_kind(value)}")
        found = {}
        for key, item in value.items():
            try:
                found[key] = self.fit(item, shape.value_type, f"{path}[]")
            except _Unfit:
                self._note(f"{path}[]")
        return found

    def _fit_text(self, value: Any) -> str:
        if isinstance(value, list) and value:
            # The parts of a message's content, as other servers of this dialect write them.
            parts = [part.get("text") if isinstance(part, dict) else None for part in value]
            if all(isinstance(part, str) for part in parts):
                value = "".join(part for part in parts if isinstance(part, str))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = json.dumps(value)
        if not isinstance(value, str):
            raise _Unfit(f"expected a text, got {_kind(value)}")
        return value if self._keeps_halves else mended(value)

    def _note(self, path: str) -> None:
        if len(self._odd) < MOST_ODD and path not in self._odd:
            self._odd.append(path)


def _number(value: Any) -> int | float:
    """Return a number, also one that is written as a text. Raises _Unfit."""
    if isinstance(value, str) and len(value) <= _MOST_DIGITS:
        with suppress(ValueError):
            value = float(value)
    try:
        is_sound = isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        is_sound = False
    if not is_sound or isinstance(value, bool):
        raise _Unfit(f"expected a number, got {_kind(value)}")
    return int(value) if value == int(value) and abs(value) < 2**63 else float(value)


def _whole(value: Any) -> int:
    number = _number(value)
    if not isinstance(number, int):
        raise _Unfit("expected a whole number, got another one")
    return number


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
    return "an object"


def _at(path: str) -> str:
    return f" at `{path}`" if path else ""

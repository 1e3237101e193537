"""
JSON keys in LM Studio's answers that its description does not have.

Decoding skips such keys: no rule sees them, and without this module nothing would report them. The
module compares a JSON value with its struct, and chooses the sample that keeps this cheap.
Free-form values (raw ones, maps, anything) have no unknown keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from ..types import lmstudio, openai

EVERY = 32
"""After the first body of a kind, one in this many is checked."""
MOST_PATHS = 1000
"""Number of paths that are stored, so that an upstream cannot fill the memory with them."""

_ITEMS: dict[tuple[type[msgspec.Struct], str], type[msgspec.Struct]] = {
    (lmstudio.V1ModelList, "models"): lmstudio.V1Model,
    (lmstudio.V0ModelList, "data"): lmstudio.V0Model,
    (openai.ModelList, "data"): openai.ModelEntry,
}
"""The types of lists' raw items, which are decoded one by one so that a bad one does no harm."""


def find_unknown(value: object, kind: object) -> Iterator[str]:
    """
    Yield the path of each key in a decoded JSON value that `kind` has no field for.

    A path is dotted names, `[]` for the items of a list: `choices[].delta.reasoning`.
    """
    return _find(value, _shape(kind), "")


class Sampler:
    """Chooses the bodies to check, and remembers the paths that were seen."""

    def __init__(self) -> None:
        self._left: dict[object, int] = {}
        self._paths: set[tuple[object, str]] = set()

    def wants(self, kind: object) -> bool:
        """Return whether to check this body of a kind: the first one, then one in EVERY."""
        left = self._left.get(kind, 0)
        self._left[kind] = EVERY - 1 if left == 0 else left - 1
        return left == 0

    def is_new(self, kind: object, path: str) -> bool:
        """Return whether a path is seen for the first time."""
        if (kind, path) in self._paths or len(self._paths) >= MOST_PATHS:
            return False
        self._paths.add((kind, path))
        return True


@lru_cache(maxsize=256)
def _shape(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


@lru_cache(maxsize=1024)
def _fields(cls: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    shape = _shape(cls)
    assert isinstance(shape, inspect.StructType)
    known = {field.encode_name: field.type for field in shape.fields}
    # The item's class is a value here, so mypy cannot read the list type.
    items = {name: _shape(list[item]) for (owner, name), item in _ITEMS.items() if owner is cls}  # type: ignore[valid-type]
    return known | items


def _find(value: object, shape: inspect.Type, path: str) -> Iterator[str]:
    shapes = list(shape.types) if isinstance(shape, inspect.UnionType) else [shape]
    if isinstance(value, list):
        for each in shapes:
            if isinstance(each, inspect.ListType) and not _is_plain(each.item_type):
                for item in value:
                    yield from _find(item, each.item_type, f"{path}[]")
    elif isinstance(value, dict):
        structs = [_fields(each.cls) for each in shapes if isinstance(each, inspect.StructType)]
        for key, inner in value.items():
            known = [fields[key] for fields in structs if key in fields]
            here = f"{path}.{key}" if path else str(key)
            if known:
                # Most values are plain: a generator for each would find nothing in it.
                if isinstance(inner, dict | list):
                    yield from _find(inner, known[0], here)
            elif structs:
                yield here


def _is_plain(shape: inspect.Type) -> bool:
    return isinstance(
        shape, inspect.FloatType | inspect.IntType | inspect.StrType | inspect.BoolType
    )

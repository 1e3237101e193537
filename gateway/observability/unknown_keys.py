"""
Keys in LM Studio's answers that its description lacks.

While serving they are skipped: a key that no description knows reaches no rule, and nothing else
would tell. Here lives the comparison of one JSON value with the struct that it is decoded into, and
the sampling that makes it cheap; who counts and who says it is elsewhere. Free-form values (raw
ones, maps, anything) have no unknown keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import inspect

from gateway.types import lmstudio, openai

EVERY = 32
"""After the first one, one in so many bodies of a kind is looked at."""
MOST_PATHS = 1000
"""So many different paths are told apart, so that nobody fills our memory with them."""

_ITEMS: dict[tuple[type[msgspec.Struct], str], type[msgspec.Struct]] = {
    (lmstudio.V1ModelList, "models"): lmstudio.V1Model,
    (lmstudio.V0ModelList, "data"): lmstudio.V0Model,
    (openai.ModelList, "data"): openai.ModelEntry,
}
"""What the raw items of lists are: they are decoded one by one, so that one bad one spoils none."""


def find_unknown(value: object, kind: object) -> Iterator[str]:
    """
    Yield the path of each key in a decoded JSON value that `kind` has no field for.

    A path is dotted names, `[]` for the items of a list: `choices[].delta.reasoning`.
    """
    return _find(value, _shape(kind), "")


class Sampler:
    """Chooses what is looked at, and knows which paths were seen before."""

    def __init__(self) -> None:
        self._left: dict[object, int] = {}
        self._paths: set[tuple[object, str]] = set()

    def wants(self, kind: object) -> bool:
        """Tell whether this body of a kind is one to look at: the first, then one in EVERY."""
        left = self._left.get(kind, 0)
        self._left[kind] = EVERY - 1 if left == 0 else left - 1
        return left == 0

    def is_new(self, kind: object, path: str) -> bool:
        """Tell whether a path is seen for the first time."""
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
    # A list type is made of a class that is known only here.
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
                yield from _find(inner, known[0], here)
            elif structs:
                yield here


def _is_plain(shape: inspect.Type) -> bool:
    return isinstance(
        shape, inspect.FloatType | inspect.IntType | inspect.StrType | inspect.BoolType
    )

"""Patterns that mean the same to every version of Python that must work."""

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from re import _constants as codes
from re import _parser as parser
from typing import Any

import pytest

import gateway
from gateway.wire.go_syntax import runs_of_items

GROUPS = {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}


def patterns_in(value: Any) -> Iterator[re.Pattern[Any]]:
    """Yield a pattern, and those in a collection of them."""
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from patterns_in([*value, *value.values()])
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from patterns_in(each)


def patterns() -> dict[str, str | bytes]:
    """Return the patterns of the gateway's modules, by their names."""
    found: dict[str, str | bytes] = {}
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(module.name)).items():
                for each in patterns_in(value):
                    found[f"{module.name}.{name}"] = each.pattern
    for number, each in enumerate(runs_of_items(1)):
        found[f"runs_of_items[{number}]"] = each.pattern
    return found


def unsafe(pattern: str | bytes) -> list[str]:
    """Return what is repeated possessively in a pattern and is neither one byte nor atomic."""
    return [str(item) for item in _unsafe(parser.parse(pattern))]


def _unsafe(items: Iterable[Any]) -> Iterator[Any]:
    for code, argument in items:
        if code is codes.POSSESSIVE_REPEAT:
            repeated = list(argument[2])
            is_one = len(repeated) == 1
            if not is_one or repeated[0][0] in (codes.BRANCH, codes.SUBPATTERN, *GROUPS):
                yield repeated
        yield from _unsafe(_inner(argument))


def _inner(argument: Any) -> Iterator[Any]:
    """Yield the items of every pattern within an item, however deep its lists are."""
    if isinstance(argument, parser.SubPattern):
        yield from argument
    elif isinstance(argument, list | tuple):
        for each in argument:
            yield from _inner(each)


@pytest.mark.parametrize(
    "pattern", [rb"(?:ab?c)*+", rb"1(?:\.[0-9]++)?+", rb"x(?>[^\\]++|(?:\\a[0-9])++|b)*+"]
)
def test_a_repeated_group_is_seen(pattern: bytes) -> None:
    """At the top and within other groups."""
    assert 1 == len(unsafe(pattern))


def test_what_is_repeated_possessively_is_atomic() -> None:
    """
    Python before 3.11.5 goes on where the last, failed repetition of any other group stopped.

    It takes `(?:ab?c)*+` to match all of `aca`. Debian 12 has Python 3.11.2.
    """
    found = patterns()
    assert any(b"*+" in each for each in found.values() if isinstance(each, bytes))
    assert {} == {name: bad for name, each in found.items() if (bad := unsafe(each))}

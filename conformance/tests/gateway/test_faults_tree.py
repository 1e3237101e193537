"""The tree of exceptions at the top of gateway/faults.py is the tree of the code."""

import importlib
import pkgutil
import re

import gateway
from gateway import faults

_LINE = re.compile(r"^    (?P<bars>[│ ]*)(?:[├└]── )?(?P<name>\w+)")


def drawn() -> dict[str, str]:
    """Return each drawn exception with the one above it."""
    above: list[str] = []
    tree = {}
    for line in (faults.__doc__ or "").splitlines():
        if (found := _LINE.match(line)) is None:
            continue
        depth = 0 if "──" not in line else len(found["bars"]) // 4 + 1
        del above[depth:]
        if above:
            tree[found["name"]] = above[-1]
        above.append(found["name"])
    return tree


def defined() -> dict[str, str]:
    """Return each public exception of the gateway with its base, and the builtin bases' own."""
    tree: dict[str, str] = {}
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if module.name == "gateway.__main__":
            continue
        for item in vars(importlib.import_module(module.name)).values():
            if not (isinstance(item, type) and issubclass(item, Exception)):
                continue
            if item.__module__.startswith("gateway.") and not item.__name__.startswith("_"):
                base = item.__mro__[1]
                tree[item.__name__] = base.__name__
                if base.__module__ == "builtins" and base is not Exception:
                    tree[base.__name__] = "Exception"
    return tree


def test_the_tree_is_the_codes() -> None:
    """Every exception has its line, below its base."""
    assert {"UpstreamFailure", "ListenProblem"} <= set(defined())
    assert defined() == drawn()

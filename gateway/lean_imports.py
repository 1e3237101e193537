"""
Importing libraries without those that they take in when they happen to be installed.

`rich` is installed because Litestar's command line wants it. structlog then imports it for
tracebacks that are not used here, which is an eighth of the time to start.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("rich", "pygments")


@contextmanager
def hide_modules(*modules: str) -> Iterator[None]:
    """Have imports in the block find some modules not installed, unless they are loaded already."""
    hidden = [name for name in modules if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to say so
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

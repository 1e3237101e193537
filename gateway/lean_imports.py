"""
Imports of libraries without the optional packages that they load if those are installed.

`rich` is installed because Litestar's command line needs it. structlog then imports it for
tracebacks that are not used here, which takes an eighth of the start-up time.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

UNUSED = ("rich", "pygments")


@contextmanager
def hide_modules(*modules: str) -> Iterator[None]:
    """Let some modules appear not installed within the block, unless they are loaded already."""
    hidden = [name for name in modules if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's own way to say so
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]

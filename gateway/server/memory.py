"""
How the process takes memory from the system, and gives it back.

glibc gives a large piece of memory pages of its own, until one is freed: from then on pieces up to
that size, 32 MiB at most, come from the heap, which Python's long life leaves full of holes. Bodies
of megabytes then grow by copies, and their memory stays with the process when they are gone.
"""

from __future__ import annotations

import gc
import sys
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""New objects before the garbage collector looks for cycles; Python's default is 700."""

OWN_PAGES_BYTES: Final = 2 * 1024 * 1024
"""
Memory of at least this size has pages of its own: reads of sockets are smaller, and many. So are
most pictures and long prompts. Of 1 MiB each, their copies take a fifth of a request's CPU time
to get such pages and give them back.
"""

KEPT_BYTES: Final = 8 * 1024 * 1024
"""Free bytes at the heap's end that are kept for what comes next."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Numbers of parameters in glibc's malloc.h."""


def tune_memory() -> None:
    """Set up the garbage collector and the allocator, once everything is imported."""
    tune_collector()
    tune_allocator()


def tune_collector() -> None:
    """
    Let the garbage collector check only new objects, and seldom.

    What is there at start stays; tokens are freed by counting, and make no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


def tune_allocator() -> bool:
    """
    Have large memory on pages of its own for good; return whether the C library knows how.

    A stated threshold is not moved any more. Other C libraries than glibc are left as they are.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_parameter is None:
        return False
    is_set = (
        set_parameter(_M_MMAP_THRESHOLD, OWN_PAGES_BYTES),
        set_parameter(_M_TRIM_THRESHOLD, KEPT_BYTES),
    )
    return all(is_set)

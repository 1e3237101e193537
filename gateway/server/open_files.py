"""
The limit on open files of this process.
"""

from __future__ import annotations

OPEN_FILES = 65536
"""Two files for each streamed request, if the system allows it; the usual soft limit is 1,024."""

FEW_FILES = 1024
"""A limit below this is worth a warning: each streamed request needs two files."""


def raise_limit() -> int:
    """
    Raise the soft limit of open files as far as needed and allowed, and return what it is now.

    macOS states no hard limit and refuses what is above `kern.maxfilesperproc`, which cannot be
    read here, so smaller values are tried until one is taken.
    """
    try:
        import resource
    except ImportError:
        # Windows has no such limit.
        return OPEN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return OPEN_FILES
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    while soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            wanted = wanted * 3 // 4
        else:
            return wanted
    return soft

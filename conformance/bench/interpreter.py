"""
Which Python runs, and how it was built: a build with profiles is a third to a half faster.
"""

from __future__ import annotations

import platform
import sys
import sysconfig
from pathlib import Path

_PROFILED = "--enable-optimizations"
_LINKED = "--with-lto"
_DEBIAN = Path("/etc/debian_version")
_PROFILED_BY_DEBIAN = ("x86_64", "aarch64")
"""Machines for which Debian's rules certainly build with profiles; not all are among them."""


def described(configured: str | None = None) -> str:
    """
    Return the version and the kind of build; `configured` is how it was configured, by default.

    >>> described("'--enable-optimizations' '--with-lto'").partition(" (")[2]
    'built with profiles and link-time optimisation)'
    >>> described("'--enable-shared'").partition(" (")[2]
    'built without profiles)'
    """
    if configured is None:
        configured = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
        if (
            sys.base_prefix == "/usr"
            and _DEBIAN.exists()
            and platform.machine() in _PROFILED_BY_DEBIAN
        ):
            # Its rules leave that out of what Python says of itself.
            configured += f" {_PROFILED} {_LINKED}"
    kind = "with profiles" if _PROFILED in configured else "without profiles"
    if _LINKED in configured:
        kind += " and link-time optimisation"
    name = platform.python_implementation().replace("CPython", "Python")
    return f"{name} {platform.python_version()} (built {kind})"

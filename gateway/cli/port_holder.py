"""
Which process of this machine listens on a port, as far as it can be seen without other programs.
"""

import os
import sys
from pathlib import Path

_LISTENS = "0A"
"""The state of a listening socket in Linux's table of connections."""


def find_holder(port: int, proc: Path = Path("/proc")) -> str | None:
    """
    Return the name and the number of the process that listens on a port.

    None if it cannot be seen: only Linux shows it, and only processes of the same user.
    """
    inodes = {f"socket:[{inode}]" for inode in _inodes(port, proc)}
    if not inodes:
        return None
    for process in proc.glob("[0-9]*"):
        try:
            files = list((process / "fd").iterdir())
            if any(_target(file) in inodes for file in files):
                name = (process / "comm").read_text("utf-8", "replace").strip()
                return f"{name} (process {process.name})"
        except OSError:
            continue
    return None


def how_to_find(port: int) -> str:
    """Return the command that shows the process on this platform."""
    if sys.platform == "win32":
        return f"`netstat -ano | findstr :{port}` shows the process"
    if sys.platform == "darwin":
        return f"`lsof -nP -iTCP:{port} -sTCP:LISTEN` shows the process"
    return f"`ss -ltnp sport = :{port}` shows the process"


def _target(file: Path) -> str:
    """Return what an open file is, empty if it was closed in the meantime."""
    try:
        return os.readlink(file)
    except OSError:
        return ""


def _inodes(port: int, proc: Path) -> list[str]:
    found: list[str] = []
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text("utf-8", "replace").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                found.append(fields[9])
    return found

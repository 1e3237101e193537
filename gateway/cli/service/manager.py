"""
What a system's service manager is to `olgate service`: files to write, and commands to run.

A manager only describes; `commands.py` shows what is described, and does it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

NAME = "olgate"
"""The service's name in every service manager."""

STOP_S = 45
"""
Seconds that a stopped gateway may take before it is killed.

More than `limits.drain_s` (30 by default), so that running answers may finish.
"""

FILES = 65536
"""How many files and connections the service may have open."""


class CannotInstall(Exception):
    """The service can't be installed on this machine in this way; the text says what to do."""


@dataclass(frozen=True)
class Program:
    """What the service runs: a Python, the gateway's package, and the settings file if stated."""

    python: Path
    package: str
    config: Path | None

    @classmethod
    def of_this_process(cls, config: Path | None) -> Program:
        """Describe the gateway that is running now, so that the service is the same one."""
        package = __name__.partition(".")[0]
        return cls(Path(sys.executable), package, config.absolute() if config else None)

    def words(self) -> list[str]:
        """Return the command line, word by word."""
        settings = ["--config", str(self.config)] if self.config else []
        return [str(self.python), "-m", self.package, "serve", *settings]


class Manager(Protocol):
    """A service manager: systemd, launchd or Windows' task scheduler."""

    @property
    def file(self) -> Path:
        """The one file that describes the service."""
        ...

    def content(self, program: Program) -> bytes:
        """Return what the file holds. Raises CannotInstall."""
        ...

    def install(self) -> list[list[str]]:
        """Return the commands that make the manager read the file and start the service."""
        ...

    def uninstall(self) -> list[list[str]]:
        """Return the commands that end the service and make the manager forget it."""
        ...

    def status(self) -> list[str]:
        """Return the command that shows how the service is."""
        ...

"""
An agent of launchd, which runs while its user is logged in.
"""

from __future__ import annotations

import os
import plistlib
from dataclasses import dataclass
from pathlib import Path

from .manager import FILES, NAME, STOP_S, Program


@dataclass(frozen=True)
class Launchd:
    """launchd, for one user."""

    file: Path
    log: Path
    domain: str
    """Where launchctl finds the user's services."""

    @classmethod
    def of_this_user(cls, home: Path) -> Launchd:
        """Return the agent of the user who runs this."""
        return cls(
            home / "Library/LaunchAgents" / f"{NAME}.plist",
            home / "Library/Logs" / f"{NAME}.log",
            f"gui/{os.getuid()}",
        )

    def content(self, program: Program) -> bytes:
        """Return the agent's property list."""
        return plistlib.dumps(
            {
                "Label": NAME,
                "ProgramArguments": program.words(),
                "RunAtLoad": True,
                # Again after a failure, and not after an orderly end.
                "KeepAlive": {"SuccessfulExit": False},
                "ExitTimeOut": STOP_S,
                # macOS gives a service 256, too few for many clients.
                "SoftResourceLimits": {"NumberOfFiles": FILES},
                "HardResourceLimits": {"NumberOfFiles": FILES},
                "StandardErrorPath": str(self.log),
                "ProcessType": "Interactive",
            },
            sort_keys=False,
        )

    def install(self) -> list[list[str]]:
        """Read the agent and start it."""
        return [["launchctl", "bootstrap", self.domain, str(self.file)]]

    def uninstall(self) -> list[list[str]]:
        """End it and forget it."""
        return [["launchctl", "bootout", f"{self.domain}/{NAME}"]]

    def status(self) -> list[str]:
        """Show its state."""
        return ["launchctl", "print", f"{self.domain}/{NAME}"]

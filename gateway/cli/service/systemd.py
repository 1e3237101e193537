"""
A unit of systemd: the user's own, or the system's when root installs it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .manager import FILES, NAME, STOP_S, CannotInstall, Program

_UNIT = """\
[Unit]
Description=olgate, the Ollama API served by LM Studio
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={command}
ExecReload=kill -HUP $MAINPID
Restart=on-failure
RestartSec=2
# 2 says that a setting can't be used: trying again can't help.
RestartPreventExitStatus=2
# Longer than limits.drain_s, so that running answers may finish.
TimeoutStopSec={stop_s}
KillMode=mixed
LimitNOFILE={files}
NoNewPrivileges=yes
{confined}
[Install]
WantedBy={target}
"""

_CONFINED = """\
DynamicUser=yes
StateDirectory=olgate
StateDirectoryMode=0700
Environment=OLGATE_STORE_PATH=%S/olgate/olgate.sqlite3
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
CapabilityBoundingSet=
"""
"""What a gateway needs not do, so that it can't: it opens sockets and its store, and no more."""


@dataclass(frozen=True)
class Systemd:
    """systemd, for one user or for the whole machine."""

    file: Path
    is_system: bool

    @classmethod
    def of_this_user(cls, home: Path) -> Systemd:
        """Return root's way (the machine's unit) or a user's (a unit that runs as that user)."""
        if os.geteuid() == 0:
            return cls(Path(f"/etc/systemd/system/{NAME}.service"), is_system=True)
        folder = os.environ.get("XDG_CONFIG_HOME") or str(home / ".config")
        return cls(Path(folder, "systemd/user", f"{NAME}.service"), is_system=False)

    def content(self, program: Program) -> bytes:
        """Return the unit. Raises CannotInstall when the service's user could not run it."""
        if self.is_system:
            for path in (program.python, program.config):
                if path and not is_readable_by_all(path):
                    raise CannotInstall(
                        f"{path} can be read by its owner only, and the service runs as a user of "
                        "its own; put it where all users can read it, such as /opt or /etc, or "
                        "install the service as an ordinary user"
                    )
        text = _UNIT.format(
            command=" ".join(quoted(word) for word in program.words()),
            stop_s=STOP_S,
            files=FILES,
            confined=_CONFINED if self.is_system else "",
            target="multi-user.target" if self.is_system else "default.target",
        )
        return text.encode()

    def install(self) -> list[list[str]]:
        """Read the unit, start it now and at each start."""
        return [self._systemctl("daemon-reload"), self._systemctl("enable", "--now", NAME)]

    def uninstall(self) -> list[list[str]]:
        """End it and forget it."""
        return [self._systemctl("disable", "--now", NAME)]

    def status(self) -> list[str]:
        """Show its state and its last lines of log."""
        return self._systemctl("status", "--no-pager", NAME)

    def _systemctl(self, *words: str) -> list[str]:
        return ["systemctl", *([] if self.is_system else ["--user"]), *words]


def quoted(word: str) -> str:
    """
    Return a word of a command line as a unit has it: % begins a specifier, $ a variable.

    >>> quoted("/opt/my tools/100%/python")
    '"/opt/my tools/100%%/python"'
    """
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(mark in word for mark in " \t\"'\\;") else escaped


def is_readable_by_all(path: Path) -> bool:
    """Tell whether every user can reach a file: through each folder, and read it."""
    real = path.resolve()
    if not real.exists():
        return True  # not yet there, so nothing is known against it
    return bool(real.stat().st_mode & 0o004) and all(
        folder.stat().st_mode & 0o001 for folder in (*path.absolute().parents, *real.parents)
    )

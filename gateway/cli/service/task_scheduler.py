"""
A task of Windows' task scheduler, which starts when its user logs on.

A service proper would need a wrapper that speaks to the service manager; a task needs nothing that
Windows lacks, and runs as the user, next to LM Studio.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from .manager import NAME, Program

_TASK = """\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>olgate, the Ollama API served by LM Studio</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>{user}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{user}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>10</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{command}</Command>
      <Arguments>{arguments}</Arguments>
    </Exec>
  </Actions>
</Task>
"""


@dataclass(frozen=True)
class TaskScheduler:
    """Windows' task scheduler, for one user."""

    file: Path
    user: str

    @classmethod
    def of_this_user(cls, home: Path) -> TaskScheduler:
        """Return the task of the user who runs this."""
        folder = Path(os.environ.get("LOCALAPPDATA") or home / "AppData/Local", NAME)
        domain, user = os.environ.get("USERDOMAIN"), os.environ.get("USERNAME", "")
        return cls(folder / "task.xml", f"{domain}\\{user}" if domain else user)

    def content(self, program: Program) -> bytes:
        """Return the task, in the encoding that schtasks expects."""
        _, *arguments = program.words()
        # The Python without a console: a task has no window.
        command = program.python.with_name(program.python.name.replace("python", "pythonw", 1))
        text = _TASK.format(
            user=escape(self.user),
            command=escape(str(command)),
            arguments=escape(subprocess.list2cmdline(arguments)),
        )
        return text.replace("\n", "\r\n").encode("utf-16")

    def install(self) -> list[list[str]]:
        """Read the task and start it."""
        return [
            ["schtasks", "/Create", "/F", "/TN", NAME, "/XML", str(self.file)],
            ["schtasks", "/Run", "/TN", NAME],
        ]

    def uninstall(self) -> list[list[str]]:
        """End it and forget it."""
        return [["schtasks", "/End", "/TN", NAME], ["schtasks", "/Delete", "/F", "/TN", NAME]]

    def status(self) -> list[str]:
        """Show its state."""
        return ["schtasks", "/Query", "/V", "/FO", "LIST", "/TN", NAME]

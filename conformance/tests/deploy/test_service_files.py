"""The files in deploy/ are what `olgate service install` writes, and their readers take them."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.cli.service.launchd import Launchd
from gateway.cli.service.manager import Program
from gateway.cli.service.systemd import Systemd

DEPLOY = Path(__file__).parents[3] / "deploy"
UNIT = DEPLOY / "systemd" / "olgate.service"
AGENT = DEPLOY / "launchd" / "olgate.plist"
PROGRAM = Program(Path("/opt/olgate/bin/python"), "olgate", Path("/etc/olgate/config.toml"))


def test_the_unit_is_what_the_command_writes() -> None:
    """For packagers and those who don't want a command to write for them."""
    unit = Systemd(UNIT, is_system=True)

    assert unit.content(PROGRAM).decode() == UNIT.read_text("utf-8")


def test_the_agent_is_what_the_command_writes() -> None:
    """With a user's name that everybody replaces by their own."""
    log = Path("/Users/NAME/Library/Logs/olgate.log")
    agent = Launchd(AGENT, log, "gui/501")

    assert agent.content(PROGRAM).decode() == AGENT.read_text("utf-8")
    assert "olgate" == plistlib.loads(AGENT.read_bytes())["Label"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("is_system", [True, False])
def test_systemd_takes_the_unit(tmp_path: Path, is_system: bool) -> None:
    """Without a word: it warns of keys that it does not know."""
    unit = tmp_path / "olgate.service"
    there = Program(Path("/bin/true"), "olgate", None)
    unit.write_bytes(Systemd(unit, is_system=is_system).content(there))

    result = subprocess.run(
        ["systemd-analyze", "verify", *([] if is_system else ["--user"]), str(unit)],
        capture_output=True,
        text=True,
        check=False,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )

    assert (0, "") == (result.returncode, result.stderr)

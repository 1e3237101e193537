"""`olgate service` shows what it does, does it by the system's manager, and leaves nothing."""

from __future__ import annotations

import os
import plistlib
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.cli.service import commands
from gateway.cli.service.launchd import Launchd
from gateway.cli.service.manager import CannotInstall, Manager, Program
from gateway.cli.service.systemd import Systemd, quoted
from gateway.cli.service.task_scheduler import TaskScheduler

PROGRAM = Program(Path("/opt/my tools/python"), "olgate", Path("/etc/o&g.toml"))
TASKS = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


class Machine:
    """A machine whose service manager notes what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, manager: Manager) -> None:
        self.told: list[list[str]] = []
        self.code = 0
        self.error: OSError | None = None
        monkeypatch.setattr(commands, "this_manager", lambda: manager)
        monkeypatch.setattr(subprocess, "run", self.run)

    def run(self, command: list[str], **_options: Any) -> subprocess.CompletedProcess[bytes]:
        if self.error:
            raise self.error
        self.told.append(command)
        return subprocess.CompletedProcess(command, self.code)

    @staticmethod
    def type(*words: str) -> Result:
        return CliRunner().invoke(cli, ["service", *words])


@pytest.fixture
def unit(tmp_path: Path) -> Systemd:
    """A user's unit in a folder that is not there yet."""
    return Systemd(tmp_path / "units" / "olgate.service", is_system=False)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, unit: Systemd) -> Machine:
    """A machine with systemd."""
    return Machine(monkeypatch, unit)


def test_install_writes_shows_and_starts(machine: Machine, unit: Systemd) -> None:
    """The file is shown as it is written, and each command before it runs."""
    result = machine.type("install")

    assert 0 == result.exit_code, result.output
    assert unit.file.read_text("utf-8") in result.output
    assert "-m gateway serve\n" in unit.file.read_text("utf-8")
    assert [
        ["systemctl", "--user", "daemon-reload"],
        ["systemctl", "--user", "enable", "--now", "olgate"],
    ] == machine.told
    assert "run systemctl --user enable --now olgate" in result.output


def test_a_dry_run_only_shows(machine: Machine, unit: Systemd) -> None:
    """Neither a file nor a command."""
    result = machine.type("install", "--dry-run")

    assert 0 == result.exit_code
    assert "ExecStart=" in result.output
    assert not unit.file.exists()
    assert [] == machine.told


def test_the_settings_file_is_stated_whole(
    machine: Machine, unit: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service does not start in this folder."""
    (tmp_path / "mine.toml").touch()
    monkeypatch.chdir(tmp_path)

    machine.type("install", "--config", "mine.toml")

    assert f"--config {tmp_path / 'mine.toml'}" in unit.file.read_text("utf-8")


def test_a_manager_that_fails_is_told(machine: Machine) -> None:
    """With its exit code, or that it is not there."""
    machine.code = 5
    result = machine.type("install")
    assert (5, True) == (result.exit_code, "ended with exit code 5" in result.output)

    machine.error = FileNotFoundError(2, "No such file or directory")
    result = machine.type("install")
    assert (127, True) == (result.exit_code, "systemctl can't be run" in result.output)


def test_a_file_that_cannot_be_written_is_told(machine: Machine, unit: Systemd) -> None:
    """And nothing is started."""
    unit.file.parent.touch()

    result = machine.type("install")

    assert (1, True) == (result.exit_code, "can't be written" in result.output)
    assert [] == machine.told


def test_uninstall_removes_all(machine: Machine, unit: Systemd) -> None:
    """Also when the service had ended by itself."""
    machine.type("install")
    machine.told.clear()
    machine.code = 1

    assert 0 == machine.type("uninstall").exit_code
    assert not unit.file.exists()
    assert [["systemctl", "--user", "disable", "--now", "olgate"]] == machine.told

    result = machine.type("uninstall")
    assert (1, True) == (result.exit_code, "no service to remove" in result.output)


def test_status_tells_whether_it_is_installed(machine: Machine) -> None:
    """And then what the manager says."""
    assert 3 == machine.type("status").exit_code
    machine.type("install")
    machine.told.clear()

    assert 0 == machine.type("status").exit_code
    assert [["systemctl", "--user", "status", "--no-pager", "olgate"]] == machine.told


def test_a_service_of_root_needs_a_python_that_all_can_run(tmp_path: Path) -> None:
    """It runs as a user of its own, and would end with a permission that nobody understands."""
    python = tmp_path / "python"
    python.touch()
    tmp_path.chmod(0o700)
    unit = Systemd(tmp_path / "olgate.service", is_system=True)

    with pytest.raises(CannotInstall, match="can be read by its owner only"):
        unit.content(Program(python, "olgate", None))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/usr/bin/python", "/usr/bin/python"),
        ("/my tools/python", '"/my tools/python"'),
        ("100%", "100%%"),
        ("$HOME", "$$HOME"),
        ('a"b\\c', '"a\\"b\\\\c"'),
    ],
)
def test_words_of_a_unit_are_quoted(word: str, expected: str) -> None:
    """As systemd reads them."""
    assert expected == quoted(word)


def test_an_agent_runs_the_program() -> None:
    """launchd takes words one by one."""
    agent = plistlib.loads(Launchd(Path("a"), Path("/log"), "gui/1").content(PROGRAM))

    assert PROGRAM.words() == agent["ProgramArguments"]
    assert {"SuccessfulExit": False} == agent["KeepAlive"]


def test_a_task_runs_the_program_without_a_console() -> None:
    """Its words are quoted as Windows reads them, and the file is UTF-16."""
    content = TaskScheduler(Path("t"), "PC\\me & you").content(PROGRAM)

    assert content.startswith((b"\xff\xfe", b"\xfe\xff"))
    task = ElementTree.fromstring(content.decode("utf-16").partition("?>")[2])
    assert "/opt/my tools/pythonw" == task.findtext(f".//{TASKS}Command")
    assert "-m olgate serve --config /etc/o&g.toml" == task.findtext(f".//{TASKS}Arguments")
    assert "PC\\me & you" == task.findtext(f".//{TASKS}Principal/{TASKS}UserId")


@pytest.mark.parametrize(
    ("platform", "manager", "ending"),
    [
        ("darwin", Launchd, "Library/LaunchAgents/olgate.plist"),
        ("win32", TaskScheduler, "olgate/task.xml"),
        ("linux", Systemd, "olgate.service"),
    ],
)
def test_each_system_has_its_manager(
    monkeypatch: pytest.MonkeyPatch, platform: str, manager: type, ending: str
) -> None:
    """Chosen by the platform that Python names."""
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "exists", lambda _path: True)

    found = commands.this_manager()

    assert isinstance(found, manager)
    assert found.file.as_posix().endswith(ending)


def test_a_system_without_a_known_manager_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a container."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "exists", lambda _path: False)

    with pytest.raises(SystemExit, match="does not run systemd"):
        commands.this_manager()


@pytest.mark.parametrize(("user", "is_system"), [(0, True), (1000, False)])
def test_root_installs_for_the_machine(
    monkeypatch: pytest.MonkeyPatch, user: int, is_system: bool
) -> None:
    """Everybody else for themselves."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/conf")

    unit = Systemd.of_this_user(Path("/home/me"))

    assert is_system == unit.is_system
    assert is_system == unit.file.is_relative_to("/etc/systemd/system")

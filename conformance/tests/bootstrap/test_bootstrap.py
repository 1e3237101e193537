"""nox comes with any Python: by uv, by venv, by the system's pip, or not at all with a reason."""

from __future__ import annotations

import ast
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace

import pytest

from conformance import bootstrap

ROOT = Path(__file__).parents[3]


class Machine:
    """A machine with some of the means to install; it notes what is run and makes the Python."""

    def __init__(self, home: Path, modules: Collection[str], *, fails: bool = False) -> None:
        self.home = home
        self.modules = modules
        self.fails = fails
        self.commands: list[list[str]] = []

    def has(self, module: str) -> bool:
        return module in self.modules

    def run(self, command: list[str]) -> None:
        self.commands.append(command)
        if self.fails:
            raise subprocess.CalledProcessError(1, command)
        python = self.home / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()


def machine_with(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    uv: str | None = None,
    modules: Collection[str] = (),
    fails: bool = False,
) -> Machine:
    """Make the bootstrap believe that it is on such a machine."""
    machine = Machine(tmp_path / ".nox" / "nox", modules, fails=fails)
    monkeypatch.setattr(bootstrap, "HOME", machine.home)
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(os, "name", "posix")
    monkeypatch.setattr(shutil, "which", lambda _name: uv)
    monkeypatch.setattr(bootstrap, "_has", machine.has)
    monkeypatch.setattr(bootstrap, "_run", machine.run)
    (tmp_path / "constraints.txt").write_text("nox==1\n", "utf-8")
    (tmp_path / "start-excludes.txt").write_text("virtualenv\n", "utf-8")
    return machine


def test_uv_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """uv makes the environment with this Python and installs into it."""
    machine = machine_with(monkeypatch, tmp_path, uv="/opt/uv", modules={"ensurepip", "pip"})

    bootstrap.ready_python()

    assert ["/opt/uv", "/opt/uv"] == [command[0] for command in machine.commands]
    assert sys.executable in machine.commands[0]


def test_venv_is_used_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is installed into the Python that runs this: many systems refuse that."""
    machine = machine_with(monkeypatch, tmp_path, modules={"ensurepip", "pip"})

    python = bootstrap.ready_python()

    made, got_uv, installed, slimmed = machine.commands
    assert [sys.executable, "-m", "venv", str(machine.home)] == made
    assert str(python) == got_uv[0]
    assert str(python.with_name("uv")) == installed[0] == slimmed[0]
    assert "nox" in installed
    assert ["pip", "setuptools"] == slimmed[-2:]


def test_the_systems_pip_fills_an_environment_without_pip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Debian's Python without python3-venv can make one, and its pip can install into it."""
    machine = machine_with(monkeypatch, tmp_path, modules={"pip"})

    python = bootstrap.ready_python()

    made, got_uv, installed = machine.commands
    assert "--without-pip" in made
    assert ["--python", str(python)] == got_uv[3:5]
    assert str(python.with_name("uv")) == installed[0]


def test_a_python_without_means_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence and exit code 2, no traceback."""
    machine_with(monkeypatch, tmp_path)

    assert 2 == bootstrap.main(["-l"])
    assert "sudo apt install python3-venv" in capsys.readouterr().err


def test_a_failed_installation_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half an environment does not pass for a whole one the next time."""
    machine = machine_with(monkeypatch, tmp_path, modules={"ensurepip"}, fails=True)

    assert 2 == bootstrap.main(["-l"])
    assert "could not be installed" in capsys.readouterr().err
    machine.fails = False
    bootstrap.ready_python()
    assert 1 + 4 == len(machine.commands)


def test_a_current_environment_is_used_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second run installs nothing; other versions in constraints.txt do."""
    machine = machine_with(monkeypatch, tmp_path, modules={"ensurepip"})
    bootstrap.ready_python()
    count = len(machine.commands)

    bootstrap.ready_python()
    assert count == len(machine.commands)

    (tmp_path / "constraints.txt").write_text("nox==2\n", "utf-8")
    bootstrap.ready_python()
    assert 2 * count == len(machine.commands)


def test_an_old_python_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is installed."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))

    assert 2 == bootstrap.main(["-l"])
    assert "This is Python 3.9.2; 3.11 or later is needed." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["noxfile.py", "conformance/bootstrap.py"])
def test_an_old_python_can_read_what_tells_it(name: str) -> None:
    """The files parse as Python 3.8, so that they get as far as telling."""
    ast.parse((ROOT / name).read_text("utf-8"), feature_version=(3, 8))


def test_only_the_standard_library_is_imported() -> None:
    """It runs before anything is installed."""
    code = "import sys; sys.path.insert(0, sys.argv[1]); import conformance.bootstrap"

    subprocess.run([sys.executable, "-I", "-S", "-c", code, str(ROOT)], check=True)


@pytest.mark.parametrize(("file", "expected"), [("/etc/ssl/cert.pem", "true"), (None, None)])
def test_uv_trusts_what_the_machine_trusts(
    monkeypatch: pytest.MonkeyPatch, file: str | None, expected: str | None
) -> None:
    """A machine without certificates of its own leaves uv those that it brings."""
    known = SimpleNamespace(cafile=file, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: known)
    # Set first, so that it is put back as it was.
    monkeypatch.setenv("UV_SYSTEM_CERTS", "to be gone")
    monkeypatch.delenv("UV_SYSTEM_CERTS")

    bootstrap.prefer_system_certificates()

    assert expected == os.environ.get("UV_SYSTEM_CERTS")


BLOCKED = """
import runpy, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
del sys.argv[1]
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "command",
    [
        ("codegen", "--check"),
        ("gateway.settings", "--check"),
        ("conformance.demo", "--help"),
        ("gateway.server.process", ""),
        ("gateway.app", ""),
        ("conformance.standin.server", ""),
    ],
    ids=lambda command: command[0],
)
def test_what_the_start_leaves_out_is_not_imported(command: tuple[str, str]) -> None:
    """A package of the list that is needed after all would stop the first command of a new user."""
    lines = (ROOT / "start-excludes.txt").read_text("utf-8").splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert packages
    modules = ",".join(name.removesuffix("-py").replace("-", "_") for name in packages)
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED, modules, *command],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 0 == result.returncode, result.stderr

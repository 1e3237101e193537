"""
Run nox with any Python: `python3 noxfile.py -s codegen serve` (`py noxfile.py …` on Windows).

Many systems refuse to install packages into their own Python, so nox gets an environment of its own
in `.nox/nox`. This module runs before anything is installed: it imports the standard library only,
and old Pythons must be able to read it far enough to be told that they are too old.
"""

import hashlib
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".nox" / "nox"
"""The environment that holds nox, and uv, which installs the other environments."""

OLDEST = (3, 11)

VERSIONS = "constraints.txt"
LEFT_OUT = "start-excludes.txt"

NO_INSTALLER = """\
This Python can make no environment: it has neither pip nor the module ensurepip.
On Debian and Ubuntu: sudo apt install python3-venv
Or install uv, which needs no Python of the system: then run the same command again."""


class CannotInstall(Exception):
    """No environment can be made; the message says what to do."""


def main(arguments: "list[str]") -> int:
    """Run nox with these arguments, install it first where needed; return its exit code."""
    if sys.version_info < OLDEST:
        found = ".".join(str(part) for part in sys.version_info[:3])
        print(f"This is Python {found}; 3.11 or later is needed.", file=sys.stderr)
        return 2
    prefer_system_certificates()
    try:
        python = ready_python()
    except CannotInstall as problem:
        print(problem, file=sys.stderr)
        return 2
    command = [str(python), "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), *arguments]
    if os.name != "nt":
        os.execv(command[0], command)  # so that signals reach nox, and nothing stands in between
    return _wait_for(command)


def prefer_system_certificates() -> None:
    """
    Let uv trust the certificates that this machine trusts, where it has some.

    uv brings its own, which do not know a company's proxy; pip is told of that one by its settings.
    """
    known = ssl.get_default_verify_paths()
    if known.cafile or known.capath:
        os.environ.setdefault("UV_SYSTEM_CERTS", "true")


def ready_python() -> Path:
    """
    Return the Python of an environment that has nox; make the environment if it is not current.

    Raises CannotInstall when this machine has no means to make one, or an installation fails.
    """
    python = HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = HOME / "made-from"
    wanted = fingerprint()
    if stamp.exists() and stamp.read_text("utf-8") == wanted and python.exists():
        return python
    print(f"Installing nox into {HOME.relative_to(ROOT)}", file=sys.stderr, flush=True)
    shutil.rmtree(HOME, ignore_errors=True)
    try:
        _install(python)
    except (subprocess.CalledProcessError, OSError) as problem:
        raise CannotInstall(f"nox could not be installed: {problem}") from problem
    stamp.write_text(wanted, "utf-8")
    return python


def fingerprint() -> str:
    """Return what the environment depends on: this Python and the packages that are asked for."""
    asked = b"".join((ROOT / name).read_bytes() for name in (VERSIONS, LEFT_OUT))
    return f"{sys.version} {hashlib.sha256(asked).hexdigest()}"


def _install(python: Path) -> None:
    """Get uv, or use the one that is there, and let it install nox: no other means leaves out."""
    uv = shutil.which("uv")
    versions = ["--quiet", "--constraint", str(ROOT / VERSIONS)]
    brought: list[str] = []
    if uv:
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(HOME)])
    elif _has("ensurepip"):
        _run([sys.executable, "-m", "venv", str(HOME)])
        brought = ["pip", "setuptools"]
        pip = [str(python), "-m", "pip", "install"]
        _run([*pip, "--disable-pip-version-check", *versions, "uv"])
    elif _has("pip"):
        # Debian's Python without python3-venv, but with python3-pip.
        _run([sys.executable, "-m", "venv", "--without-pip", str(HOME)])
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install"]
        _run([*pip, "--disable-pip-version-check", *versions, "uv"])
    else:
        raise CannotInstall(NO_INSTALLER)
    uv = uv or str(python.with_name("uv"))
    _run([uv, "pip", "install", "--python", str(python), *versions, "nox", "uv"])
    if brought:
        _run([uv, "pip", "uninstall", "--quiet", "--python", str(python), *brought])


def _has(module: str) -> bool:
    """Tell whether this Python can run a module; a child asks, as `-S` or a zip may hide it."""
    command = [sys.executable, "-c", f"import {module}"]
    return not subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode


def _run(command: "list[str]") -> None:
    # A uv too old to know this variable installs everything.
    environment = {**os.environ, "UV_EXCLUDE": str(ROOT / LEFT_OUT)}
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=environment)


def _wait_for(command: "list[str]") -> int:
    """Run a child to its end; Ctrl-C reaches it by itself, and it decides when to end."""
    with subprocess.Popen(command) as child:
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                continue

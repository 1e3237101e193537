"""
What drivers in other languages need: their tools, found on the machine, and their packages.

Packages are of exact versions and are kept below `.nox/clients`, beside the environments of nox;
the tools use their own caches of downloads, as pip does. Which scenarios a driver has is no
business of this module.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from conformance.tests.clients.pair import ROOT

SOURCES = ROOT / "conformance" / "clients"
CACHE = ROOT / ".nox" / "clients"
INSTALL_LIMIT_S = 600.0


def give_up(language: str, sentence: str) -> NoReturn:
    """
    Skip the test with a sentence that says what was not run, or fail where a skip would hide it.

    That is on machines of CI, and where OLGATE_REQUIRE_NODE or OLGATE_REQUIRE_GO is 1.
    """
    wanted = os.environ.get(f"OLGATE_REQUIRE_{language}", "")
    if wanted == "1" or os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{sentence} It has to be there: install it.")
    pytest.skip(sentence)


def run_tool(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run an installer or compiler in a folder and return what it said; fail when it failed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=INSTALL_LIMIT_S,
        check=False,
    )
    if done.returncode:
        shown = " ".join(str(part) for part in command)
        pytest.fail(f"{shown} ended with {done.returncode} in {folder}:\n{done.stdout}")
    return done.stdout


def install_javascript() -> Path:
    """
    Return a folder with the drivers in JavaScript and the packages that they import.

    The lock file fixes versions and contents but no address, so any registry that npm is set up for
    will do. Nothing that a package would run at installation is run.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        give_up("NODE", "The JavaScript clients were not run: node and npm are not both here.")
    source = SOURCES / "javascript"
    lists = [source / "package.json", source / "package-lock.json"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in lists)).hexdigest()
    folder = CACHE / f"javascript-{digest[:12]}"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as half_done:
            unready = Path(half_done, "packages")
            unready.mkdir()
            for path in lists:
                shutil.copy(path, unready)
            flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
            run_tool([npm, "ci", *flags, "--loglevel=error"], unready)
            unready.rename(folder)
    for path in source.glob("*.mjs"):
        shutil.copy(path, folder)
    return folder


def build_go() -> Path:
    """Return the driver in Go, compiled; its modules are fixed by go.sum."""
    go = shutil.which("go")
    if go is None:
        give_up("GO", "The Go client was not run: no Go toolchain is here.")
    source = SOURCES / "golang"
    # The one that is here, and not one that it would fetch: then the version is known beforehand.
    here = {"GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}
    needed = read_version((source / "go.mod").read_text("utf-8"), r"^go (\d+)\.(\d+)")
    found = read_version(run_tool([go, "version"], ROOT, here), r"\bgo(\d+)\.(\d+)")
    if found < needed:
        words = ".".join(map(str, found)), ".".join(map(str, needed))
        give_up("GO", f"The Go client was not run: Go {words[0]} is here, it needs {words[1]}.")
    driver = CACHE / "golang" / ("driver.exe" if os.name == "nt" else "driver")
    driver.parent.mkdir(parents=True, exist_ok=True)
    # Nothing here needs a fast program, and without optimising a first build takes a quarter less.
    flags = ["-mod=readonly", "-buildvcs=false", "-gcflags=all=-N -l"]
    run_tool([go, "build", *flags, "-o", driver, "."], source, here)
    return driver


def read_version(text: str, pattern: str) -> tuple[int, int]:
    """Read the two numbers of a version out of a text."""
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no version like {pattern!r} in {text!r}")
    return int(found[1]), int(found[2])

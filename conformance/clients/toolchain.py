"""
What drivers need: their languages' tools, found on the machine, and their packages.

Packages have exact versions and are kept in `.nox/clients`. The tools use their own caches of
downloads, as pip does. The drivers choose their scenarios.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from conformance.runner.processes import ROOT

SOURCES = ROOT / "conformance" / "clients"
CACHE = ROOT / ".nox" / "clients"
INSTALL_LIMIT_S = 900.0
BIN, EXE = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""The names that Chromium's program has on Debian, elsewhere, and as Chrome."""

GO_FLAGS = ["-mod=readonly", "-buildvcs=false", "-gcflags=all=-N -l"]
"""Nothing here needs a fast program, and without optimising a first build takes a quarter less."""
GO_HERE = {"GOTOOLCHAIN": "local", "GOWORK": "off"}
"""The Go that is here, and not one that it would fetch: then the version is known beforehand."""

Command = list[str | Path]


class MissingToolError(Exception):
    """A toolchain is not on this machine; the text says which, and what was not run for it."""


class InstallError(Exception):
    """An installer or compiler failed; the text has its command and what it said."""


def run_tool(
    command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run an installer or compiler in a folder and return what it said."""
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
        raise InstallError(f"{shown} ended with {done.returncode} in {folder}:\n{done.stdout}")
    return done.stdout


def find(*names: str) -> list[str]:
    """Return the paths of programs that are needed together."""
    found = [shutil.which(name) for name in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise MissingToolError(f"{' and '.join(missing)} not found: install it")
    return [path for path in found if path is not None]


def find_browser() -> str:
    """Return the path of a Chromium: of the machine's own, since packages bring none."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    raise MissingToolError(f"{BROWSERS[0]} not found: install it")


def install_once(name: str, lists: Sequence[Path], fill: Callable[[Path], None]) -> Path:
    """Return a folder that `fill` has filled by these lists of packages, now or in another run."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in lists)).hexdigest()
    folder = CACHE / f"{name}-{digest[:12]}"
    mark = folder / "complete"
    if not mark.exists():
        # In place and not moved there: a virtual environment knows its own path.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        fill(folder)
        mark.touch()
    return folder


def make_python(name: str) -> Path:
    """Return the Python of an environment of its own, with what `python/NAME.txt` lists."""
    listed = SOURCES / "python" / f"{name}.txt"

    # The list is whole, so that nothing has to be searched for.
    wanted: Command = ["--quiet", "--no-deps", "-r", listed]

    def fill(folder: Path) -> None:
        uv: Command = [sys.executable, "-m", "uv"]
        try:
            run_tool([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], ROOT)
            run_tool([*uv, "pip", "install", "--python", python_of(folder), *wanted], ROOT)
        except InstallError:
            # uv takes a tenth of the time, but knows nothing of an index that pip is set up for.
            run_tool([sys.executable, "-m", "venv", "--clear", folder], ROOT)
            pip: Command = [
                python_of(folder),
                "-m",
                "pip",
                "--disable-pip-version-check",
                "install",
            ]
            run_tool([*pip, *wanted], ROOT)

    return python_of(install_once(f"python-{name}", [listed], fill))


def python_of(folder: Path) -> Path:
    """Return the Python of a virtual environment."""
    return folder / BIN / f"python{EXE}"


def install_javascript(within: str = "") -> Path:
    """
    Return a folder with the drivers in JavaScript and packages, listed in a folder of theirs.

    The lock file fixes versions and contents but no address, so any registry that npm is set up for
    will do. Nothing that a package would run at installation is run. Optional packages are left
    out: those of Genkit alone are 230 MB.
    """
    _, npm = find("node", "npm")
    source = SOURCES / "javascript"
    lists = [source / within / name for name in ("package.json", "package-lock.json")]

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=CACHE) as half_done:
            for path in lists:
                shutil.copy(path, half_done)
            flags = ["--omit=optional", "--ignore-scripts", "--prefer-offline"]
            quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
            run_tool([npm, "ci", *flags, *quiet], Path(half_done))
            shutil.copytree(half_done, folder, symlinks=True, dirs_exist_ok=True)

    folder = install_once(f"javascript{within}", lists, fill)
    for path in source.glob("*.mjs"):
        shutil.copy(path, folder)
    return folder


def find_go(source: Path) -> str:
    """Return the Go toolchain, which must be as new as a module says."""
    (go,) = find("go")
    needed = read_version((source / "go.mod").read_text("utf-8"), r"^go (\d+)\.(\d+)")
    found = read_version(run_tool([go, "version"], ROOT, GO_HERE), r"\bgo(\d+)\.(\d+)")
    if found < needed:
        words = ".".join(map(str, found)), ".".join(map(str, needed))
        raise MissingToolError(f"Go {words[0]} is here, {words[1]} is needed")
    return go


def build_go() -> Path:
    """Return the driver in Go, compiled; its modules are fixed by go.sum."""
    source = SOURCES / "golang"
    go = find_go(source)
    driver = CACHE / "golang" / f"driver{EXE}"
    driver.parent.mkdir(parents=True, exist_ok=True)
    run_tool([go, "build", *GO_FLAGS, "-o", driver, "."], source, {**GO_HERE, "CGO_ENABLED": "0"})
    return driver


def build_ollama(program: Path | None = None, version: str = "") -> Path:
    """
    Return the `ollama` command, compiled from its module; parts of it want a C++ compiler.

    A server tells its `version`, which is a flag of the linker.
    """
    source = SOURCES / "golang" / "command"
    go = find_go(source)
    find("gcc", "g++")
    program = program or CACHE / "golang" / f"ollama{EXE}"
    program.parent.mkdir(parents=True, exist_ok=True)
    stated = ["-ldflags", f"-X github.com/ollama/ollama/version.Version={version}"]
    flags = [*GO_FLAGS, *(stated if version else [])]
    run_tool(
        [go, "build", *flags, "-o", program, "github.com/ollama/ollama"],
        source,
        {**GO_HERE, "CGO_ENABLED": "1"},
    )
    return program


def build_rust(driver: str = "driver") -> Path:
    """
    Return a driver in Rust, compiled in a copy with the others; Cargo.toml fixes their crates.

    That all of them are is checked against what cargo took (see `crates`).
    """
    (cargo,) = find("cargo")
    folder = CACHE / "rust"
    shutil.copytree(SOURCES / "rust", folder, dirs_exist_ok=True)
    run_tool([cargo, "build", "--quiet", "--target-dir", folder / "target"], folder)
    manifest = tomllib.loads((folder / "Cargo.toml").read_text("utf-8"))
    loose = list_crates(folder / "Cargo.lock") - pinned_crates(manifest)
    if loose:
        names = ", ".join(f"{name} {version}" for name, version in sorted(loose))
        raise InstallError(
            f"rust/Cargo.toml pins no version of {names}: run python -m conformance.clients.crates"
        )
    return folder / "target" / "debug" / f"{driver}{EXE}"


def list_crates(lock: Path) -> set[tuple[str, str]]:
    """Return the crates in a lock file of cargo's, the driver aside, by name and version."""
    packages = tomllib.loads(lock.read_text("utf-8"))["package"]
    # A requirement cannot state what follows a plus sign.
    return {(one["name"], one["version"].split("+")[0]) for one in packages if "source" in one}


def pinned_crates(manifest: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the crates that a Cargo.toml pins to a version, named for use or for that alone."""
    tables = [manifest, *manifest.get("target", {}).values()]
    entries = [entry for table in tables for entry in table["dependencies"].items()]
    pins = set()
    for key, entry in entries:
        said = {"version": entry} if isinstance(entry, str) else entry
        if said["version"].startswith("="):
            pins.add((said.get("package", key), said["version"].removeprefix("=")))
    return pins


def build_java() -> Command:
    """Return the command of the driver in Java, compiled; its libraries are fixed by pom.xml."""
    java, mvn = find("java", "mvn")
    source = SOURCES / "java"
    files = sorted([source / "pom.xml", *source.glob("src/**/*.java")])

    def fill(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        run_tool([mvn, "--batch-mode", "--quiet", "package"], folder)

    folder = install_once("java", files, fill)
    return [java, "-cp", f"{folder}/target/classes{os.pathsep}{folder}/target/lib/*", "Driver"]


def read_version(text: str, pattern: str) -> tuple[int, int]:
    """Read the two numbers of a version out of a text."""
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no version like {pattern!r} in {text!r}")
    return int(found[1]), int(found[2])

"""Rooms: each has a line in ARCHITECTURE.md, and the import contracts can fail."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("gateway", "codegen", "conformance")
COMMAND = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"


def rooms_of(package: str) -> set[str]:
    """Return the folders and modules of a package that ARCHITECTURE.md must have a line for."""
    folders = {
        f"{path.name}/"
        for path in (ROOT / package).iterdir()
        if path.is_dir() and any(path.glob("*.*"))
    }
    modules = {path.name for path in (ROOT / package).glob("[a-z]*.py")}
    return (folders | modules) - {"__pycache__/"}


def test_every_room_has_a_line() -> None:
    """A stranger finds each folder and each module of the top level in the page's tables."""
    rows = re.findall(r"^\| (`.+?) \|", (ROOT / "ARCHITECTURE.md").read_text("utf-8"), re.M)
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    told |= {f"{name}/" for name in told} | {f"{name}.py" for name in told}
    missing = {room for package in PACKAGES for room in rooms_of(package)} - told

    assert set() == missing


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the packages and their contracts."""
    folder = tmp_path_factory.mktemp("rooms")
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "tests", "fixtures", "cases")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("gateway/names/grammar.py", "from gateway.upstream import client", "storeys"),
        ("gateway/upstream/sse.py", "from gateway.server import edge", "storeys"),
        ("gateway/wire/times.py", "import codegen.generator", "runs alone"),
        ("gateway/wire/times.py", "from gateway.wire import reading", "circle"),
        ("codegen/rules/model.py", "from codegen.compiler import ir", "generator's storeys"),
        ("codegen/rules/model.py", "import httpx", "no network"),
        ("conformance/standin/wire.py", "import gateway.faults", "knows nothing"),
    ],
)
def test_a_wrong_import_breaks_a_contract(
    copied: Path, module: str, line: str, contract: str
) -> None:
    """One import against the rule is reported under its contract."""
    path = copied / module
    before = path.read_text("utf-8")
    if contract == "circle":
        other = copied / "gateway/wire/reading.py"
        kept = other.read_text("utf-8")
        other.write_text(f"{kept}\nimport gateway.wire.times\n", "utf-8")
    path.write_text(f"{before}\n{line}\n", "utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND],
            cwd=copied,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        path.write_text(before, "utf-8")
        if contract == "circle":
            other.write_text(kept, "utf-8")

    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert done.returncode != 0
    assert any(contract in text for text in broken), done.stdout

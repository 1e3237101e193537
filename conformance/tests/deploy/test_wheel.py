"""The wheel serves where nothing else is installed, and takes no name that is everybody's."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.runner.processes import clean_environment, listening

ROOT = Path(__file__).parents[3]
BIN = "Scripts" if os.name == "nt" else "bin"
STOP_S = 15


def run(*command: str | Path) -> str:
    """Run a command outside of the checkout; return what it says."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment(),
        cwd=Path(sys.executable).parent,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an environment of its own; return the folder of its commands."""
    home = tmp_path_factory.mktemp("installed")
    uv = [sys.executable, "-m", "uv"]
    run(*uv, "venv", "--quiet", "--clear", "--python", sys.executable, home)
    constraints = ("--constraint", ROOT / "constraints.txt")
    run(*uv, "pip", "install", "--quiet", "--python", home / BIN / "python", *constraints, wheel)
    return home / BIN


@pytest.fixture
def serving(installed: Path) -> Iterator[str]:
    """Serve without LM Studio on a free port; give the address."""
    command = [str(installed / "olgate"), "serve", "--host", "127.0.0.1", "--port", "0"]
    nowhere = ("--upstream", "http://127.0.0.1:9")
    with subprocess.Popen(
        [*command, *nowhere], stderr=subprocess.PIPE, text=True, env=clean_environment()
    ) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "listening on http" in line)
            yield line.split()[-1]
        finally:
            process.terminate()
            process.communicate(timeout=STOP_S)


def test_it_holds_one_package(wheel: Path) -> None:
    """Named as the project is, types included."""
    names = zipfile.ZipFile(wheel).namelist()

    assert {"olgate"} == {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert "olgate/py.typed" in names
    assert not [name for name in names if "__pycache__" in name]


def test_no_module_is_imported_by_the_name_of_a_checkout() -> None:
    """An import of `gateway` from within would find nothing, or somebody else's package."""
    absolute = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "gateway").rglob("*.py"))
        for line in path.read_text("utf-8").splitlines()
        if line.strip().startswith(("from gateway", "import gateway"))
    ]

    assert [] == absolute


def test_it_knows_its_version(installed: Path) -> None:
    """As a command and as a module."""
    said = run(installed / "olgate", "--version")

    assert said.startswith("olgate ")
    assert said == run(installed / "python", "-m", "olgate", "--version")


def test_it_answers(serving: str) -> None:
    """With no more installed than it asks for."""
    with urllib.request.urlopen(f"{serving}/api/version") as answer:
        assert b'"version"' in answer.read()


def test_the_doctor_finds_nothing_wrong(installed: Path) -> None:
    """With an LM Studio, here the stand-in, and a store of its own."""
    with listening("conformance.standin", "--port", "0") as upstream:
        said = run(installed / "olgate", "doctor", "--port", "0", "--upstream", upstream)

    assert "LM Studio" in said

"""The pinned versions can be installed with each Python that the project names, old patches too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
EXTRAS = ("dev", "clients", "engine")
"""What `nox -s dev` installs."""
NO_SOLUTION = "No solution found"


@pytest.mark.parametrize("version", ["3.11.0", "3.12", "3.13", "3.14"])
def test_the_pinned_versions_fit_each_python(version: str, tmp_path: Path) -> None:
    """Debian 12 has 3.11.2, and a library may need a later patch of 3.11."""
    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [uv, "pip", "compile", "--quiet", "--python-version", version]
    command += ["--constraints", "constraints.txt", "--output-file", tmp_path / "found.txt"]
    command += ["pyproject.toml", *(f"--extra={name}" for name in EXTRAS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    if done.returncode and NO_SOLUTION not in done.stderr:
        pytest.skip(f"no package index: {done.stderr.strip()[:200]}")
    assert 0 == done.returncode, done.stderr
    assert (tmp_path / "found.txt").read_text("utf-8")

"""The compose files are what the reference reader of such files takes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conformance.clients.toolchain import MissingToolError
from conformance.deploy.balancers import MissingProgramError
from conformance.deploy.go_program import build_go_program
from conformance.runner.processes import ROOT
from conformance.tests.deployed.conftest import required

PACKAGE, VERSION = "github.com/compose-spec/compose-go/v2/cmd", "v2.16.2"
FILES = {"one gateway": "docker", "a fleet": "fleet"}


@pytest.fixture(scope="session")
def reader() -> Path:
    """Build the reader, or skip and say that there is no Go."""

    def build() -> Path:
        try:
            return build_go_program(PACKAGE, VERSION)
        except MissingToolError as error:
            raise MissingProgramError(f"the reader of compose files: {error}") from None

    return required(build)


def read(reader: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Have a file read, checked, and printed as it is understood."""
    command = [str(reader), "-format", "json", str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("folder", FILES.values(), ids=FILES.keys())
def test_a_compose_file_is_taken(reader: Path, folder: str) -> None:
    """And no port of it is open to other machines: no key is set in it."""
    read_file = read(reader, ROOT / "deploy" / folder / "compose.yaml")

    assert 0 == read_file.returncode, read_file.stderr
    services: dict[str, Any] = json.loads(read_file.stdout)["services"]
    ports = [port for one in services.values() for port in one.get("ports") or []]
    assert ports
    assert {"127.0.0.1"} == {port.get("host_ip") for port in ports}


def test_a_wrong_key_is_told(reader: Path, tmp_path: Path) -> None:
    """So that a file which is taken means something."""
    text = (ROOT / "deploy" / "fleet" / "compose.yaml").read_text("utf-8")
    path = tmp_path / "compose.yaml"
    path.write_text(text.replace("healthcheck:", "healtcheck:"), "utf-8")

    read_file = read(reader, path)

    assert read_file.returncode
    assert "healtcheck" in read_file.stderr

"""Fixtures: one gateway with the stand-in behind it, and the drivers of other languages."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.tests.clients.pair import Pair, open_pair
from conformance.tests.clients.toolchain import build_go, install_javascript


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Serve for all clients of a run, one after the other, as a gateway does in life."""
    with open_pair(tmp_path_factory.mktemp("settings") / "olgate.toml") as started:
        yield started


@pytest.fixture(scope="session")
def javascript() -> Path:
    """Install the packages of the drivers in JavaScript; the folder in which they run."""
    return install_javascript()


@pytest.fixture(scope="session")
def node() -> str:
    """Return the program that runs JavaScript, "node" where there is none."""
    return shutil.which("node") or "node"


@pytest.fixture(scope="session")
def go_driver() -> Path:
    """Compile the driver in Go."""
    return build_go()

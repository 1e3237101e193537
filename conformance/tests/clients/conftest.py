"""Fixtures: one gateway with the stand-in behind it, and clients, all of them with `--all`."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from conformance.clients.pair import Pair, open_pair
from conformance.clients.roster import chosen
from conformance.clients.toolchain import MissingToolError, build_go, install_javascript

Made = TypeVar("Made")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take `--all`: the clients that take long to install, too."""
    parser.addoption("--all", action="store_true", help="run all clients, not the default set")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each client."""
    if "client" in metafunc.fixturenames:
        clients = chosen(include_all=metafunc.config.getoption("--all"))
        metafunc.parametrize("client", clients, ids=[client.key for client in clients])


def required(make: Callable[[], Made]) -> Made:
    """
    Return what is made with a toolchain.

    Without the toolchain, skip the test with the reason; fail where a skip would hide it, which is
    on machines of CI and where OLGATE_REQUIRE_CLIENTS is 1.
    """
    try:
        return make()
    except MissingToolError as error:
        names = ("CI", "OLGATE_REQUIRE_CLIENTS")
        if any(os.environ.get(name, "").lower() in ("1", "true") for name in names):
            pytest.fail(f"Not run: {error}")
        pytest.skip(f"Not run: {error}")


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Serve for all clients of a run, one after the other, as a gateway does in life."""
    with open_pair(tmp_path_factory.mktemp("settings") / "olgate.toml") as started:
        yield started


@pytest.fixture(scope="session")
def javascript() -> Path:
    """Install the packages of the drivers in JavaScript; the folder in which they run."""
    return required(install_javascript)


@pytest.fixture(scope="session")
def node() -> str:
    """Return the program that runs JavaScript, "node" where there is none."""
    return shutil.which("node") or "node"


@pytest.fixture(scope="session")
def go_driver() -> Path:
    """Compile the driver in Go."""
    return required(build_go)

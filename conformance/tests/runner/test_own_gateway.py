"""The suite judges a gateway that somebody else runs (docs/suite.md)."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.runner.client import NoAnswer
from conformance.runner.processes import ROOT, clean_environment, listening
from conformance.runner.runner import Bench

LIMIT_S = 120
NAMES = ("chat/stream/plain", "tags/chat-model", "ps/loaded-models")


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m conformance run` as from a shell."""
    return subprocess.run(
        [sys.executable, "-m", "conformance", "run", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture
def port() -> int:
    """Return a port for a stand-in."""
    return free_port()


@pytest.fixture
def gateway(port: int, tmp_path: Path) -> Iterator[str]:
    """Return the address of a gateway process that calls a stand-in which is not there yet."""
    settings = tmp_path / "config.toml"
    settings.write_text(
        "[models]\ncatalogue_ttl_s = 0\n[store]\npath = ':memory:'\n", encoding="utf-8"
    )
    upstream = f"http://127.0.0.1:{port}"
    serve = ("serve", "--port", "0", "--upstream", upstream, "--config", str(settings))
    with listening("gateway", *serve) as url:
        yield url


def test_a_running_gateway_is_judged(gateway: str, port: int) -> None:
    """The suite starts the stand-in, and leaves out what needs other settings."""
    done = run("--gateway", gateway, "--standin-port", str(port), *NAMES, "version/from-settings")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert f"stand-in listening on http://127.0.0.1:{port}" in done.stderr
    assert "1 runs left out" in done.stdout
    assert "0 wrong" in done.stdout
    assert "\n0 passed" not in done.stdout


def test_a_wrong_gateway_fails(port: int) -> None:
    """A stand-in is a server that does not speak Ollama's API."""
    with listening("conformance.standin", "--port", "0") as url:
        done = run("--gateway", url, "--standin-port", str(port), *NAMES)

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "FAIL chat/stream/plain" in done.stdout
    again = f"run --gateway {url} --standin-port {port} 'tags/chat-model"
    assert f"again: python -m conformance {again}" in done.stdout


def test_what_cannot_be_used_is_told(port: int) -> None:
    """A wrong command line, a gateway that is not there, a port that is taken."""
    nowhere = f"http://127.0.0.1:{port}"
    alone = run("--standin-port", str(port))
    both = run("--gateway", nowhere, "--standin", nowhere, "--standin-port", str(port))
    missing = run("--gateway", nowhere, "--wait", "0")

    assert (2, 2, 2) == (alone.returncode, both.returncode, missing.returncode)
    assert "need --gateway" in alone.stderr
    assert "exclude each other" in both.stderr
    assert f"--gateway: GET /api/version: {nowhere} can't be reached" in missing.stderr


def test_a_port_that_is_taken_is_an_error() -> None:
    """The bench goes on to work after it."""
    with socket.socket() as taken, Bench(gateway_url="http://127.0.0.1:9") as bench:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            bench.start_standin(taken.getsockname()[1])
        assert bench.start_standin(free_port()).startswith("http://127.0.0.1:")
        with pytest.raises(NoAnswer):
            bench.wait_for_gateway(0)

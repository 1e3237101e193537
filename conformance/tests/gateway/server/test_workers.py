"""Several processes on one port: what they share, and what becomes of one that ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from conformance.runner.restartable import Server, gateway, running, standin, wait_until
from conformance.tests.gateway.support import CERTIFICATES
from gateway.observability.worker_label import labelled
from gateway.server.workers import WorkersProblem, check_workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")

WAIT_S = 60.0


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Server]:
    """Run two workers before a stand-in; settings are read from a file that a test may change."""
    (tmp_path / "olgate.toml").write_text("")
    stored = {"OLGATE_STORE_PATH": str(tmp_path / "store.db")}
    flags = ("--workers", "2", "--config", str(tmp_path / "olgate.toml"))
    with running(standin("host", tmp_path)) as host:
        served = gateway("olgate", tmp_path, *flags, "--upstream", host.url, environment=stored)
        with running(served):
            # The port is open before the processes are there.
            wait_until(lambda: _listening(served) == 2, "both listen", WAIT_S)
            yield served


def _listening(server: Server) -> int:
    return server.log.read_text().count("listening on")


def workers_of(server: Server) -> set[int]:
    """Return the ids of the processes that a supervisor has started."""
    return {child.pid for child in psutil.Process(server.pid).children()}


def asked(server: Server) -> int:
    """Ask for the list of models on a new connection, and return the status."""
    return httpx.get(f"{server.url}/api/tags", timeout=WAIT_S, verify=CERTIFICATES).status_code


def test_a_worker_that_is_killed_is_started_again(two: Server) -> None:
    """The other one takes all connections meanwhile, and none is refused."""
    before = workers_of(two)
    assert 2 == len(before)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    wait_until(
        lambda: 200 == asked(two) and len(workers_of(two) - before) == 1, "a new one", WAIT_S
    )
    assert before - {killed} < workers_of(two)


def test_a_signal_ends_all_of_them(two: Server) -> None:
    """Each drains; the exit code is 0."""
    before = workers_of(two)
    two.signal(signal.SIGTERM)
    assert 0 == two.wait(WAIT_S)
    assert not [pid for pid in before if psutil.pid_exists(pid)]


def test_workers_end_when_their_supervisor_is_killed(two: Server) -> None:
    """Nobody could stop them else, and they would hold the port."""
    before = workers_of(two)
    two.kill()
    wait_until(lambda: not any(map(psutil.pid_exists, before)), "all have ended", WAIT_S)


def test_a_reload_that_one_was_asked_for_reaches_all(two: Server, tmp_path: Path) -> None:
    """Whichever process took the question."""
    with (tmp_path / "olgate.toml").open("a") as file:
        file.write("[aliases]\nmine = 'qwen/qwen3-8b'\n")
    answer = httpx.post(f"{two.url}/reload", timeout=WAIT_S)
    assert ["aliases"] == answer.json()["changed"]
    wait_until(
        lambda: two.log.read_text().count("settings reloaded changed=aliases") == 2,
        "both have reloaded",
        WAIT_S,
    )


def test_metrics_say_of_which_worker_they_are(two: Server) -> None:
    """Each process counts for itself."""
    text = httpx.get(f"{two.url}/metrics", timeout=WAIT_S).text
    samples = [line for line in text.splitlines() if line and not line.startswith("#")]
    numbers = {line.partition('worker="')[2].partition('"')[0] for line in samples}
    assert numbers in ({"0"}, {"1"})


def test_a_store_in_memory_is_refused(tmp_path: Path) -> None:
    """The processes would not know of each other."""
    flags = ("--workers", "2")
    server = gateway("olgate", tmp_path, *flags, environment={"OLGATE_STORE_PATH": ":memory:"})
    with pytest.raises(RuntimeError, match=r"ended with 1, [\s\S]*--workers needs a store"):
        server.start()


def test_workers_that_cannot_start_end_together(tmp_path: Path) -> None:
    """A fault that another try would meet again is no reason to try for ever."""
    flags = ("--workers", "2")
    store = tmp_path / "store"
    store.mkdir()
    server = gateway("olgate", tmp_path, *flags, environment={"OLGATE_STORE_PATH": str(store)})
    try:
        # It may end before or after somebody has seen the port open.
        with suppress(RuntimeError):
            server.start()
        assert 1 == server.wait(WAIT_S)
    finally:
        server.close()
    assert "can't be used" in server.log.read_text()


def test_one_process_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one needs a fork."""
    check_workers(1, None)
    check_workers(2, "store.db")
    monkeypatch.delattr(os, "fork")
    check_workers(1, None)
    with pytest.raises(WorkersProblem, match="Windows"):
        check_workers(2, "store.db")


def test_a_label_is_put_into_every_sample() -> None:
    """Comments and values stay as they are."""
    text = b'# TYPE a counter\na_total 1.0\nb{c="d e{f}"} 2.5e+06\n'
    expected = b'# TYPE a counter\na_total{worker="1"} 1.0\nb{worker="1",c="d e{f}"} 2.5e+06\n'
    assert expected == labelled(text, 1)

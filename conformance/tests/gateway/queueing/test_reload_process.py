"""A reload of the queue's settings, by a signal and by the command, in a real process."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from conformance.runner.processes import ROOT
from conformance.runner.restartable import Server, gateway, running, standin, wait_until
from conformance.tests.gateway.support import CERTIFICATES, CHAT, chat

WAIT_S = 60.0


def write(file: Path, host: Server, *, slots: int, most: int) -> None:
    """Write settings."""
    file.write_text(
        f'[hosts.a]\nurl = "{host.url}"\nslots = {slots}\n[queue]\nmost = {most}\n', "utf-8"
    )


def asked(host: Server) -> int:
    """Return how many chats the stand-in was asked for."""
    seen = httpx.get(
        f"{host.url}/__standin/seen", params={"path": CHAT}, timeout=WAIT_S, verify=CERTIFICATES
    )
    return len(seen.json())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_more_slots_and_fewer_places_count_at_once(tmp_path: Path) -> None:
    """For those that wait already, too."""
    file = tmp_path / "olgate.toml"
    with running(standin("host", tmp_path)) as host, ThreadPoolExecutor(4) as threads:
        write(file, host, slots=1, most=1)
        with running(gateway("olgate", tmp_path, "--config", str(file))) as served:

            def post() -> httpx.Response:
                return httpx.post(
                    f"{served.url}/api/chat", json=chat(), timeout=WAIT_S, verify=CERTIFICATES
                )

            def waiting() -> int:
                health = httpx.get(
                    f"{served.url}/health", timeout=WAIT_S, verify=CERTIFICATES
                ).json()
                return int(health["queue"]["waiting"])

            def reloaded(times: int) -> bool:
                return served.log.read_text().count("settings reloaded") == times

            hold = {"match": {"path": CHAT}, "hold": "all"}
            httpx.post(f"{host.url}/__standin/script", json=hold).raise_for_status()
            try:
                begun: list[Future[httpx.Response]] = [threads.submit(post)]
                wait_until(lambda: asked(host) == 1, "the first one runs", WAIT_S)
                begun.append(threads.submit(post))
                wait_until(lambda: waiting() == 1, "the second one waits", WAIT_S)
                assert 503 == post().status_code

                write(file, host, slots=2, most=8)
                served.signal(signal.SIGHUP)
                wait_until(lambda: asked(host) == 2, "more slots let it go", WAIT_S)
                assert reloaded(1)
                begun.append(threads.submit(post))
                wait_until(lambda: waiting() == 1, "there are more places", WAIT_S)

                write(file, host, slots=2, most=0)
                words = [sys.executable, "-m", "gateway", "reload", "--config", str(file)]
                done = subprocess.run(
                    [*words, "--port", str(served.port)],
                    cwd=ROOT,
                    env=served.environment,
                    capture_output=True,
                    text=True,
                    timeout=WAIT_S,
                )
                assert 0 == done.returncode, done.stderr
                assert "queue.most" in done.stdout
                assert 503 == post().status_code
                assert 1 == waiting()
            finally:
                httpx.post(f"{host.url}/__standin/reset").raise_for_status()
                httpx.post(f"{host.url}/__standin/release", json={"name": "all"})
            assert [200] * 3 == [each.result(WAIT_S).status_code for each in begun]

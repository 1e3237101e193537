"""A drain that one gateway was told holds for all on the store, as processes, and over restarts."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.runner.processes import ROOT
from conformance.runner.redis_server import RedisServer
from conformance.runner.restartable import Server, gateway, running, standin, wait_until
from conformance.tests.gateway.support import CERTIFICATES, chat

WAIT_S = 60.0
HOST = "x-olgate-host"


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Return the variables of a store that gateways can share."""
    if request.param == "sqlite":
        return {"OLGATE_STORE_PATH": str(tmp_path / "store.db")}
    server: RedisServer = request.getfixturevalue("redis_server")
    return {"OLGATE_STORE_URL": server.url}


def command(server: Server, word: str, host: str) -> str:
    """Run `olgate drain` or `olgate undrain` at a gateway, and return what it says."""
    words = [sys.executable, "-m", "gateway", word, host, "--port", str(server.port)]
    done = subprocess.run(
        words, cwd=ROOT, env=server.environment, capture_output=True, text=True, timeout=WAIT_S
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def states(server: Server) -> set[str]:
    """Return in which states a gateway has host b, asked on several connections."""
    found: set[str] = set()
    for _ in range(8):
        got = httpx.get(f"{server.url}/health", timeout=WAIT_S, verify=CERTIFICATES)
        answer: dict[str, Any] = got.json()
        found.add(answer["hosts"]["b"]["state"])
    return found


def served_by(server: Server) -> set[str]:
    """Return who answers some requests, each on a connection of its own."""
    answers = [
        httpx.post(
            f"{server.url}/api/chat",
            json=chat(text=f"Why {n}?"),
            timeout=WAIT_S,
            verify=CERTIFICATES,
        )
        for n in range(8)
    ]
    assert {200} == {answer.status_code for answer in answers}
    return {answer.headers[HOST] for answer in answers}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_drain_holds_for_all_and_over_a_restart(store: dict[str, str], tmp_path: Path) -> None:
    """The one gateway has two processes; the other one is told, and is restarted."""
    with ExitStack() as stack:
        hosts = [stack.enter_context(running(standin(name, tmp_path))) for name in "ab"]
        tables = [f'[hosts.{host.name}]\nurl = "{host.url}"\n' for host in hosts]
        # Other tests have the server, too.
        tables.append(f'[store]\nprefix = "{tmp_path.name}"\n')
        (tmp_path / "olgate.toml").write_text("".join(tables))
        flags = ("--config", str(tmp_path / "olgate.toml"))
        several = gateway("several", tmp_path, *flags, "--workers", "2", environment=store)
        single = gateway("single", tmp_path, *flags, environment=store)
        for served in (several, single):
            # The environment of tests keeps stores out of the user's folder.
            if "OLGATE_STORE_URL" in store:
                served.environment.pop("OLGATE_STORE_PATH", None)
        stack.enter_context(running(several))
        wait_until(
            lambda: several.log.read_text().count("listening on") == 2, "both listen", WAIT_S
        )
        stack.enter_context(running(single))
        assert {"up"} == states(several) == states(single)

        assert "b is drained" in command(single, "drain", "b")
        assert {"drained"} == states(single)
        wait_until(lambda: {"drained"} == states(several), "both processes know", WAIT_S)
        assert {"a"} == served_by(several) == served_by(single)

        single.kill()
        single.start()
        assert {"drained"} == states(single)
        assert {"a"} == served_by(single)

        command(several, "undrain", "b")
        wait_until(lambda: {"up"} == states(several) | states(single), "b is back", WAIT_S)
        single.kill()
        single.start()
        assert {"up"} == states(single)

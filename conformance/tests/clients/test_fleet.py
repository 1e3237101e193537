"""As a new user would try it: three hosts behind one address, one of which stops midway."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.clients.open_webui import serving
from conformance.clients.pair import drive, failures_of
from conformance.clients.python_open_webui import SERVED
from conformance.clients.roster import chosen
from conformance.runner.restartable import Server, gateway, standin
from conformance.standin.history import read_history
from conformance.tests.clients.conftest import required

SCENARIOS = {
    "command_ollama": ("list_models", "show", "run", "run_think"),
    "python_open_webui": ("list_models", "chat", "chat_stream", "chat_v1_stream"),
}


@dataclass(frozen=True)
class Fleet:
    """Three hosts, and the gateway that has them all."""

    hosts: dict[str, Server]
    gateway: Server
    folder: Path

    def last_host(self) -> Server:
        """Return the host that generated last."""
        events = read_history(*self.folder.glob("*.jsonl"))
        return self.hosts[[event.part for event in events if event.what == "begun"][-1]]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Start all with what a new user types: an address for each machine."""
    with contextlib.ExitStack() as stack:
        hosts = {}
        for name in ("first", "second", "third"):
            file = tmp_path / f"{name}.jsonl"
            hosts[name] = standin(name, tmp_path, "--name", name, "--history", str(file))
            stack.callback(hosts[name].close)
            hosts[name].start()
        settings = tmp_path / "olgate.toml"
        settings.touch()
        flags = [word for host in hosts.values() for word in ("--upstream", host.url)]
        door = gateway("gateway", tmp_path, "--config", str(settings), *flags)
        stack.callback(door.close)
        door.start()
        yield Fleet(hosts, door, tmp_path)


@pytest.mark.parametrize("key", SCENARIOS)
def test_clients_go_on_when_a_host_stops(
    fleet: Fleet, key: str, request: pytest.FixtureRequest
) -> None:
    """The host that answered last is gone, and nothing fails; nor when it is back."""
    clients = chosen(include_all=request.config.getoption("--all"))
    found = [client for client in clients if client.key == key]
    if not found:
        pytest.skip(f"{key} runs with --all")
    command, url = required(found[0].command), fleet.gateway.url

    def failures() -> dict[str, str]:
        return failures_of(drive(command, url, *SCENARIOS[key]))

    with contextlib.ExitStack() as stack:
        if key == "python_open_webui":
            # One that runs on while the host stops, as a user's does.
            url = stack.enter_context(serving(url, command[0]))
            command = [*command, SERVED]
        before = failures()
        stopped = fleet.last_host()
        stopped.kill()
        without = failures()
        goes_on = fleet.last_host()
        stopped.start()
        after = failures()

    assert ({}, {}, {}) == (before, without, after)
    assert goes_on is not stopped
